//! Scenarios of single runs, and random inputs under the invariants.

mod healing;
mod operate;

use super::Told;
use super::{
    Context, Effect, ErrorKind, Fault, GateEffect, GateType, Input, Outcome, RunEvent, Sharing,
    Strategy, TaskKind, Timestamp, Uuid, transition,
};
use crate::core::apply::apply;
use crate::core::event::Execution;
use crate::core::evidence::{Check, Evidence, hash};
use crate::core::invariants::broken;
use crate::core::run::{GatePolicy, Patch, Run, State, Step};
use meta_domain::autofix::{
    Decision, FixerCommand, FixerSafety, GuardVerdict, PathGrant, TryVerdict,
};
use meta_domain::failure::{FailureType, Severity};
use meta_domain::id::{PlanId, RunId, SpecId, TenantId};
use meta_domain::plan::{PlanGraph, PlanOp, PlanOpKind};
use meta_domain::project::parse;
use meta_domain::settings::Overrides;
use meta_domain::signal::{ExitInfo, Signal};
use meta_domain::source::Source;
use meta_domain::status::{RunStatus, StepStatus};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use proptest::strategy::Strategy as AnyOf;

pub(crate) fn run(file: &str) -> Run {
    let steps = parse(file).unwrap().steps;
    let graph = PlanGraph {
        steps: steps.clone(),
        summary: String::new(),
        risk: Vec::new(),
        overrides: Overrides::default(),
    };
    Run {
        id: RunId(Uuid::from_u128(1)),
        tenant: TenantId(Uuid::from_u128(2)),
        spec: SpecId(Uuid::from_u128(3)),
        plan: PlanId(Uuid::from_u128(4)),
        plan_version: 1,
        graph: graph.into(),
        source: Source::Path { path: "/x".into() },
        mount: String::new(),
        cache_key: "k".into(),
        max_iterations: 4,
        created_by: "me".into(),
        created_at: Timestamp(0),
        status: RunStatus::Pending,
        reason: String::new(),
        started_at: None,
        finished_at: None,
        base: String::new(),
        head: String::new(),
        steps: steps.into_iter().map(|s| Step::new(s).into()).collect(),
        attempts: Vec::new(),
        gates: Vec::new(),
        deltas: Vec::new(),
        budget_from: 0,
        failure_types: Vec::new(),
        rolling_back: false,
        gate_policy: GatePolicy::default(),
        bot_commits: 0,
        held_by: String::new(),
        timeout_ms: 0,
        priority: 0,
        trace: String::new(),
        retried: 0,
        seq: 0,
    }
}

/// a, then b and c beside each other, then d.
const DIAMOND: &str = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n\
    [[step]]\nname='c'\nrun='t'\nneeds=['a']\ncache=['x']\n[[step]]\nname='d'\nrun='t'\nneeds=['b','c']\n";
const ONE: &str = "[[step]]\nname='a'\nrun='t'\n";

/// A run, its whole log, and what is in its queue.
struct Play {
    run: Run,
    log: Vec<RunEvent>,
    queue: Vec<(TaskKind, String, Timestamp, Sharing)>,
    told: Vec<Told>,
    now: i64,
    ids: u128,
}

impl Play {
    fn new(file: &str) -> Self {
        Self::of(run(file))
    }

    fn of(run: Run) -> Self {
        let mut play =
            Self { run, log: Vec::new(), queue: Vec::new(), told: Vec::new(), now: 0, ids: 100 };
        let created = RunEvent::Created { run: Box::new(play.run.clone()) };
        apply(&mut play.run, &created, Timestamp(0));
        play.log.push(created);
        play.give(Input::Start).unwrap();
        play.give(Input::Prepared { commit: "base".into(), files: 1, bot_commits: 0 }).unwrap();
        play
    }

