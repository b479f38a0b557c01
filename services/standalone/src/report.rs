//! A run told to other tools: what happened to each step, gathered from the run's event log. Pure:
//! the formats (`markdown`, `junit`, `sarif`) turn it into text.

pub mod junit;
pub mod markdown;
pub mod sarif;

use crate::progress::{Failure, Healed, Progress};
use crate::view::{RunView, StepView};

/// Evidence lines of one failure in a report, at most.
pub const EVIDENCE_LINES_MAX: usize = 20;
/// Characters of one line of evidence or of a message in a report, at most.
pub const LINE_CHARS_MAX: usize = 400;

/// Where steps see the project unless it is a folder of this machine.
const WORKSPACE: &str = "/workspace";

/// A run as reports tell it.
#[derive(Debug, Default)]
pub struct Report {
    /// The run.
    pub run_id: String,
    /// Its status, such as `succeeded`.
    pub status: String,
    /// Why it failed; empty otherwise.
    pub reason: String,
    /// Where steps saw the project; places in there are told relative to it.
    pub root: String,
    /// Its steps in the order of the plan.
    pub steps: Vec<Step>,
}

/// A step as reports tell it.
#[derive(Debug, Default)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its status, such as `succeeded`.
    pub status: String,
    /// Milliseconds of its last execution.
    pub duration_ms: u64,
    /// Every failure, oldest first.
    pub failures: Vec<Failure>,
    /// How it was healed.
    pub healed: Vec<Healed>,
    /// It passed on a plain retry at the same commit.
    pub flaky: bool,
    /// Who accepted its finding; empty when nobody had to.
    pub accepted_by: String,
    /// The gate that waits, with what it asks.
    pub waits: Option<(String, String)>,
    /// Why nothing was left to try, or why it was skipped.
    pub reason: String,
}

impl Step {
    /// Whether it counts as passed.
    pub fn passed(&self) -> bool {
        self.status == "succeeded"
    }

    /// Whether it was never reached, or left out.
    pub fn skipped(&self) -> bool {
        self.waits.is_none() && ["pending", "skipped", "canceled"].contains(&self.status.as_str())
    }
}

impl Report {
    /// A run's report from its present state and all that happened to it.
    pub fn new(run: &RunView, story: Vec<Progress>) -> Self {
        let mut report = Self {
            run_id: run.id.clone(),
            status: run.status.clone(),
            reason: run.reason.clone(),
            root: WORKSPACE.to_owned(),
            steps: run.steps.iter().map(step).collect(),
        };
        for told in story {
            report.tell(told);
        }
        for gate in run.gates.iter().filter(|g| g.status == "pending") {
            let waits = Some((gate.id.clone(), gate.reason.clone()));
            report.of(&gate.step, |step| step.waits = waits);
        }
        report
    }

    fn tell(&mut self, told: Progress) {
        match told {
            Progress::Failure(failure) => {
                let name = failure.step.clone();
                self.of(&name, |step| step.failures.push(failure));
            }
            Progress::StepSucceeded { step, healed, flaky, accepted_by, .. } => {
                self.of(&step, |step| {
                    step.healed = healed;
                    step.flaky = flaky;
                    step.accepted_by = accepted_by;
                });
            }
            Progress::StepFailed { step, reason, .. } => {
                self.of(&step, |step| step.reason = reason);
            }
            _ => {}
        }
    }

    fn of(&mut self, name: &str, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.iter_mut().find(|s| s.name == name) {
            change(step);
        }
    }

    /// Steps that passed only after a patch.
    pub fn healed(&self) -> usize {
        self.steps.iter().filter(|s| s.passed() && !s.healed.is_empty()).count()
    }

    /// Steps that passed on a plain retry.
    pub fn flaky(&self) -> usize {
        self.steps.iter().filter(|s| s.flaky).count()
    }
}

fn step(view: &StepView) -> Step {
    Step {
        name: view.name.clone(),
        status: view.status.clone(),
        duration_ms: view.duration_ms,
        flaky: view.flaky,
        reason: view.reason.clone(),
        ..Step::default()
    }
}

/// A line that is shown: one line, not longer than [`LINE_CHARS_MAX`], without control characters.
pub fn line(text: &str) -> String {
    let mut line: String = crate::patch::printable(&text.replace(['\n', '\t'], " "));
    if line.chars().count() > LINE_CHARS_MAX {
        line = line.chars().take(LINE_CHARS_MAX - 1).chain(['…']).collect();
    }
    line
}

/// The evidence of a failure, a line each.
pub fn evidence(failure: &Failure) -> Vec<String> {
    let mut lines: Vec<String> = failure
        .evidence
        .iter()
        .take(EVIDENCE_LINES_MAX)
        .map(|e| format!("{}: {}", e.line, line(&e.text)))
        .collect();
    if let more @ 1.. = failure.evidence.len().saturating_sub(EVIDENCE_LINES_MAX) {
        lines.push(format!("… and {more} lines more"));
    }
    lines
}

#[cfg(test)]
pub(crate) mod tests;
