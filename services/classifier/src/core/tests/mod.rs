//! Tests of the whole path from log to signal, with the rules that ship.

mod arbitration;
mod hostile;
mod rule_files;
mod signals;
mod types;

use super::{ClassifyInput, Rules, classify};
use meta_domain::failure::FailureType;
use meta_domain::signal::{ExitInfo, Signal};
use std::sync::LazyLock;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::embedded().expect("the rules load"));

/// The signal of a log when nobody knows the exit status.
fn by_text(log: &str) -> Option<Signal> {
    classify(&RULES, &ClassifyInput { log: log.as_bytes(), ..ClassifyInput::default() })
}

/// The signal of a command that failed with exit code 1.
fn failed(command: &str, log: &str) -> Signal {
    ended(command, log, ExitInfo::code(1)).expect("a failing exit gives a signal")
}

fn ended(command: &str, log: &str, exit: ExitInfo) -> Option<Signal> {
    let input = ClassifyInput { step_name: "step", command, log: log.as_bytes(), exit: Some(exit) };
    classify(&RULES, &input)
}

fn type_of(log: &str) -> Option<FailureType> {
    by_text(log).map(|signal| signal.failure_type)
}