    fn give(&mut self, input: Input) -> Result<(), Fault> {
        self.now += 1;
        self.ids += 4;
        let ids = [self.ids, self.ids + 1, self.ids + 2, self.ids + 3].map(Uuid::from_u128);
        let context = Context { now: Timestamp(self.now), ids };
        let next = transition(&self.run, input, &context)?;
        assert_eq!(broken(&next.run), None);
        assert_eq!(next.run.seq, self.run.seq + next.events.len() as u64, "the log is dense");
        self.run = next.run;
        self.log.extend(next.events);
        for effect in next.effects {
            match effect {
                Effect::DropTasks => self.queue.clear(),
                Effect::DropTasksOf { step } => self.queue.retain(|t| t.1 != *step),
                Effect::Enqueue { kind, step, due, sharing, .. } => {
                    self.queue.push((kind, step, due, sharing));
                }
                Effect::Tell(told) => self.told.push(*told),
            }
        }
        Ok(())
    }

    fn start(&mut self, step: &str) {
        let input = Input::StepStarted { step: step.into(), log: "l".into(), runner: "r".into() };
        self.give(input).unwrap();
    }

    fn end(&mut self, step: &str, code: i32) {
        let execution = Execution { exit: ExitInfo::code(code), ..Execution::default() };
        self.give(Input::StepFinished { step: step.into(), execution, commit: String::new() })
            .unwrap();
    }

    fn pass(&mut self, step: &str) {
        self.start(step);
        self.end(step, 0);
    }

    fn fail(&mut self, step: &str, decision: Decision) {
        self.start(step);
        self.end(step, 1);
        self.judge(step, decision);
    }

    fn judge(&mut self, step: &str, decision: Decision) {
        let signal = signal();
        let paid = self.run.paid_attempts().count();
        self.give(Input::Judged { step: step.into(), signal, decision, paid }).unwrap();
    }

    fn state(&self, step: &str) -> &State {
        &self.run.step(step).unwrap().state
    }

    fn queued(&mut self) -> Vec<String> {
        let mut names: Vec<String> =
            self.queue.drain(..).map(|(kind, step, ..)| format!("{kind} {step}")).collect();
        names.sort();
        names
    }
}

fn signal() -> Signal {
    Signal {
        failure_type: FailureType::Lint,
        source: "r".into(),
        message: "m".into(),
        severity: Severity::Low,
        can_retry: false,
        requires_replan: false,
        confidence: 0.9,
        evidence: Vec::new(),
        locations: Vec::new(),
        tool: "t".into(),
        fingerprint: "f".into(),
        retry_after_ms: None,
        runner_up: None,
        unknown_reason: None,
    }
}

fn fixer(id: &str) -> FixerCommand {
    FixerCommand {
        id: id.into(),
        title: id.into(),
        script: "true".into(),
        files: Vec::new(),
        network: false,
        timeout_ms: 1000,
        safety: FixerSafety::Safe,
        grant: PathGrant::default(),
        kind: meta_domain::autofix::FixerKind::Script,
        context: meta_domain::autofix::ContextPlan::default(),
        sarif: false,
    }
}

fn fix(ids: &[&str]) -> Decision {
    Decision::FixSpecificIssue {
        fixers: ids.iter().map(|id| fixer(id)).collect(),
        reason: "claims it".into(),
    }
}

fn ask(effect: GateEffect) -> Decision {
    Decision::ManualIntervention { gate: GateType::Security, effect, reason: "look".into() }
}

fn patch() -> Patch {
    Patch { text: "diff".into(), sha256: hash(b"diff"), files: 1, added: 1, removed: 1 }
}

fn propose(play: &mut Play) {
    play.give(Input::Proposed { step: "a".into(), result: Ok("diff".into()) }).unwrap();
    play.give(Input::Reviewed {
        step: "a".into(),
        verdict: GuardVerdict::Accept,
        patch: patch(),
        reasons: Vec::new(),
        risk: 0,
    })
    .unwrap();
}

fn verify(play: &mut Play, passed: bool) {
    let evidence = evidence_of(passed, &["a"]);
    play.give(Input::Verified { step: "a".into(), evidence }).unwrap();
}

fn evidence_of(passed: bool, steps: &[&str]) -> Box<Evidence> {
    let check = |step: &&str| Check { step: (*step).to_owned(), ..Check::default() };
    let checks = steps.iter().map(check).collect();
    Box::new(Evidence { passed, detail: "exit 1".into(), checks, ..Evidence::default() })
}

