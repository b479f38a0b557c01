//! What happened, as a hash over all of it and the last lines as text.

use std::collections::VecDeque;
use std::fmt::Display;

/// Lines that are kept.
const KEPT_MAX: usize = 5_000;
/// Lines that are shown.
const TAIL_MAX: usize = 60;

/// What stands before a run's id in a line.
pub const RUN_MARK: &str = "of run ";
/// Characters of an id.
const UUID_CHARS: usize = 36;

/// What happened.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    tail: VecDeque<String>,
    lines: u64,
}

impl Trace {
    /// Adds a line.
    pub fn say(&mut self, at: i64, what: impl Display) {
        let line = format!("{at:>8} {what}");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.tail.len() == KEPT_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Names everything that was said.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines that name the run that something is wrong with, or no run at all.
    pub fn tail(&self, wrong: &str) -> String {
        let run = wrong.split_once("run ").and_then(|(_, rest)| rest.get(..UUID_CHARS));
        let about =
            |line: &&String| run.is_none_or(|run| line.contains(run) || !line.contains(RUN_MARK));
        let lines: Vec<&String> = self.tail.iter().rev().filter(about).take(TAIL_MAX).collect();
        lines.into_iter().rev().flat_map(|line| ["  ", line, "\n"]).collect()
    }
}
