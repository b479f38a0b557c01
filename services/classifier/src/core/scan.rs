//! One linear pass over a log that may come in chunks: which rules fired, where, in which
//! section, and what stood near. Time and memory are bounded whatever the log.

use super::feed::Feed;
use super::hits::{Hit, LINE_CHARS_MAX, RuleHits, Seen};
use super::rule::{Action, Scope};
use super::rules::{Match, Rules};
use super::sections::Sections;
use super::text::{PIECE_BYTES_MAX, clean, for_each_piece, printable};
use super::waiting::Line;
use memchr::{memchr, memchr_iter, memrchr};
use std::ops::Range;

/// Lines from the end in which a rule of scope `tail` counts.
const TAIL_LINES: u64 = 200;
/// Last lines kept for a log on which no rule fired.
const LAST_LINES_MAX: usize = 5;
/// Bytes kept from the end of the log, to show its last lines.
const LAST_BYTES_MAX: usize = 8 * 1024;
/// Bytes that regular expressions may look at in one log. A log that asks for more is made to
/// be slow; from then on only rules that tell of a kill from outside are tried.
const WORK_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// A pass that is under way.
#[derive(Debug)]
pub(crate) struct Scanner {
    feed: Feed,
    pass: Pass,
}

impl Scanner {
    /// Starts a pass with these rules; every later call must name the same ones.
    pub(crate) fn new(rules: &Rules) -> Self {
        let scan = Scan {
            hits: rules.all.iter().map(|_| RuleHits::default()).collect(),
            companions: vec![Seen::default(); rules.literals.len()],
            sections: Sections::default(),
            last_lines: Vec::new(),
            lines: 0,
        };
        let tries = Tries { tried_on: vec![0; rules.all.len()], ..Tries::default() };
        let pass = Pass { scan, tries, end: Vec::new(), clean: Vec::new(), work: 0 };
        Self { feed: Feed::default(), pass }
    }

    /// Reads the next bytes of the log.
    pub(crate) fn feed(&mut self, rules: &Rules, chunk: &[u8]) {
        self.feed.push(chunk, |block| self.pass.block(rules, block));
    }

    /// Ends the pass.
    pub(crate) fn finish(mut self, rules: &Rules) -> Scan {
        self.feed.end(|block| self.pass.block(rules, block));
        self.pass.keep_last_lines();
        for (hits, rule) in self.pass.scan.hits.iter_mut().zip(&rules.all) {
            hits.settle(|line| rule.matches_line(line));
        }
        self.pass.scan
    }
}

/// The rules to try on the line at hand.
#[derive(Debug, Default)]
struct Tries {
    rules: Vec<usize>,
    /// The last line on which each rule was put on the list.
    tried_on: Vec<u64>,
    /// Those that matched a piece of the line, or may.
    found: Vec<(usize, Match)>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Pass {
    scan: Scan,
    tries: Tries,
    /// The newest clean bytes of the log.
    end: Vec<u8>,
    clean: Vec<u8>,
    /// Bytes that regular expressions have looked at.
    work: u64,
}

impl Pass {
    fn block(&mut self, rules: &Rules, raw: &[u8]) {
        let mut buffer = std::mem::take(&mut self.clean);
        if clean(raw, &mut buffer) {
            self.clean_block(rules, &buffer);
        } else {
            self.clean_block(rules, raw);
        }
        self.clean = buffer;
    }

    fn clean_block(&mut self, rules: &Rules, block: &[u8]) {
        let mut line = Range { start: 0, end: 0 };
        let mut number = self.scan.lines + 1;
        rules.needles.find(block, |at, literal| {
            if at >= line.end {
                self.try_line(rules, number, &block[line.clone()]);
                let before = line.end;
                let start = memrchr(b'\n', &block[before..at]).map_or(before, |n| before + n + 1);
                number += u64::from(!line.is_empty());
                if start > before {
                    number += newlines(&block[before..start]);
                }
                line = start..memchr(b'\n', &block[at..]).map_or(block.len(), |n| at + n + 1);
            }
            let literal_is = &rules.literals[literal];
            if literal_is.companion {
                self.scan.companions[literal].push(number);
            }
            for rule in &literal_is.tries {
                if self.tries.tried_on[*rule] != number {
                    self.tries.tried_on[*rule] = number;
                    self.tries.rules.push(*rule);
                }
            }
        });
        self.try_line(rules, number, &block[line.clone()]);
        self.scan.lines = number - 1 + newlines(&block[line.start..]);
        self.keep_end(block);
    }