fn decide_gate(play: &mut Play, approve: bool) -> Result<(), Fault> {
    let gate = play.run.gates.last().unwrap().id;
    let (actor, notes) = ("boss".into(), "ok".into());
    play.give(Input::GateDecided { gate, approve, actor, notes, seen: (String::new(), 0) })
}

#[test]
fn branches_run_beside_each_other_and_joins_wait() {
    let mut play = Play::new(DIAMOND);
    assert_eq!(play.queued(), ["prepare ", "step a"]);
    play.pass("a");
    assert_eq!(play.queued(), ["step b", "step c"]);
    play.pass("b");
    assert!(play.queued().is_empty(), "d waits for c");
    play.pass("c");
    assert_eq!(play.queued(), ["step d"]);
    play.pass("d");
    assert_eq!(play.run.status, RunStatus::Succeeded);
}

#[test]
fn a_retry_waits_in_the_queue_and_a_pass_after_it_is_flaky() {
    let mut play = Play::new(ONE);
    play.queued();
    play.fail("a", Decision::RetryStep { backoff_ms: 2000, reason: "again".into() });
    let (kind, _, due, sharing) = play.queue.last().unwrap().clone();
    assert_eq!((kind, sharing), (TaskKind::Step, Sharing::Exclusive));
    let failed_at = play.run.step("a").unwrap().failed_at.unwrap();
    assert_eq!(due.since_ms(failed_at), 2000, "looking at the failure is part of the wait");
    play.pass("a");
    assert!(play.run.step("a").unwrap().flaky);
    assert_eq!(play.run.attempts[0].outcome, Outcome::Retried);
}

#[test]
fn a_verified_patch_is_committed_and_the_step_runs_again() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    verify(&mut play, true);
    play.queued();
    play.give(Input::Committed { step: "a".into(), commit: "c1".into() }).unwrap();
    assert_eq!(play.run.head, "c1");
    assert_eq!(play.queued(), ["step a"]);
    play.pass("a");
    let attempt = &play.run.attempts[0];
    assert_eq!(
        (attempt.outcome, attempt.tries[0].verdict),
        (Outcome::PatchApplied, TryVerdict::Accepted)
    );
    assert!(!play.run.step("a").unwrap().flaky);
    assert_eq!(play.run.status, RunStatus::Succeeded);
}

#[test]
fn the_next_fixer_is_tried_and_then_a_new_decision_is_asked() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x", "y"]));
    play.queued();
    propose(&mut play);
    verify(&mut play, false);
    assert_eq!(play.queued(), ["propose a", "review a", "verify a"]);
    let result = Err((TryVerdict::NoChange, String::new()));
    play.give(Input::Proposed { step: "a".into(), result }).unwrap();
    assert_eq!(play.queued(), ["judge a"]);
    let tries: Vec<_> = play.run.step("a").unwrap().tries.iter().map(|t| t.verdict).collect();
    assert_eq!(tries, [TryVerdict::VerifyFail, TryVerdict::NoChange]);
    play.judge("a", Decision::GiveUp { reason: "nothing helped".into() });
    assert_eq!(play.run.status, RunStatus::Failed);
    assert_eq!(play.run.failure_types.len(), 1, "the same failure is classified once");
    assert_eq!(play.run.attempts[0].tries.len(), 2);
}

#[test]
fn the_same_patch_is_not_verified_twice() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x", "y"]));
    propose(&mut play);
    verify(&mut play, false);
    play.queued();
    propose(&mut play);
    assert_eq!(play.queued(), ["judge a", "review a"]);
    assert!(play.run.step("a").unwrap().tries[1].detail.contains("same patch"));
}

