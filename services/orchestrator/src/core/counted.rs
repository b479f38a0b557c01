//! What stored events add to the metrics. It is asked for after a commit, once for each event, so
//! that any number of processes on one store together count what the runs did.

use super::event::RunEvent;
use super::run::{Attempt, Run};
use meta_domain::autofix::{Outcome, TryVerdict};
use meta_domain::failure::FailureType;
use meta_domain::gate::{GateStatus, GateType};
use meta_domain::id::GateId;
use meta_domain::signal::ExitInfo;
use meta_domain::time::Timestamp;
use std::collections::HashMap;

/// Something that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A turn of the loop.
    Attempt(FailureType, Outcome),
    /// A turn of the loop whose step went on to pass.
    Passed(FailureType, Outcome),
    /// A wait before a retry, in milliseconds.
    Backoff(u64),
    /// A new plan version by the loop.
    Replan,
    /// A gate that was opened or came to its end.
    Gate(GateType, GateStatus),
    /// A failure that was classified.
    Classified(FailureType),
    /// A fixer's try.
    Tried(TryVerdict),
    /// An execution of a step: how it ended, and how long it took in milliseconds.
    StepEnded(Ending, u64),
    /// A run: how it ended, after how many milliseconds, and what nothing helped against.
    RunEnded(Ending, u64, Option<FailureType>),
}

/// How something ended, in the words of OpenTelemetry: a failure is the code's, an error the
/// platform's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It passed.
    Success,
    /// What was built is broken.
    Failure,
    /// What builds is broken.
    Error,
    /// It took too long.
    Timeout,
    /// Somebody canceled it.
    Cancellation,
    /// It was not needed.
    Skip,
}

impl Ending {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancellation => "cancellation",
            Self::Skip => "skip",
        }
    }

    /// How an execution that did not pass ended.
    pub fn of(exit: &ExitInfo) -> Self {
        if exit.timed_out {
            Self::Timeout
        } else if exit.runner_lost || exit.oom_killed {
            Self::Error
        } else {
            Self::Failure
        }
    }

    /// Whose fault a failure of that type is.
    pub fn of_type(failure: Option<FailureType>) -> Self {
        match failure {
            Some(FailureType::Transient | FailureType::Infra | FailureType::RateLimit) => {
                Self::Error
            }
            Some(_) | None => Self::Failure,
        }
    }
}

/// What the events that led from `before` to `run` add.
pub fn counted(before: &Run, run: &Run, events: &[(Timestamp, RunEvent)]) -> Vec<Counted> {
    let mut all = Vec::new();
    let mut passed: HashMap<&str, u64> = HashMap::new();
    let first = run.seq + 1 - events.len() as u64;
    for (seq, (at, event)) in (first..).zip(events) {
        of_event(run, event, *at, &mut all);
        if let RunEvent::StepSucceeded { step, .. } = event {
            let earlier = || before.step(step).map_or(0, |s| s.passed_seq);
            let since = passed.insert(step, seq).unwrap_or_else(earlier);
            let helped = |a: &&Attempt| a.step == *step && a.seq > since && a.seq < seq;
            let turns = run.attempts.iter().filter(helped);
            all.extend(turns.map(|a| Counted::Passed(a.signal.failure_type, a.outcome)));
        }
    }
    all
}

fn of_event(run: &Run, event: &RunEvent, at: Timestamp, all: &mut Vec<Counted>) {
    match event {
        RunEvent::Classified { signal, .. } => all.push(Counted::Classified(signal.failure_type)),
        RunEvent::Retry { attempt, .. } => {
            of_attempt(attempt, all);
            all.push(Counted::Backoff(attempt.backoff_ms));
        }
        RunEvent::Replanned { attempt, .. } => {
            of_attempt(attempt, all);
            all.push(Counted::Replan);
        }
        RunEvent::Escalated { attempt, gate } => {
            of_attempt(attempt, all);
            all.push(Counted::Gate(gate.gate_type, GateStatus::Pending));
        }
        RunEvent::PatchApplied { attempt, .. }
        | RunEvent::GaveUp { attempt }
        | RunEvent::RolledBack { attempt: Some(attempt), .. } => of_attempt(attempt, all),
        RunEvent::ApprovalRequested { gate } => {
            all.push(Counted::Gate(gate.gate_type, GateStatus::Pending));
        }
        RunEvent::ApprovalGranted { .. }
        | RunEvent::ApprovalRejected { .. }
        | RunEvent::GateExpired { .. }
        | RunEvent::GateSuperseded { .. } => all.extend(of_gate(run, event.gate_status())),
        RunEvent::Tried { result, .. } => all.push(Counted::Tried(result.verdict)),
        RunEvent::StepSucceeded { execution, .. } => {
            all.push(Counted::StepEnded(Ending::Success, execution.duration_ms));
        }
        RunEvent::StepAttemptFailed { execution, .. } => {
            all.push(Counted::StepEnded(Ending::of(&execution.exit), execution.duration_ms));
        }
        RunEvent::Succeeded => all.push(ended(run, at, Ending::Success, None)),
        RunEvent::Canceled { .. } => all.push(ended(run, at, Ending::Cancellation, None)),
        RunEvent::Failed { .. } => {
            let last = run.failure_types.last().copied();
            all.push(ended(run, at, Ending::of_type(last), last));
        }
        _ => {}
    }
}

