//! What the way a process ended says by itself.

use super::arbitrate::Verdict;
use super::hint::Hint;
use meta_domain::failure::FailureType;
use meta_domain::signal::ExitInfo;

/// A shell reports a child that died of signal N as exit code 128 + N.
const SIGNAL_CODE_BASE: i32 = 128;
/// Exit code of `timeout` when the limit passed.
const TIMEOUT_CODE: i32 = 124;
const SIGKILL: i32 = 9;

/// The platform ended the step: that decides whatever the log says.
pub(crate) fn outside(exit: &ExitInfo) -> Option<Verdict> {
    let verdict = |source, message| Some(Verdict::by(FailureType::Infra, source, 99, message));
    if exit.oom_killed {
        return verdict("exit.oom_killed", "the step was killed because memory ran out");
    }
    if exit.timed_out {
        return verdict("exit.timed_out", "the step ran longer than its time limit and was killed");
    }
    if exit.runner_lost {
        return verdict("exit.runner_lost", "the runner was lost while the step ran");
    }
    None
}

/// What an ordinary exit code or signal suggests; weaker than anything precise in the log.
pub(crate) fn inside(exit: &ExitInfo, hint: Option<&Hint>) -> Option<Verdict> {
    let code = exit.code.unwrap_or(0);
    let signal = exit.signal.or_else(|| (code > SIGNAL_CODE_BASE).then(|| code - SIGNAL_CODE_BASE));
    if code == TIMEOUT_CODE && hint.is_some_and(|hint| hint.limits_time) {
        let message = "the command ran longer than its own time limit";
        return Some(Verdict::by(FailureType::Infra, "exit.timeout_command", 98, message));
    }
    let (failure_type, source, strength, what) = match (signal, code) {
        (Some(SIGKILL), _) => (FailureType::Infra, "exit.sigkill", 72, "killed by SIGKILL"),
        (Some(2 | 15), _) => (FailureType::Infra, "exit.terminated", 52, "terminated from outside"),
        (Some(4 | 5 | 6 | 7 | 8 | 11), _) => {
            (FailureType::Runtime, "exit.crashed", 62, "crashed by a signal")
        }
        (None, 127) => (FailureType::Runtime, "exit.not_found", 45, "a command was not found"),
        (None, 126) => {
            (FailureType::Runtime, "exit.not_executable", 45, "a file cannot be executed")
        }
        _ => return None,
    };
    let message = match signal {
        Some(number) => format!("the process was {what} (signal {number})"),
        None => format!("{what} (exit code {code})"),
    };
    let message = message.replace("was crashed", "crashed");
    Some(Verdict::by(failure_type, source, strength, &message))
}
