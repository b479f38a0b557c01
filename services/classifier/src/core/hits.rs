//! What a scan keeps of the matches it sees: bounded, however often a rule fires.

use super::text::{PIECE_BYTES_MAX, printable};
use std::collections::VecDeque;

/// Matches kept of one rule from the start of the log.
const HITS_FIRST_MAX: usize = 64;
/// Matches kept of one rule from the end of the log.
const HITS_LAST_MAX: usize = 8;
/// Lines put off of one rule that has its first matches: the newest ones, to be matched at the end.
const DEFERRED_MAX: usize = 24;
/// Line numbers kept of one companion text from the start, and again from the end.
const COMPANION_LINES_MAX: usize = 512;
/// Characters kept of a line.
pub(crate) const LINE_CHARS_MAX: usize = 500;
/// Bytes kept of a line that matched; what is shown of it is shorter.
const LINE_BYTES_MAX: usize = 1024;

/// One match of one rule.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) rule: usize,
    pub(crate) line: u64,
    /// The number of the section it stands in; 0 is what stands before the first.
    pub(crate) section: usize,
    /// The clean line, not yet masked.
    pub(crate) text: String,
}

/// A match as it is kept while the scan goes on.
#[derive(Debug, Default, Clone)]
struct Kept {
    line: u64,
    section: usize,
    text: Vec<u8>,
}

/// The matches of one rule: the first ones and the last ones.
#[derive(Debug, Default, Clone)]
pub(crate) struct RuleHits {
    first: Vec<Kept>,
    last: VecDeque<Kept>,
    /// Lines that may match, not yet looked at: of a rule whose first matches are kept only the
    /// newest ones count, so most lines need never be looked at.
    deferred: VecDeque<Kept>,
    seen_on_line: u64,
}

impl RuleHits {
    /// Keeps a match, or forgets an older one for it; one match a line counts.
    pub(crate) fn push(&mut self, line: u64, section: usize, text: &[u8]) {
        if self.seen_on_line == line {
            return;
        }
        self.seen_on_line = line;
        let text = &text[..text.len().min(LINE_BYTES_MAX)];
        if self.first.len() < HITS_FIRST_MAX {
            self.first.push(Kept { line, section, text: text.to_vec() });
            return;
        }
        push_bounded(&mut self.last, HITS_LAST_MAX, line, section, text);
    }

    /// Whether the first matches are all kept, so that a line may be put off.
    pub(crate) fn has_first(&self) -> bool {
        self.first.len() == HITS_FIRST_MAX
    }

    /// Puts off a line that may match.
    pub(crate) fn defer(&mut self, line: u64, section: usize, text: &[u8]) {
        let text = &text[..text.len().min(PIECE_BYTES_MAX)];
        push_bounded(&mut self.deferred, DEFERRED_MAX, line, section, text);
    }

    /// Looks at the lines that were put off.
    pub(crate) fn settle(&mut self, matches: impl Fn(&[u8]) -> bool) {
        for kept in std::mem::take(&mut self.deferred) {
            if matches(&kept.text) {
                self.push(kept.line, kept.section, &kept.text);
            }
        }
    }

    /// The matches in the order of the log.
    pub(crate) fn all(&self, rule: usize) -> impl Iterator<Item = Hit> {
        self.first.iter().chain(&self.last).map(move |kept| Hit {
            rule,
            line: kept.line,
            section: kept.section,
            text: printable(&kept.text, LINE_CHARS_MAX),
        })
    }

    /// The lines of the matches.
    pub(crate) fn lines(&self) -> impl Iterator<Item = u64> {
        self.first.iter().chain(&self.last).map(|kept| kept.line)
    }
}

/// Adds a line; the oldest one gives way, and its memory, when there are too many.
fn push_bounded(all: &mut VecDeque<Kept>, max: usize, line: u64, section: usize, text: &[u8]) {
    let oldest = if all.len() == max { all.pop_front() } else { None };
    let mut kept = oldest.unwrap_or_default();
    (kept.line, kept.section) = (line, section);
    kept.text.clear();
    kept.text.extend_from_slice(text);
    all.push_back(kept);
}

/// The lines on which a companion text stands: the first ones and the last ones.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    first: Vec<u64>,
    last: VecDeque<u64>,
}

impl Seen {
    pub(crate) fn push(&mut self, line: u64) {
        if self.last.back().or(self.first.last()) == Some(&line) {
            return;
        }
        if self.first.len() < COMPANION_LINES_MAX {
            self.first.push(line);
            return;
        }
        if self.last.len() == COMPANION_LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Whether it stands at most `within` lines from `line`.
    pub(crate) fn near(&self, line: u64, within: u64) -> bool {
        self.first.iter().chain(&self.last).any(|at| at.abs_diff(line) <= within)
    }
}