#[test]
fn a_patch_made_for_an_older_tree_makes_the_step_run_again() {
    let mut play = Play::new("[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\n");
    play.fail("a", fix(&["x"]));
    play.fail("b", fix(&["y"]));
    propose(&mut play);
    verify(&mut play, true);
    play.give(Input::Committed { step: "a".into(), commit: "c1".into() }).unwrap();
    play.queued();
    let patch_of_b = Input::Proposed { step: "b".into(), result: Ok("diff".into()) };
    play.give(patch_of_b).unwrap();
    let verdict = GuardVerdict::Accept;
    play.give(Input::Reviewed {
        step: "b".into(),
        verdict,
        patch: patch(),
        reasons: Vec::new(),
        risk: 0,
    })
    .unwrap();
    play.queued();
    let evidence = evidence_of(false, &[]);
    play.give(Input::Verified { step: "b".into(), evidence }).unwrap();
    assert_eq!(play.queued(), ["step b"], "on the tree that has the patch of a");
    play.start("b");
    play.end("b", 1);
    assert!(play.run.step("b").unwrap().tries.is_empty(), "a new failure, nothing tried yet");
    play.judge("b", Decision::RetryStep { backoff_ms: 0, reason: "r".into() });
    play.pass("b");
    play.pass("a");
    assert_eq!(play.run.status, RunStatus::Succeeded);
}

#[test]
fn a_refused_patch_never_reaches_verification() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x"]));
    play.give(Input::Proposed { step: "a".into(), result: Ok("diff".into()) }).unwrap();
    play.queued();
    let verdict = GuardVerdict::Reject { reason: "path".into() };
    play.give(Input::Reviewed {
        step: "a".into(),
        verdict,
        patch: patch(),
        reasons: Vec::new(),
        risk: 0,
    })
    .unwrap();
    assert_eq!(play.queued(), ["judge a"]);
}

#[test]
fn a_patch_that_needs_approval_waits_and_is_committed_once_approved() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x"]));
    play.give(Input::Proposed { step: "a".into(), result: Ok("diff".into()) }).unwrap();
    let verdict = GuardVerdict::NeedsApproval { reason: "manifest".into() };
    play.give(Input::Reviewed {
        step: "a".into(),
        verdict,
        patch: patch(),
        reasons: Vec::new(),
        risk: 0,
    })
    .unwrap();
    verify(&mut play, true);
    assert_eq!(play.run.status, RunStatus::PausedAwaitingApproval);
    assert!(play.run.gates[0].proposal.is_some());
    play.queued();
    decide_gate(&mut play, true).unwrap();
    assert_eq!(play.run.status, RunStatus::Running);
    assert_eq!(play.queued(), ["commit a"]);
    play.give(Input::Committed { step: "a".into(), commit: "c".into() }).unwrap();
    play.pass("a");
    assert_eq!(play.run.status, RunStatus::Succeeded);
    assert!(play.run.attempts[1].reason.contains("boss"));
}

#[test]
fn accepting_a_finding_goes_on_from_there() {
    let mut play = Play::new(DIAMOND);
    play.fail("a", ask(GateEffect::Accept));
    assert_eq!(play.run.status, RunStatus::PausedAwaitingApproval);
    play.queued();
    decide_gate(&mut play, true).unwrap();
    assert_eq!(play.run.step("a").unwrap().status(), StepStatus::Succeeded);
    assert_eq!(play.queued(), ["step b", "step c"]);
}

#[test]
fn second_decision_on_a_gate_conflicts() {
    let mut play = Play::new(DIAMOND);
    play.fail("a", ask(GateEffect::Retry));
    decide_gate(&mut play, true).unwrap();
    let before = play.run.clone();
    let fault = decide_gate(&mut play, false).unwrap_err();
    assert_eq!((fault.kind, fault.reason), (ErrorKind::Conflict, "GATE_ALREADY_DECIDED"));
    assert_eq!(play.run, before);
}

#[test]
fn rejecting_fails_the_run() {
    let mut play = Play::new(ONE);
    play.fail("a", ask(GateEffect::Accept));
    decide_gate(&mut play, false).unwrap();
    assert_eq!(play.run.status, RunStatus::Failed);
    assert!(play.run.reason.contains("rejected by boss: ok"), "{}", play.run.reason);
}