fn ended(run: &Run, at: Timestamp, ending: Ending, last: Option<FailureType>) -> Counted {
    Counted::RunEnded(ending, at.since_ms(run.started_at.unwrap_or(run.created_at)), last)
}

fn of_gate(run: &Run, decided: Option<(GateId, GateStatus)>) -> Option<Counted> {
    let (id, status) = decided?;
    Some(Counted::Gate(run.gate(id)?.gate_type, status))
}

/// A turn; its last try is told by no event of its own when it came to a patch.
fn of_attempt(attempt: &Attempt, all: &mut Vec<Counted>) {
    all.push(Counted::Attempt(attempt.signal.failure_type, attempt.outcome));
    let last = attempt.tries.last().map(|t| t.verdict);
    if matches!(attempt.outcome, Outcome::PatchApplied | Outcome::Escalated)
        && let Some(verdict @ (TryVerdict::Accepted | TryVerdict::NeedsApproval)) = last
    {
        all.push(Counted::Tried(verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Execution;
    use crate::core::transition::tests::run;
    use serde_json::json;
    use uuid::Uuid;

    fn attempt(seq: u64, step: &str, outcome: &str) -> Attempt {
        let signal = json!({
            "failure_type": "lint", "source": "s", "message": "m", "severity": "low",
            "can_retry": false, "requires_replan": false, "confidence": 1.0, "evidence": [],
            "locations": [], "tool": "", "fingerprint": "f", "retry_after_ms": null,
        });
        serde_json::from_value(json!({
            "id": Uuid::nil(), "step": step, "number": 1, "signal": signal,
            "strategy": "fix_specific_issue", "outcome": outcome, "backoff_ms": 0, "reason": "",
            "tries": [{ "fixer": "f", "title": "t", "verdict": "accepted", "detail": "",
                        "patch_sha256": "", "files": 1, "added": 1, "removed": 0 }],
            "patch": null, "rollback_to_step": "", "created_at": Timestamp(0), "seq": seq,
        }))
        .unwrap()
    }

    fn passed(step: &str) -> (Timestamp, RunEvent) {
        let execution = Execution { duration_ms: 7, ..Execution::default() };
        let (step, commit) = (step.to_owned(), String::new());
        (Timestamp(9), RunEvent::StepSucceeded { step, execution, commit, flaky: false })
    }

    #[test]
    fn a_step_that_passes_redeems_its_turns_since_it_passed_before() {
        let mut before = run("[[step]]\nname = 'a'\nrun = 'a'\n[[step]]\nname = 'b'\nrun = 'b'\n");
        before.attempts = vec![
            attempt(3, "a", "retried"),
            attempt(5, "a", "patch_applied"),
            attempt(6, "b", "retried"),
        ];
        let mut after = before.clone();
        after.seq = 7;
        let lint = FailureType::Lint;
        let expected = [
            Counted::StepEnded(Ending::Success, 7),
            Counted::Passed(lint, Outcome::Retried),
            Counted::Passed(lint, Outcome::PatchApplied),
        ];
        assert_eq!(counted(&before, &after, &[passed("a")]), expected);
        // it was executed again since then
        before.step_mut("a").unwrap().passed_seq = 7;
        after.attempts.push(attempt(9, "a", "replanned"));
        after.seq = 10;
        let expected =
            [Counted::StepEnded(Ending::Success, 7), Counted::Passed(lint, Outcome::Replanned)];
        assert_eq!(counted(&before, &after, &[passed("a")]), expected);
    }

    #[test]
    fn an_applied_patch_is_a_turn_and_its_fixers_last_try() {
        let before = run("[[step]]\nname = 'a'\nrun = 'a'\n");
        let attempt = attempt(1, "a", "patch_applied");
        let mut after = before.clone();
        (after.seq, after.attempts) = (1, vec![attempt.clone()]);
        let events = [(Timestamp(1), RunEvent::PatchApplied { attempt, commit: String::new() })];
        let expected = [
            Counted::Attempt(FailureType::Lint, Outcome::PatchApplied),
            Counted::Tried(TryVerdict::Accepted),
        ];
        assert_eq!(counted(&before, &after, &events), expected);
    }
}
