//! From a run's event log to what a user is told. Pure: the same log, the same telling.

use super::happened::{Execution, Gate, Happened, Turn};
use super::{Failure, Healed, Progress};
use meta_domain::autofix::{FixTry, TryVerdict};
use meta_domain::failure::FailureType;
use meta_domain::signal::Signal;
use std::collections::BTreeMap;

/// What is remembered of a step.
#[derive(Debug, Clone, Default)]
struct Memory {
    attempt: u32,
    execution: Execution,
    failure: Option<Failure>,
    tries: Vec<FixTry>,
    healed: Vec<Healed>,
    backoff_ms: u64,
    failed_for_good: bool,
}

/// Reads the log in order and tells what each entry means.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    steps: BTreeMap<String, Memory>,
    /// How this program is called, for the commands it names.
    program: String,
}

impl Tracker {
    /// A tracker at the beginning of a log.
    pub fn new(program: &str) -> Self {
        Self { steps: BTreeMap::new(), program: program.to_owned() }
    }

    /// What the next entry means to a user; often nothing.
    pub fn next(&mut self, happened: Happened) -> Vec<Progress> {
        match happened {
            Happened::StepStarted { step, execution } => {
                self.step(&step).attempt = execution;
                vec![Progress::StepStarted { step, attempt: execution }]
            }
            Happened::StepSucceeded { step, execution, flaky } => {
                vec![self.succeeded(step, execution, flaky, String::new())]
            }
            Happened::Accepted { step, actor } => {
                let execution = self.step(&step).execution.clone();
                vec![self.succeeded(step, execution, false, actor)]
            }
            Happened::AttemptFailed { step, execution } => {
                self.step(&step).execution = execution;
                Vec::new()
            }
            Happened::Classified { step, signal } => vec![self.failed(&step, &signal)],
            Happened::FixStarted { step, fixers, reason } => {
                let fixers = fixers.into_iter().map(|f| f.title).collect();
                vec![Progress::Fixing { step, fixers, reason }]
            }
            Happened::Tried { step, result, .. } => vec![self.tried(&step, result)],
            Happened::Retry { attempt } => {
                self.step(&attempt.step).backoff_ms = attempt.backoff_ms;
                let Turn { step, number, backoff_ms, reason, .. } = attempt;
                vec![Progress::Retry { step, turn: number, backoff_ms, reason }]
            }
            Happened::PatchApplied { attempt, commit } => self.patched(attempt, commit),
            Happened::Replanned { attempt, delta, version } => vec![Progress::Replanned {
                step: attempt.step,
                version,
                ops: delta.ops,
                triggered_by: delta.triggered_by,
                reason: attempt.reason,
            }],
            Happened::Escalated { attempt, gate } => {
                let mut told: Vec<Progress> = self.accepted_tries(&attempt);
                told.push(self.needed(gate, attempt.patch));
                told
            }
            Happened::ApprovalRequested { gate } => vec![self.needed(gate, None)],
            Happened::RolledBack { attempt, commit } => {
                let (step, reason) = attempt.map(|a| (a.step, a.reason)).unwrap_or_default();
                vec![Progress::RolledBack { step, reason, commit }]
            }
            Happened::Granted { gate, step, actor, notes } => {
                vec![Progress::Decided { step, gate_id: gate, approved: true, actor, notes }]
            }
            Happened::Rejected { gate, step, actor, notes } => {
                vec![Progress::Decided { step, gate_id: gate, approved: false, actor, notes }]
            }
            Happened::GaveUp { attempt } => self.gave_up(&attempt.step, attempt.reason),
            Happened::StepFailed { step, reason } => self.gave_up(&step, reason),
            Happened::RollbackStarted { .. }
            | Happened::RollbackFailed { .. }
            | Happened::Reviewed { .. }
            | Happened::Verified { .. }
            | Happened::Paused
            | Happened::Other => Vec::new(),
        }
    }

    fn step(&mut self, name: &str) -> &mut Memory {
        self.steps.entry(name.to_owned()).or_default()
    }