#[test]
fn other_branches_go_on_while_a_gate_waits() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.start("b");
    play.fail("c", ask(GateEffect::Accept));
    assert_eq!(play.run.status, RunStatus::Running, "b still executes");
    play.end("b", 0);
    assert_eq!(play.run.status, RunStatus::PausedAwaitingApproval);
}

#[test]
fn a_failure_lets_what_runs_end_and_starts_nothing_new() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.start("b");
    play.fail("c", Decision::GiveUp { reason: "broken".into() });
    assert_eq!(play.run.status, RunStatus::Running);
    play.queued();
    play.end("b", 0);
    assert_eq!(play.run.status, RunStatus::Failed);
    assert!(play.queued().is_empty());
    assert_eq!(play.run.step("d").unwrap().status(), StepStatus::Skipped);
}

#[test]
fn cancel_wins_over_everything_and_late_results_are_stale() {
    let mut play = Play::new(DIAMOND);
    play.start("a");
    play.give(Input::Cancel { actor: "me".into() }).unwrap();
    assert!(play.queue.is_empty());
    assert_eq!(play.run.status, RunStatus::Canceled);
    let execution = Execution { exit: ExitInfo::code(0), ..Execution::default() };
    let late = Input::StepFinished { step: "a".into(), execution, commit: String::new() };
    assert_eq!(play.give(late).unwrap_err().reason, "STALE_INPUT");
    let again = play.give(Input::Cancel { actor: "me".into() }).unwrap_err();
    assert_eq!(again.reason, "RUN_ALREADY_ENDED");
}

#[test]
fn retry_goes_on_from_the_failed_step_with_a_fresh_budget() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.fail("c", Decision::RetryStep { backoff_ms: 0, reason: "r".into() });
    play.fail("c", Decision::GiveUp { reason: "broken".into() });
    assert_eq!(play.run.paid_attempts().count(), 1);
    play.queued();
    play.give(Input::Retry { actor: "me".into() }).unwrap();
    assert_eq!(play.run.paid_attempts().count(), 0);
    assert_eq!(play.queued(), ["step c"], "a and b keep their results");
    play.pass("c");
    play.pass("d");
    assert_eq!(play.run.status, RunStatus::Succeeded);
    let fault = play.give(Input::Retry { actor: "me".into() }).unwrap_err();
    assert_eq!(fault.reason, "RUN_NOT_RETRYABLE");
}

#[test]
fn a_replan_keeps_what_is_finished() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.queued();
    let op = PlanOp::new(PlanOpKind::CleanCache, "c", "unknown twice");
    let replan = Decision::RePlan {
        ops: vec![op],
        triggered_by: "consecutive_unknown_failures".into(),
        reason: "fresh caches".into(),
    };
    play.fail("c", replan);
    assert_eq!((play.run.plan_version, play.run.deltas.len()), (2, 1));
    assert_eq!(play.queued(), ["judge c", "step c"]);
    assert!(play.run.step("c").unwrap().planned.clean_cache);
    assert_eq!(play.state("b"), &State::Succeeded);
}

#[test]
fn a_lost_runner_makes_the_step_run_again() {
    let mut play = Play::new(ONE);
    play.start("a");
    play.start("a");
    assert_eq!(play.run.step("a").unwrap().executions, 2);
    assert!(play.run.attempts.is_empty(), "a lost runner takes nothing from the budget");
}

#[test]
fn a_rollback_takes_the_patch_back_or_gives_up_when_there_is_none() {
    let mut play = Play::new(ONE);
    play.fail("a", Decision::Rollback { reason: "worse".into() });
    play.give(Input::RolledBack { step: "a".into(), commit: String::new() }).unwrap();
    assert_eq!(play.run.attempts[0].outcome, Outcome::GaveUp);

    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    verify(&mut play, true);
    play.give(Input::Committed { step: "a".into(), commit: "c1".into() }).unwrap();
    play.fail("a", Decision::Rollback { reason: "worse".into() });
    play.give(Input::RolledBack { step: "a".into(), commit: "c2".into() }).unwrap();
    let last = play.run.attempts.last().unwrap();
    assert_eq!((last.strategy, last.outcome), (Strategy::Rollback, Outcome::PatchApplied));
    assert_eq!(last.rollback_to_step, "a");
}

