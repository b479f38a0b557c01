//! One linear pass over a log: which rules fired, where, and what stood near.

use super::rule::{Action, Scope};
use super::rules::Rules;
use super::text::{for_each_line, printable};
use std::collections::VecDeque;

/// Hits kept of one rule from the start of the log.
const HITS_FIRST_MAX: usize = 64;
/// Hits kept of one rule from the end of the log.
const HITS_LAST_MAX: usize = 8;
/// Line numbers kept of one companion text from the start, and again from the end.
const COMPANION_LINES_MAX: usize = 512;
/// Lines from the end in which a rule of scope `tail` counts.
const TAIL_LINES: u64 = 200;
/// Characters kept of a line.
pub(crate) const LINE_CHARS_MAX: usize = 500;
/// Last lines kept for a log on which no rule fired.
const LAST_LINES_MAX: usize = 5;

/// One match of one rule.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) rule: usize,
    pub(crate) line: u64,
    /// The clean line, not yet masked.
    pub(crate) text: String,
}

/// The hits of one rule: the first ones and the last ones.
#[derive(Debug, Default, Clone)]
struct RuleHits {
    first: Vec<Hit>,
    last: VecDeque<Hit>,
    seen_on_line: u64,
}

#[derive(Debug, Default, Clone)]
struct Seen {
    first: Vec<u64>,
    last: VecDeque<u64>,
}

/// What a pass over the log found.
#[derive(Debug)]
pub(crate) struct Scan {
    hits: Vec<RuleHits>,
    companions: Vec<Seen>,
    /// The last non-empty lines with their numbers.
    pub(crate) last_lines: VecDeque<(u64, String)>,
    /// The number of the last line.
    pub(crate) lines: u64,
}

impl Scan {
    /// Reads the whole log once.
    pub(crate) fn run(rules: &Rules, log: &[u8]) -> Self {
        let mut scan = Self {
            hits: vec![RuleHits::default(); rules.all.len()],
            companions: vec![Seen::default(); rules.literals.len()],
            last_lines: VecDeque::new(),
            lines: 0,
        };
        let mut tries: Vec<usize> = Vec::new();
        for_each_line(log, |number, line| {
            scan.lines = number;
            tries.clear();
            for found in rules.prefilter.find_overlapping_iter(line) {
                let id = found.pattern().as_usize();
                let literal = &rules.literals[id];
                tries.extend_from_slice(&literal.tries);
                if literal.companion {
                    scan.companions[id].push(number);
                }
            }
            if !tries.is_empty() {
                scan.try_rules(rules, &mut tries, number, line);
            }
        });
        scan.keep_last_lines(log);
        scan
    }

    fn try_rules(&mut self, rules: &Rules, tries: &mut Vec<usize>, number: u64, line: &[u8]) {
        tries.sort_unstable();
        tries.dedup();
        tries.retain(|rule| rules.all[*rule].matches_line(line));
        let noise = tries.iter().filter(|rule| rules.all[**rule].spec.action == Action::Noise);
        let floor = noise.map(|rule| rules.all[*rule].spec.strength).max().unwrap_or(0);
        for rule in tries.iter().copied() {
            let spec = &rules.all[rule].spec;
            if spec.action == Action::Noise || spec.strength >= floor {
                self.hits[rule].push(rule, number, line);
            }
        }
    }

    fn keep_last_lines(&mut self, log: &[u8]) {
        let mut start = log.len();
        let mut newlines = 0;
        while start > 0 && newlines < 40 && log.len() - start < 64 * 1024 {
            start -= 1;
            newlines += usize::from(log[start] == b'\n');
        }
        let before = log[..start].iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        for_each_line(&log[start..], |number, line| {
            if self.last_lines.len() == LAST_LINES_MAX {
                self.last_lines.pop_front();
            }
            self.last_lines.push_back((before + number, printable(line, LINE_CHARS_MAX)));
        });
    }

    /// Whether one rule fired, its companions included.
    pub(crate) fn fired(&self, rules: &Rules, rule: usize) -> bool {
        self.hits[rule].all().any(|hit| self.counts(rules, hit))
    }

    /// Every hit that counts, in the order of the log.
    pub(crate) fn hits(&self, rules: &Rules) -> Vec<Hit> {
        let all = self.hits.iter().flat_map(RuleHits::all);
        let mut hits: Vec<Hit> = all.filter(|hit| self.counts(rules, hit)).cloned().collect();
        hits.sort_by_key(|hit| (hit.line, hit.rule));
        hits
    }

    fn counts(&self, rules: &Rules, hit: &Hit) -> bool {
        let spec = &rules.all[hit.rule].spec;
        if spec.scope == Scope::Tail && hit.line + TAIL_LINES < self.lines {
            return false;
        }
        let within = if spec.scope == Scope::Any { u64::MAX } else { u64::from(spec.within) };
        let near = |text: &String| {
            let id = rules.literal_ids.get(&text.to_ascii_lowercase());
            id.is_some_and(|id| self.companions[*id].near(hit.line, within))
        };
        spec.all_of.iter().all(near) && !spec.none_of.iter().any(near)
    }
}

impl RuleHits {
    fn push(&mut self, rule: usize, line: u64, text: &[u8]) {
        if self.seen_on_line == line {
            return;
        }
        self.seen_on_line = line;
        let hit = || Hit { rule, line, text: printable(text, LINE_CHARS_MAX) };
        if self.first.len() < HITS_FIRST_MAX {
            self.first.push(hit());
            return;
        }
        if self.last.len() == HITS_LAST_MAX {
            self.last.pop_front();
        }
        self.last.push_back(hit());
    }

    fn all(&self) -> impl Iterator<Item = &Hit> {
        self.first.iter().chain(&self.last)
    }
}

impl Seen {
    fn push(&mut self, line: u64) {
        if self.first.len() < COMPANION_LINES_MAX {
            self.first.push(line);
            return;
        }
        if self.last.len() == COMPANION_LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn near(&self, line: u64, within: u64) -> bool {
        self.first.iter().chain(&self.last).any(|at| at.abs_diff(line) <= within)
    }
}