    fn failed(&mut self, step: &str, signal: &Signal) -> Progress {
        let memory = self.step(step);
        memory.tries.clear();
        memory.failed_for_good = false;
        let failure = Failure {
            step: step.to_owned(),
            kind: signal.failure_type,
            message: signal.message.clone(),
            confidence: signal.confidence,
            attempt: memory.attempt,
            exit_code: memory.execution.exit.code,
            timed_out: memory.execution.exit.timed_out,
            duration_ms: memory.execution.duration_ms,
            severity: signal.severity,
            fingerprint: signal.fingerprint.clone(),
            rule: signal.source.clone(),
            tool: signal.tool.clone(),
            evidence: signal.evidence.clone(),
            locations: signal.locations.clone(),
        };
        memory.failure = Some(failure.clone());
        Progress::Failure(failure)
    }

    fn tried(&mut self, step: &str, result: FixTry) -> Progress {
        self.step(step).tries.push(result.clone());
        let FixTry { fixer, title, verdict, detail, files, added, removed, .. } = result;
        let step = step.to_owned();
        Progress::Fix { step, fixer, title, verdict, detail, files, added, removed }
    }

    /// The tries that a turn brings and that were not told one by one: those with a good patch.
    fn accepted_tries(&mut self, turn: &Turn) -> Vec<Progress> {
        let good =
            |t: &&FixTry| matches!(t.verdict, TryVerdict::Accepted | TryVerdict::NeedsApproval);
        let known = self.step(&turn.step).tries.clone();
        let new = turn.tries.iter().filter(good).filter(|t| !known.contains(t));
        new.cloned().collect::<Vec<_>>().into_iter().map(|t| self.tried(&turn.step, t)).collect()
    }

    fn patched(&mut self, turn: Turn, commit: String) -> Vec<Progress> {
        let mut told = self.accepted_tries(&turn);
        let failure_type = turn.signal.failure_type;
        let good = turn.tries.iter().find(|t| t.verdict == TryVerdict::Accepted);
        let healed = good.map(|t| Healed {
            failure_type,
            by: t.title.clone(),
            files: t.files,
            added: t.added,
            removed: t.removed,
        });
        let memory = self.step(&turn.step);
        memory.healed.extend(healed);
        memory.tries.clear();
        told.push(Progress::PatchApplied {
            step: turn.step,
            turn: turn.number,
            reason: turn.reason,
            commit,
            patch: turn.patch.unwrap_or_default(),
        });
        told
    }

    fn succeeded(
        &mut self,
        step: String,
        execution: Execution,
        flaky: bool,
        accepted_by: String,
    ) -> Progress {
        let memory = self.step(&step);
        let failed_before: Option<FailureType> = memory.failure.take().map(|f| f.kind);
        Progress::StepSucceeded {
            attempt: memory.attempt,
            duration_ms: execution.duration_ms,
            flaky,
            failed_before,
            backoff_ms: std::mem::take(&mut memory.backoff_ms),
            healed: std::mem::take(&mut memory.healed),
            sandbox: execution.sandbox,
            accepted_by,
            step,
        }
    }

    fn gave_up(&mut self, step: &str, reason: String) -> Vec<Progress> {
        let memory = self.step(step);
        if std::mem::replace(&mut memory.failed_for_good, true) {
            return Vec::new();
        }
        let tries = memory.tries.iter().map(try_line).collect();
        let failure = memory.failure.take();
        vec![Progress::StepFailed { step: step.to_owned(), reason, failure, tries }]
    }

    fn needed(&self, gate: Gate, patch: Option<String>) -> Progress {
        Progress::ApprovalNeeded {
            approve: format!("{} approve {}", self.program, gate.id),
            step: gate.step,
            gate_id: gate.id,
            gate_type: gate.asks,
            effect: gate.effect,
            reason: gate.reason,
            patch,
        }
    }
}

/// `rustfmt: changed nothing`
pub(crate) fn try_line(one: &FixTry) -> String {
    let verdict = match one.verdict {
        TryVerdict::Accepted => "verified and applied",
        TryVerdict::NeedsApproval => "verified, waits for approval",
        TryVerdict::NoChange => "changed nothing",
        TryVerdict::GuardReject => "its patch breaks the patch policy",
        TryVerdict::VerifyFail => "the step still fails with its patch",
        TryVerdict::FixerError => "could not work",
    };
    let detail = if one.detail.is_empty() { String::new() } else { format!(" ({})", one.detail) };
    format!("{}: {verdict}{detail}", one.title)
}