#[test]
fn a_decision_made_on_an_older_budget_is_not_carried_out() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.start("b");
    play.start("c");
    play.end("b", 1);
    play.end("c", 1);
    let retry = || Decision::RetryStep { backoff_ms: 0, reason: "r".into() };
    play.judge("b", retry());
    let late = Input::Judged { step: "c".into(), signal: signal(), decision: retry(), paid: 0 };
    assert_eq!(play.give(late).unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(play.state("c"), &State::Judging);
}

#[test]
fn what_passed_before_an_operators_rollback_passes_again_before_the_run_does() {
    let mut play = Play::new(DIAMOND);
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    verify(&mut play, true);
    play.give(Input::Committed { step: "a".into(), commit: "c1".into() }).unwrap();
    play.pass("a");
    play.pass("b");
    play.fail("c", ask(GateEffect::Accept));
    play.give(Input::Rollback { actor: "me".into() }).unwrap();
    let early = decide_gate(&mut play, true).unwrap_err();
    assert_eq!(early.reason, "ROLLBACK_PENDING");
    let twice = play.give(Input::Rollback { actor: "me".into() }).unwrap_err();
    assert_eq!(twice.reason, "ROLLBACK_PENDING");
    play.give(Input::RolledBack { step: String::new(), commit: "c2".into() }).unwrap();
    play.queued();
    decide_gate(&mut play, true).unwrap();
    assert_eq!(play.queued(), ["step a"]);
}

#[test]
fn a_cancel_ends_an_operators_rollback_as_well() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    verify(&mut play, true);
    play.give(Input::Committed { step: "a".into(), commit: "c1".into() }).unwrap();
    play.fail("a", ask(GateEffect::Accept));
    play.give(Input::Rollback { actor: "me".into() }).unwrap();
    play.give(Input::Cancel { actor: "me".into() }).unwrap();
    assert_eq!(play.queued(), [] as [&str; 0]);
    play.give(Input::Retry { actor: "me".into() }).expect("no rollback is pending any more");
}

#[test]
fn a_runner_that_cannot_execute_a_step_is_a_failure_like_any_other() {
    let mut play = Play::new(ONE);
    play.start("a");
    play.queued();
    let message = "no space left".to_owned();
    play.give(Input::TaskFailed { kind: TaskKind::Step, step: "a".into(), message }).unwrap();
    assert_eq!(play.queued(), ["judge a"]);
    assert!(play.run.step("a").unwrap().exit.unwrap().runner_lost);
}

#[test]
fn a_rollback_that_cannot_be_done_says_why() {
    let mut play = Play::new(ONE);
    play.fail("a", Decision::Rollback { reason: "worse".into() });
    let message = "conflict".to_owned();
    play.give(Input::TaskFailed { kind: TaskKind::Rollback, step: "a".into(), message }).unwrap();
    assert!(play.run.attempts[0].reason.contains("conflict"), "{}", play.run.attempts[0].reason);
}

#[test]
fn a_step_that_asks_first_does_not_start_before_it_may() {
    let mut play = Play::new("[[step]]\nname='a'\nrun='t'\napproval='before'\n");
    assert_eq!(play.run.status, RunStatus::PausedAwaitingApproval);
    assert_eq!(play.queued(), ["prepare "]);
    decide_gate(&mut play, true).unwrap();
    assert_eq!(play.queued(), ["step a"]);
}

#[test]
fn a_workspace_that_cannot_be_made_fails_the_run_and_retry_makes_it_again() {
    let mut play = Play {
        run: run(ONE),
        log: Vec::new(),
        queue: Vec::new(),
        told: Vec::new(),
        now: 0,
        ids: 100,
    };
    play.give(Input::Start).unwrap();
    play.queued();
    let message = "no such folder".to_owned();
    play.give(Input::TaskFailed { kind: TaskKind::Prepare, step: String::new(), message }).unwrap();
    assert_eq!(play.run.status, RunStatus::Failed);
    assert!(play.run.reason.contains("no such folder"));
    play.give(Input::Retry { actor: "me".into() }).unwrap();
    assert_eq!(play.queued(), ["prepare "]);
}

