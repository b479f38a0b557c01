//! What happened, as a hash over all of it and the last lines as text.

use std::collections::VecDeque;
use std::fmt::Display;

/// Lines that are kept.
const TAIL_MAX: usize = 60;

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
        if self.tail.len() == TAIL_MAX {
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

    /// The last lines.
    pub fn tail(&self) -> String {
        self.tail.iter().flat_map(|line| ["  ", line, "\n"]).collect()
    }
}
