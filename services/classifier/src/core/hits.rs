//! What a scan keeps of the matches it sees: bounded, however often a rule fires.

use super::text::printable;
use super::waiting::{Line, WAITING_MAX, Waiting};
use std::collections::VecDeque;

/// Matches kept of one rule from the start of the log.
const HITS_FIRST_MAX: usize = 64;
/// Matches kept of one rule from the end of the log.
const HITS_LAST_MAX: usize = 8;
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
#[derive(Debug, Default)]
pub(crate) struct RuleHits {
    first: Vec<Kept>,
    last: VecDeque<Kept>,
    /// Lines that may match, not yet looked at.
    waiting: Waiting,
    /// Those that came before them, once the first matches are kept: from then on only the newest
    /// lines count, so most need never be looked at.
    before: Waiting,
    seen_on_line: u64,
}

impl RuleHits {
    /// Keeps a match, or forgets an older one for it; one match a line counts.
    pub(crate) fn push(&mut self, line: Line<'_>) {
        if self.seen_on_line == line.number {
            return;
        }
        self.seen_on_line = line.number;
        let text = &line.text[..line.text.len().min(LINE_BYTES_MAX)];
        if self.first.len() < HITS_FIRST_MAX {
            let (line, section) = (line.number, line.section);
            self.first.push(Kept { line, section, text: text.to_vec() });
            return;
        }
        let oldest = if self.last.len() == HITS_LAST_MAX { self.last.pop_front() } else { None };
        let mut kept = oldest.unwrap_or_default();
        (kept.line, kept.section) = (line.number, line.section);
        kept.text.clear();
        kept.text.extend_from_slice(text);
        self.last.push_back(kept);
    }

    /// Puts off a line that may match until there are many, or the log ends. Lines are only
    /// forgotten when the first matches are kept and the rule is not one of which the
    /// `newest_decides`.
    pub(crate) fn defer(
        &mut self,
        line: Line<'_>,
        newest_decides: bool,
        matches: impl Fn(&[u8]) -> bool,
    ) {
        if self.waiting.is_full() {
            if newest_decides || self.first.len() < HITS_FIRST_MAX {
                self.settle(matches);
            } else {
                std::mem::swap(&mut self.waiting, &mut self.before);
                self.waiting.clear();
            }
        }
        self.waiting.push(line);
    }

    /// Looks at the lines that were put off: the newest first, for as many matches as are kept.
    pub(crate) fn settle(&mut self, matches: impl Fn(&[u8]) -> bool) {
        let has_first = self.first.len() == HITS_FIRST_MAX;
        let keep = if has_first { HITS_LAST_MAX } else { 2 * WAITING_MAX };
        let (before, waiting) =
            (std::mem::take(&mut self.before), std::mem::take(&mut self.waiting));
        // Many tools print one line over and over: it is looked at once.
        let (mut newest, mut same, mut is_match) = (Vec::new(), &[][..], false);
        for line in before.lines().chain(waiting.lines()).rev() {
            if line.text != same {
                (same, is_match) = (line.text, matches(line.text));
            }
            if is_match {
                newest.push(line);
            }
            if newest.len() == keep {
                break;
            }
        }
        for line in newest.into_iter().rev() {
            self.push(line);
        }
        (self.before, self.waiting) = (before, waiting);
        self.before.clear();
        self.waiting.clear();
    }

    /// The matches on lines that count, in the order of the log.
    pub(crate) fn all(
        &self,
        rule: usize,
        counts: impl Fn(u64) -> bool,
    ) -> impl Iterator<Item = Hit> {
        let counted = self.first.iter().chain(&self.last).filter(move |kept| counts(kept.line));
        counted.map(move |kept| Hit {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that are kept when every `each`-th of `lines` lines matches.
    fn kept(lines: u64, each: u64, newest_decides: bool) -> Vec<u64> {
        let mut hits = RuleHits::default();
        let matches = |text: &[u8]| text.starts_with(b"bad");
        for number in 1..=lines {
            let text =
                if number % each == 0 { format!("bad {number}") } else { number.to_string() };
            let line = Line { number, section: 0, text: text.as_bytes() };
            hits.defer(line, newest_decides, matches);
        }
        hits.settle(matches);
        hits.lines().collect()
    }

    #[test]
    fn few_matches_are_all_kept_however_many_lines_only_look_like_one() {
        for newest_decides in [true, false] {
            assert_eq!(kept(1_000, 300, newest_decides), [300, 600, 900]);
            assert_eq!(kept(5, 1, newest_decides), [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn the_first_and_the_newest_matches_are_kept() {
        let wanted: Vec<u64> = (1..=64).chain(993..=1_000).collect();
        for newest_decides in [true, false] {
            assert_eq!(kept(1_000, 1, newest_decides), wanted);
        }
    }

    #[test]
    fn where_the_newest_match_decides_it_is_found_among_many_lines_that_only_look_like_one() {
        assert_eq!(kept(9_900, 100, true).last(), Some(&9_900));
        assert_eq!(kept(9_999, 100, true).last(), Some(&9_900));
    }

    #[test]
    fn long_lines_wait_in_bounded_memory() {
        let mut waiting = Waiting::default();
        let long = vec![b'x'; 1_000_000];
        while !waiting.is_full() {
            waiting.push(Line { number: 1, section: 0, text: &long });
        }
        assert!(waiting.lines().map(|line| line.text.len()).sum::<usize>() <= 40 * 1024);
    }
}