    fn try_line(&mut self, rules: &Rules, number: u64, line: &[u8]) {
        if self.tries.rules.is_empty() {
            return;
        }
        let Tries { rules: tried, found, scratch, .. } = &mut self.tries;
        self.work += (line.len() * tried.len()) as u64;
        if self.work > WORK_BYTES_MAX {
            tried.retain(|rule| rules.all[*rule].spec.outside);
        }
        let is_long = line.len() > PIECE_BYTES_MAX;
        for_each_piece(line, scratch, |piece| {
            if is_long {
                rules.tried_on(piece, tried);
            }
            rules.matching(piece, tried, found);
            self.scan.keep(rules, number, piece, found);
        });
        tried.clear();
    }

    fn keep_end(&mut self, block: &[u8]) {
        let newest = &block[block.len().saturating_sub(LAST_BYTES_MAX)..];
        let keep = LAST_BYTES_MAX - newest.len();
        self.end.drain(..self.end.len().saturating_sub(keep));
        self.end.extend_from_slice(newest);
    }

    fn keep_last_lines(&mut self) {
        let lines: Vec<&[u8]> = self.end.split(|byte| *byte == b'\n').collect();
        // What follows the last line break is empty.
        let whole = &lines[..lines.len().saturating_sub(1)];
        let first = self.scan.lines.saturating_sub(whole.len() as u64) + 1;
        let mut kept = Vec::new();
        for (number, line) in (first..).zip(whole) {
            for_each_piece(line, &mut self.tries.scratch, |piece| {
                kept.push((number, printable(piece, LINE_CHARS_MAX)));
            });
        }
        self.scan.last_lines = kept.split_off(kept.len().saturating_sub(LAST_LINES_MAX));
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// What a pass over the log found.
#[derive(Debug)]
pub(crate) struct Scan {
    hits: Vec<RuleHits>,
    companions: Vec<Seen>,
    /// The sections of the log, in its order.
    pub(crate) sections: Sections,
    /// The last non-empty lines with their numbers.
    pub(crate) last_lines: Vec<(u64, String)>,
    /// The number of the last line.
    pub(crate) lines: u64,
}

impl Scan {
    /// Reads a whole log.
    pub(crate) fn run(rules: &Rules, log: &[u8]) -> Self {
        let mut scanner = Scanner::new(rules);
        scanner.feed(rules, log);
        scanner.finish(rules)
    }

    /// Keeps what was found on one piece of a line.
    fn keep(&mut self, rules: &Rules, number: u64, piece: &[u8], found: &[(usize, Match)]) {
        for (rule, how) in found.iter().copied() {
            self.sections.see(rules.all[rule].spec.action, number, piece);
            let line = Line { number, section: self.sections.current(), text: piece };
            match how {
                Match::Fired => self.hits[rule].push(line),
                Match::Deferred => {
                    let rule_is = &rules.all[rule];
                    let newest_decides = rule_is.spec.action.newest_decides();
                    self.hits[rule].defer(line, newest_decides, |text| rule_is.matches_line(text));
                }
            }
        }
    }

    /// Whether one rule fired, its companions included.
    pub(crate) fn fired(&self, rules: &Rules, rule: usize) -> bool {
        self.hits[rule].lines().any(|line| self.counts(rules, rule, line))
    }

    /// Every hit that counts but those of wrapper lines, in the order of the log.
    pub(crate) fn hits(&self, rules: &Rules) -> Vec<Hit> {
        let decides =
            |(rule, _): &(usize, &RuleHits)| rules.all[*rule].spec.action != Action::Noise;
        let all = self.hits.iter().enumerate().filter(decides);
        let mut hits: Vec<Hit> = all
            .flat_map(|(rule, hits)| hits.all(rule, move |line| self.counts(rules, rule, line)))
            .collect();
        hits.sort_by_key(|hit| (hit.line, hit.rule));
        hits
    }

    fn counts(&self, rules: &Rules, rule: usize, line: u64) -> bool {
        let rule = &rules.all[rule];
        if rule.spec.scope == Scope::Tail && line + TAIL_LINES < self.lines {
            return false;
        }
        let any = rule.spec.scope == Scope::Any;
        let within = if any { u64::MAX } else { u64::from(rule.spec.within) };
        let near = |literal: &usize| self.companions[*literal].near(line, within);
        rule.all_of.iter().all(near) && !rule.none_of.iter().any(near)
    }
}
