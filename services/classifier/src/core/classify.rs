//! The one entry point: exit status first, then the log, then the command.

use super::arbitrate::{self, Verdict};
use super::exit;
use super::hint::Hint;
use super::report;
use super::rules::Rules;
use super::scan::{Scan, Scanner};
use meta_domain::signal::{ExitInfo, Signal, UnknownReason};
use std::sync::Arc;

/// What is known about a step attempt.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClassifyInput<'a> {
    /// The step's name; may be empty.
    pub step_name: &'a str,
    /// The command that ran; may be empty.
    pub command: &'a str,
    /// Everything it printed, any bytes.
    pub log: &'a [u8],
    /// How its process ended; `None` when nobody knows.
    pub exit: Option<ExitInfo>,
}

/// Classifies a step attempt. `None` means that nothing failed: the exit status says so or, with
/// no exit status, the log shows no failure.
pub fn classify(rules: &Rules, input: &ClassifyInput) -> Option<Signal> {
    if input.exit.is_some_and(|exit| exit.success()) {
        return None;
    }
    decide(rules, &Scan::run(rules, input.log), input)
}

/// A log that comes in chunks. Memory stays bounded however long it gets.
#[derive(Debug)]
pub struct LogStream {
    rules: Arc<Rules>,
    scanner: Scanner,
}

impl LogStream {
    /// Starts a log; the rules stay those of its start.
    pub fn new(rules: Arc<Rules>) -> Self {
        let scanner = Scanner::new(&rules);
        Self { rules, scanner }
    }

    /// Reads the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.scanner.feed(&self.rules, chunk);
    }

    /// Reads the next bytes and hands itself back, for work on another thread.
    #[must_use]
    pub fn with(mut self, chunk: &[u8]) -> Self {
        self.feed(chunk);
        self
    }

    /// Ends the log and classifies as [`classify`] does; the input's own `log` is not read.
    pub fn finish(self, input: &ClassifyInput) -> Option<Signal> {
        if input.exit.is_some_and(|exit| exit.success()) {
            return None;
        }
        let scan = self.scanner.finish(&self.rules);
        decide(&self.rules, &scan, input)
    }
}

fn decide(rules: &Rules, scan: &Scan, input: &ClassifyInput) -> Option<Signal> {
    let hint = Hint::from_command(input.command);
    let outside = input.exit.and_then(|exit| exit::outside(&exit));
    let verdict = match outside {
        Some(verdict) => Some(verdict),
        None => arbitrate::choose(rules, scan, input.exit.as_ref(), hint.as_ref()),
    };
    match verdict {
        Some(verdict) => Some(report::signal(rules, scan, &verdict, hint.as_ref(), input)),
        None if input.exit.is_none() => None,
        None => {
            let silent = scan.last_lines.is_empty();
            let reason = if silent { UnknownReason::NoLog } else { UnknownReason::NoRule };
            let verdict = Verdict::unknown(reason);
            Some(report::signal(rules, scan, &verdict, hint.as_ref(), input))
        }
    }
}