/// A random input; most do not fit, and then nothing may change.
fn any_input() -> impl AnyOf<Value = Draw> {
    let step = prop::sample::select(vec!["a", "b", "c", "d"]);
    (0..15_u8, step, any::<bool>(), 0..5_u8).prop_map(|(kind, step, yes, pick)| Draw {
        kind,
        step: step.to_owned(),
        yes,
        pick,
    })
}

#[derive(Debug, Clone)]
struct Draw {
    kind: u8,
    step: String,
    yes: bool,
    pick: u8,
}

fn input_of(draw: &Draw, play: &Play) -> Input {
    let step = draw.step.clone();
    let decision = match draw.pick {
        0 => Decision::RetryStep { backoff_ms: 5, reason: "r".into() },
        1 if draw.yes => fix(&["x", "y"]),
        1 => healing::ask_model(),
        2 => ask(if draw.yes { GateEffect::Accept } else { GateEffect::Retry }),
        3 => Decision::Rollback { reason: "w".into() },
        _ => Decision::GiveUp { reason: "g".into() },
    };
    match draw.kind {
        0 | 1 => Input::StepStarted { step, log: "l".into(), runner: "r".into() },
        2..=4 => {
            let exit = ExitInfo::code(i32::from(!draw.yes));
            let execution = Execution { exit, ..Execution::default() };
            Input::StepFinished { step, execution, commit: String::new() }
        }
        5 | 6 => {
            let paid = play.run.paid_attempts().count();
            Input::Judged { step, signal: signal(), decision, paid }
        }
        7 => Input::Proposed { step, result: Ok("p".into()) },
        8 => {
            let (verdict, reasons) = (GuardVerdict::Accept, Vec::new());
            Input::Reviewed { step, verdict, patch: patch(), reasons, risk: 0 }
        }
        9 => {
            let evidence = evidence_of(draw.yes, &[&step]);
            Input::Verified { step, evidence }
        }
        10 => Input::Committed { step, commit: "c".into() },
        11 => Input::RolledBack { step, commit: if draw.yes { "c".into() } else { String::new() } },
        12 => match play.run.gates.get(usize::from(draw.pick)) {
            Some(gate) => Input::GateDecided {
                gate: gate.id,
                approve: draw.yes,
                actor: "boss".into(),
                notes: String::new(),
                seen: (String::new(), 0),
            },
            None => Input::Retry { actor: "me".into() },
        },
        13 if draw.pick == 0 => Input::Cancel { actor: "me".into() },
        13 if draw.pick == 1 => Input::GateExpired { step },
        13 if draw.pick == 2 => Input::Collected { step, files: 1 },
        13 if draw.yes => Input::Drafted { step, result: Ok(("m".into(), "e".into())), tokens: 1 },
        _ => Input::Retry { actor: "me".into() },
    }
}

proptest! {
    #[test]
    fn any_sequence_of_inputs_keeps_the_invariants_and_replays(
        draws in prop::collection::vec(any_input(), 1..120)
    ) {
        let mut play = Play::new(DIAMOND);
        for draw in &draws {
            let before = play.run.clone();
            let input = input_of(draw, &play);
            if play.give(input).is_err() {
                prop_assert_eq!(&before, &play.run);
            }
        }
        let mut again = run(ONE);
        for event in &play.log {
            apply(&mut again, event, Timestamp(0));
        }
        let at_any_time = |mut run: Run| {
            run.started_at = None;
            run.finished_at = None;
            for step in run.steps.iter_mut().map(std::sync::Arc::make_mut) {
                step.failed_at = None;
                step.started_at = None;
                step.finished_at = None;
                if let State::Healing(healing) = &mut step.state {
                    healing.since = Timestamp(0);
                }
            }
            for gate in &mut run.gates {
                gate.decided_at = None;
            }
            run
        };
        prop_assert_eq!(at_any_time(again), at_any_time(play.run));
    }
}
