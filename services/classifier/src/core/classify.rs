//! The one entry point: exit status first, then the log, then the command.

use super::arbitrate::{self, Verdict};
use super::exit;
use super::hint::Hint;
use super::report;
use super::rules::Rules;
use super::scan::Scan;
use meta_domain::signal::{ExitInfo, Signal, UnknownReason};

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
    let scan = Scan::run(rules, input.log);
    let hint = Hint::from_command(input.command);
    let outside = input.exit.and_then(|exit| exit::outside(&exit));
    let verdict = match outside {
        Some(verdict) => Some(verdict),
        None => arbitrate::choose(rules, &scan, input.exit.as_ref(), hint.as_ref()),
    };
    match verdict {
        Some(verdict) => Some(report::signal(rules, &scan, &verdict, hint.as_ref(), input)),
        None if input.exit.is_none() => None,
        None => {
            let silent = scan.last_lines.is_empty();
            let reason = if silent { UnknownReason::NoLog } else { UnknownReason::NoRule };
            let verdict = Verdict::unknown(reason);
            Some(report::signal(rules, &scan, &verdict, hint.as_ref(), input))
        }
    }
}
