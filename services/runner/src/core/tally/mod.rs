//! How many tests a step executed, as the test tools themselves say it: on their output line by
//! line, and in JUnit reports.
//!
//! A tally is evidence against patches that make a check pass by running less of it. It never makes
//! a failed step pass.

pub mod junit;
mod line;
mod words;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Names of tests that a tally remembers; of more, only the numbers count.
const NAMES_MAX: usize = 50_000;
/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: usize = 2_048;

/// Numbers of one tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tests that ran, whatever came of them.
    pub executed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Tests that did not run, or whose failure is expected.
    pub skipped: u64,
}

/// What was found out about the tests of one execution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// By tool.
    pub tools: BTreeMap<String, Counts>,
    /// Names of tests that ran, as far as the tool names them.
    pub executed: BTreeSet<String>,
    /// Names of tests that were skipped.
    pub skipped: BTreeSet<String>,
}

impl Tally {
    /// Whether no tool said anything.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty() && self.executed.is_empty() && self.skipped.is_empty()
    }

    /// Adds another part of the same execution.
    pub fn add(&mut self, other: Self) {
        for (tool, counts) in other.tools {
            let sum = self.tools.entry(tool).or_default();
            sum.executed += counts.executed;
            sum.failed += counts.failed;
            sum.skipped += counts.skipped;
        }
        self.executed.extend(other.executed);
        self.skipped.extend(other.skipped);
    }

    /// The most that either execution ran: what a later one may not fall short of.
    #[must_use]
    pub fn most(mut self, other: Self) -> Self {
        for (tool, counts) in other.tools {
            let kept = self.tools.entry(tool).or_insert(counts);
            if counts.executed > kept.executed {
                *kept = counts;
            }
        }
        self.executed.extend(other.executed);
        self.skipped.extend(other.skipped);
        self
    }

    /// Tests that ran before and are skipped in `self`.
    pub fn newly_skipped(&self, before: &Self) -> Vec<String> {
        let skipped = self.skipped.iter().filter(|name| !self.executed.contains(*name));
        skipped.filter(|name| before.executed.contains(*name)).cloned().collect()
    }
}

/// Reads a step's output as it comes.
#[derive(Debug, Default)]
pub struct Reader {
    partial: [Vec<u8>; 2],
    found: line::Found,
}

impl Reader {
    /// Takes bytes of one of the two streams.
    pub fn push(&mut self, stream: super::output::Stream, bytes: &[u8]) {
        let partial = &mut self.partial[stream as usize];
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(partial.len());
            if piece.ends_with(b"\n") && partial.is_empty() {
                self.found.line(&piece[..piece.len().min(LINE_BYTES_MAX)]);
            } else {
                partial.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.ends_with(b"\n") {
                    self.found.line(partial);
                    partial.clear();
                }
            }
        }
    }

    /// What was found.
    pub fn finish(mut self) -> Tally {
        for partial in std::mem::take(&mut self.partial) {
            self.found.line(&partial);
        }
        self.found.into_tally()
    }
}

/// The tally of a whole log.
pub fn of_log(log: &[u8]) -> Tally {
    let mut reader = Reader::default();
    reader.push(super::output::Stream::Stdout, log);
    reader.finish()
}

#[cfg(test)]
mod tests;
