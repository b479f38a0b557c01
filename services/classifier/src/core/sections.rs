//! The parts that a continuous-integration system cuts a log into, one a step.

use super::rule::Action;

/// Sections kept apart; what follows belongs to the last one.
const SECTIONS_MAX: usize = 4096;
/// Words in the name of a section that cleans up or reports after the work is done.
const TEARDOWN: &[&str] = &[
    "post ",
    "post job",
    "after_script",
    "after_failure",
    "after_success",
    "cleanup",
    "clean up",
    "cleaning up",
    "complete job",
    "upload",
    "finalize",
    "report",
    "notify",
    "teardown",
    "archive_cache",
    "step_after",
];

/// One section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Where it starts.
    pub(crate) line: u64,
    /// The system said that the step of this section failed.
    pub(crate) failed: bool,
    /// It cleans up or reports, so what goes wrong in it is not why the run failed.
    pub(crate) teardown: bool,
}

/// The sections of a log; the first one is what stands before any header.
#[derive(Debug, Clone)]
pub(crate) struct Sections(Vec<Section>);

impl Default for Sections {
    fn default() -> Self {
        Self(vec![Section { line: 0, failed: false, teardown: false }])
    }
}

impl Sections {
    /// Takes note of a line on which a rule with this action fired.
    pub(crate) fn see(&mut self, action: Action, line: u64, text: &[u8]) {
        let last = self.0.len() - 1;
        match action {
            Action::Section if self.0.len() < SECTIONS_MAX && self.0[last].line != line => {
                let name = String::from_utf8_lossy(text).to_ascii_lowercase();
                let teardown = TEARDOWN.iter().any(|word| name.contains(word));
                self.0.push(Section { line, failed: false, teardown });
            }
            Action::Failed => {
                let working = self.0.iter().rposition(|section| !section.teardown);
                self.0[working.unwrap_or(last)].failed = true;
            }
            _ => {}
        }
    }

    /// The number of the section at hand.
    pub(crate) fn current(&self) -> usize {
        self.0.len() - 1
    }

    /// Whether a section cleans up or reports.
    pub(crate) fn is_teardown(&self, section: usize) -> bool {
        self.0.get(section).is_some_and(|section| section.teardown)
    }

    /// The sections that the system said failed, the last one first; never one that cleans up.
    pub(crate) fn failed(&self) -> impl Iterator<Item = usize> {
        let failed = |section: &Section| section.failed && !section.teardown;
        (0..self.0.len()).rev().filter(move |at| failed(&self.0[*at]))
    }
}
