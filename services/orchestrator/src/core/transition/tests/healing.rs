//! Scenarios of patches: evidence, models, gates that carry a proposal, rollbacks, re-plans.

use super::super::{BY_MODEL, FixOutcome};
use super::*;
use crate::core::run::ExpiryAction;
use meta_domain::autofix::FixerKind;
use meta_domain::plan::ApprovalMode;

const TWO: &str = "[[step]]\nname='lint'\nrun='t'\n[[step]]\nname='a'\nrun='t'\nneeds=['lint']\n\
    [[step]]\nname='net'\nrun='t'\nnetwork=true\n";

pub(super) fn ask_model() -> Decision {
    let model = FixerCommand { kind: FixerKind::Model, ..fixer("model") };
    Decision::FixSpecificIssue { fixers: vec![model], reason: "nothing else helped".into() }
}

fn review(play: &mut Play, verdict: GuardVerdict, patch: Patch) {
    play.give(Input::Proposed { step: "a".into(), result: Ok(patch.text.clone()) }).unwrap();
    let reasons = vec!["manifest".to_owned(), "model".to_owned()];
    let reviewed = Input::Reviewed { step: "a".into(), verdict, patch, reasons, risk: 40 };
    play.give(reviewed).unwrap();
}

fn needs_approval() -> GuardVerdict {
    GuardVerdict::NeedsApproval { reason: "manifest".into() }
}

fn verified(play: &mut Play, evidence: Box<Evidence>) {
    play.give(Input::Verified { step: "a".into(), evidence }).unwrap();
}

fn commit(play: &mut Play, commit: &str) {
    play.give(Input::Committed { step: "a".into(), commit: commit.into() }).unwrap();
}

fn gate_of(play: &Play) -> crate::core::run::Gate {
    play.run.gates.last().unwrap().clone()
}

fn decide_seen(play: &mut Play, actor: &str, sha256: &str, version: u32) -> Result<(), Fault> {
    let gate = gate_of(play).id;
    let seen = (sha256.to_owned(), version);
    play.give(Input::GateDecided {
        gate,
        approve: true,
        actor: actor.into(),
        notes: String::new(),
        seen,
    })
}

/// A run whose gate holds a verified patch for `a`.
fn at_a_gate(file: &str) -> Play {
    let mut play = Play::new(file);
    if play.run.step("lint").is_some() {
        play.pass("net");
        play.pass("lint");
    }
    play.fail("a", fix(&["x"]));
    review(&mut play, needs_approval(), patch());
    verified(&mut play, evidence_of(true, &["a", "lint"]));
    play.queued();
    play
}

#[test]
fn evidence_that_is_no_proof_ends_the_try() {
    let mut play = Play::new(ONE);
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    let mut evidence = evidence_of(true, &["a"]);
    evidence.checks[0].newly_skipped = vec!["t.py::test_a".into()];
    verified(&mut play, evidence);
    assert_eq!(play.state("a"), &State::Judging);
    let step = play.run.step("a").unwrap();
    assert_eq!(step.tries[0].verdict, TryVerdict::VerifyFail);
    assert!(step.tries[0].detail.contains("t.py::test_a"), "{}", step.tries[0].detail);
    let kept = &step.verifications[0];
    assert!(!kept.passed && kept.fixer == "x" && kept.base == "base");
    assert_eq!(play.told[0].outcome, FixOutcome::VerifyFail);
}

#[test]
fn what_was_seen_to_pass_with_the_patch_keeps_its_result_and_the_rest_runs_again() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.fail("c", fix(&["x"]));
    play.queued();
    let step = || "c".to_owned();
    play.give(Input::Proposed { step: step(), result: Ok("diff".into()) }).unwrap();
    let verdict = GuardVerdict::Accept;
    let reviewed =
        Input::Reviewed { step: step(), verdict, patch: patch(), reasons: Vec::new(), risk: 0 };
    play.give(reviewed).unwrap();
    play.give(Input::Verified { step: step(), evidence: evidence_of(true, &["c", "a"]) }).unwrap();
    play.queued();
    play.give(Input::Committed { step: step(), commit: "c1".into() }).unwrap();
    assert_eq!(play.queued(), ["step b", "step c"], "a was seen with it, b was not");
    assert_eq!(play.told[0].outcome, FixOutcome::Accepted);
}

#[test]
fn what_uses_the_network_is_not_run_again_after_a_patch() {
    let mut play = at_a_gate(TWO);
    decide_gate(&mut play, true).unwrap();
    commit(&mut play, "c1");
    assert_eq!(play.queued(), ["commit a", "step a"]);
}

#[test]
fn a_model_gets_files_answers_edits_and_its_patch_asks() {
    let mut play = Play::new(ONE);
    play.fail("a", ask_model());
    assert_eq!(play.queued(), ["collect a", "judge a", "prepare ", "step a"]);
    play.give(Input::Collected { step: "a".into(), files: 2 }).unwrap();
    assert_eq!(play.queued(), ["draft a"]);
    let result = Ok(("good".into(), "adds the import".into()));
    play.give(Input::Drafted { step: "a".into(), result, tokens: 900 }).unwrap();
    assert_eq!(play.queued(), ["propose a"]);
    review(&mut play, needs_approval(), patch());
    verified(&mut play, evidence_of(true, &["a"]));
    let attempt = &play.run.attempts[0];
    assert_eq!((attempt.strategy, attempt.outcome), (Strategy::RegenerateCode, Outcome::Escalated));
    assert!(!attempt.is_paid(), "asking takes nothing from the budget");
    decide_gate(&mut play, true).unwrap();
    commit(&mut play, "c1");
    let told = play.told.last().unwrap();
    assert_eq!((told.outcome, told.patch.as_str()), (FixOutcome::Approved, "diff"));
}

#[test]
fn a_model_that_finds_nothing_leaves_the_next_decision() {
    let mut play = Play::new(ONE);
    play.fail("a", ask_model());
    play.give(Input::Collected { step: "a".into(), files: 0 }).unwrap();
    play.queued();
    let result = Err((TryVerdict::NoChange, "not mine".into()));
    play.give(Input::Drafted { step: "a".into(), result, tokens: 5 }).unwrap();
    assert_eq!(play.queued(), ["judge a"]);
    assert_eq!(play.told[0].outcome, FixOutcome::NoChange);
    assert_eq!(play.run.paid_attempts().count(), 0);
}

#[test]
fn a_gate_carries_patch_evidence_verdict_risk_and_plan() {
    let play = at_a_gate(TWO);
    let gate = gate_of(&play);
    let (_, patch) = gate.proposal.as_ref().unwrap();
    assert_eq!(patch.sha256, hash(b"diff"));
    assert!(gate.evidence.as_ref().unwrap().checks.iter().any(|c| c.step == "lint"));
    assert_eq!((gate.guard_reasons.len(), gate.risk, gate.plan_version), (2, 40, 1));
    assert_eq!((gate.plan, gate.base.as_str()), (Some(play.run.plan), "base"));
}

#[test]
fn a_decision_is_for_the_patch_and_plan_that_were_seen_or_for_nothing() {
    let mut play = at_a_gate(ONE);
    for (hash, version) in [("other", 1), ("", 2)] {
        let before = play.run.clone();
        let fault = decide_seen(&mut play, "boss", hash, version).unwrap_err();
        assert_eq!((fault.kind, fault.reason), (ErrorKind::Conflict, "GATE_CHANGED"));
        assert_eq!(play.run, before);
    }
    decide_seen(&mut play, "boss", &hash(b"diff"), 1).unwrap();
    assert_eq!(play.queued(), ["commit a"]);
}

#[test]
fn a_patch_that_is_not_the_one_verified_is_never_applied() {
    let mut play = at_a_gate(ONE);
    if let Some((_, patch)) = &mut play.run.gates[0].proposal {
        patch.text.push_str("+evil");
    }
    assert_eq!(decide_gate(&mut play, true).unwrap_err().reason, "PATCH_CHANGED");
    assert!(play.queued().is_empty());
}

#[test]
fn an_approved_patch_is_verified_again_when_the_workspace_moved() {
    let mut play = at_a_gate(ONE);
    play.run.head = "moved".into();
    decide_gate(&mut play, true).unwrap();
    assert_eq!(play.queued(), ["verify a"]);
    verified(&mut play, evidence_of(true, &["a"]));
    assert_eq!(play.queued(), ["commit a"], "it was approved already");
}

#[test]
fn who_started_the_run_may_not_approve_under_four_eyes() {
    let mut play = at_a_gate(ONE);
    play.run.gate_policy.four_eyes = true;
    let fault = decide_seen(&mut play, "me", "", 0).unwrap_err();
    assert_eq!((fault.kind, fault.reason), (ErrorKind::PermissionDenied, "FOUR_EYES"));
    decide_seen(&mut play, "boss", "", 0).unwrap();
}

#[test]
fn a_gate_that_nobody_decides_ends_as_chosen() {
    for (action, status) in
        [(ExpiryAction::Fail, RunStatus::Failed), (ExpiryAction::Cancel, RunStatus::Canceled)]
    {
        let mut play = Play::new(ONE);
        play.run.gate_policy =
            GatePolicy { expires_after_ms: 5_000, on_expiry: action, four_eyes: false };
        play.queued();
        play.fail("a", ask(GateEffect::Accept));
        let (kind, _, due, _) = play.queue.last().unwrap().clone();
        assert_eq!((kind, due.since_ms(Timestamp(play.now))), (TaskKind::Expire, 5_000));
        let early = play.give(Input::GateExpired { step: "a".into() }).unwrap_err();
        assert_eq!(early.reason, "STALE_INPUT");
        play.now += 5_000;
        play.give(Input::GateExpired { step: "a".into() }).unwrap();
        assert_eq!(play.run.status, status);
        let late = decide_gate(&mut play, true).unwrap_err();
        assert_eq!(late.reason, "GATE_ALREADY_DECIDED");
    }
}

#[test]
fn what_was_approved_once_is_not_asked_again() {
    let mut play = at_a_gate(ONE);
    decide_gate(&mut play, true).unwrap();
    commit(&mut play, "c1");
    play.queued();
    play.fail("a", fix(&["y"]));
    review(&mut play, needs_approval(), patch());
    play.queued();
    verified(&mut play, evidence_of(true, &["a"]));
    assert_eq!(play.queued(), ["commit a"], "the same patch for the same step");
    assert_eq!(play.run.gates.len(), 1);
    commit(&mut play, "c2");
    play.fail("a", fix(&["z"]));
    let other = Patch { text: "other".into(), sha256: hash(b"other"), ..patch() };
    review(&mut play, needs_approval(), other);
    verified(&mut play, evidence_of(true, &["a"]));
    assert_eq!(play.run.gates.len(), 2, "another patch is asked for");
}

#[test]
fn a_finding_that_was_accepted_once_is_accepted_again() {
    let mut play = Play::new(ONE);
    play.fail("a", ask(GateEffect::Accept));
    decide_gate(&mut play, true).unwrap();
    assert_eq!(play.run.status, RunStatus::Succeeded);
    play.run.status = RunStatus::Running;
    let due = Timestamp(0);
    play.run.step_mut("a").unwrap().state = State::Queued { due };
    play.fail("a", ask(GateEffect::Accept));
    assert_eq!((play.run.gates.len(), play.run.status), (1, RunStatus::Succeeded));
    assert_eq!(play.run.step("a").unwrap().reason, "accepted by boss");
}

/// `lint` passes, `a` is healed, and then `lint` fails.
fn broken_by_a_patch() -> Play {
    let mut play = Play::new("[[step]]\nname='lint'\nrun='t'\n[[step]]\nname='a'\nrun='t'\n");
    play.pass("lint");
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    verified(&mut play, evidence_of(true, &["a"]));
    commit(&mut play, "c1");
    play.queued();
    play.pass("a");
    play.fail("lint", fix(&["y"]));
    play
}

#[test]
fn a_green_step_that_turns_red_takes_the_patch_back() {
    let mut play = broken_by_a_patch();
    assert!(matches!(play.state("lint"), State::RollingBack { .. }), "{:?}", play.state("lint"));
    play.queued();
    play.give(Input::RolledBack { step: "lint".into(), commit: "c2".into() }).unwrap();
    assert_eq!(play.queued(), ["step a", "step lint"], "the step that it healed fails again");
    let last = play.run.attempts.last().unwrap();
    assert_eq!((last.strategy, last.rollback_to_step.as_str()), (Strategy::Rollback, "a"));
    assert!(play.run.attempts[0].reverted && !play.run.is_patched("a"));
    assert_eq!(play.told.last().unwrap().outcome, FixOutcome::Reverted);
    play.pass("lint");
    play.fail("a", fix(&["x"]));
    propose(&mut play);
    assert_eq!(play.state("a"), &State::Judging, "the same patch is not tried again");
    assert!(play.run.step("a").unwrap().tries[0].detail.contains("taken back"));
}

#[test]
fn a_passing_trouble_takes_no_patch_back() {
    let mut play = Play::new(ONE);
    play.pass("a");
    assert!(play.run.broken_by("a").is_none());
    let mut play = broken_by_a_patch();
    play.give(Input::RolledBack { step: "lint".into(), commit: String::new() }).unwrap();
    let last = play.run.attempts.last().unwrap();
    assert_eq!((last.step.as_str(), last.outcome), ("lint", Outcome::GaveUp));
    assert!(last.reason.contains("no earlier commit"), "{}", last.reason);
}

fn replan(ops: Vec<PlanOp>) -> Decision {
    Decision::RePlan { ops, triggered_by: "rule".into(), reason: "because".into() }
}

fn planned(name: &str, needs: &[&str]) -> meta_domain::plan::PlannedStep {
    let mut step = parse(ONE).unwrap().steps.remove(0);
    step.name = name.to_owned();
    step.needs = needs.iter().map(|n| (*n).to_owned()).collect();
    step
}

#[test]
fn an_inserted_step_runs_before_the_one_that_misses_it() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.queued();
    let mut op = PlanOp::new(PlanOpKind::InsertBefore, "c", "the module is missing");
    op.insert = Some(planned("install", &["a"]));
    play.fail("c", replan(vec![op]));
    assert_eq!(play.queued(), ["judge c", "step install"]);
    play.pass("install");
    play.pass("c");
    play.pass("d");
    assert_eq!(play.run.status, RunStatus::Succeeded);
    assert_eq!(play.run.plan_version, 2);
}

#[test]
fn a_models_change_of_the_plan_asks_before_it_runs() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.queued();
    let mut op = PlanOp::new(PlanOpKind::InsertBefore, "c", "the module is missing");
    op.insert = Some(planned("install", &["a"]));
    let Decision::RePlan { ops, reason, .. } = replan(vec![op]) else { panic!() };
    play.fail("c", Decision::RePlan { ops, triggered_by: BY_MODEL.into(), reason });
    assert_eq!(play.queued(), ["judge c"], "nothing new runs");
    assert_eq!(play.run.status, RunStatus::PausedAwaitingApproval);
    let gate = play.run.gates.last().unwrap();
    assert_eq!((gate.step.as_str(), gate.effect), ("install", GateEffect::Start));
    for (step, asks) in [("install", true), ("c", true), ("b", false), ("d", false)] {
        let approval = play.run.step(step).unwrap().planned.approval;
        assert_eq!(approval == ApprovalMode::Before, asks, "{step}");
    }
}

#[test]
fn a_finished_step_whose_needs_are_not_finished_any_more_runs_again() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.queued();
    let mut insert = PlanOp::new(PlanOpKind::InsertBefore, "b", "generate first");
    insert.insert = Some(planned("generate", &["a"]));
    let env = PlanOp {
        env: std::collections::BTreeMap::from([("JOBS".into(), "1".into())]),
        ..PlanOp::new(PlanOpKind::SetEnv, "c", "out of memory")
    };
    play.fail("c", replan(vec![insert, env]));
    assert_eq!(play.queued(), ["judge c", "step c", "step generate"]);
    assert_eq!(play.state("b"), &State::Pending);
    assert_eq!(play.run.step("c").unwrap().planned.env["JOBS"], "1");
}

#[test]
fn a_split_step_becomes_a_chain_and_a_moved_one_avoids_its_runner() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.pass("b");
    play.queued();
    let split = PlanOp {
        parts: vec![planned("c-1", &["a"]), planned("c", &["c-1"])],
        ..PlanOp::new(PlanOpKind::Split, "c", "too long")
    };
    play.fail("c", replan(vec![split]));
    assert_eq!(play.queued(), ["judge c", "step c-1"]);
    play.pass("c-1");
    play.queued();
    play.fail("c", replan(vec![PlanOp::new(PlanOpKind::MoveRunner, "c", "the disk is full")]));
    assert_eq!(play.run.step("c").unwrap().avoid_runner, "r");
    play.start("c");
    assert_eq!(play.run.step("c").unwrap().avoid_runner, "");
}

#[test]
fn a_replan_that_makes_no_plan_is_not_carried_out() {
    for (op, why) in [
        (
            PlanOp {
                insert: Some(planned("a", &[])),
                ..PlanOp::new(PlanOpKind::InsertBefore, "a", "")
            },
            "two steps",
        ),
        (
            PlanOp {
                insert: Some(planned("x", &["no"])),
                ..PlanOp::new(PlanOpKind::InsertBefore, "a", "")
            },
            "no step",
        ),
        (
            PlanOp {
                timeout_ms: Some(u64::MAX),
                ..PlanOp::new(PlanOpKind::ExtendTimeout, "a", "")
            },
            "time limit",
        ),
        (PlanOp::new(PlanOpKind::CleanCache, "nobody", ""), "changes nothing"),
    ] {
        let mut play = Play::new(ONE);
        play.fail("a", replan(vec![op]));
        assert_eq!(play.run.plan_version, 1);
        assert!(play.run.attempts[0].reason.contains(why), "{}", play.run.attempts[0].reason);
    }
}

#[test]
fn a_gate_of_a_step_that_a_replan_changes_is_asked_anew() {
    let mut play = Play::new("[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\n");
    play.start("b");
    play.fail("a", fix(&["x"]));
    review(&mut play, needs_approval(), patch());
    verified(&mut play, evidence_of(true, &["a"]));
    play.queued();
    play.end("b", 1);
    let clean = |step: &str| PlanOp {
        timeout_ms: Some(7),
        ..PlanOp::new(PlanOpKind::ExtendTimeout, step, "")
    };
    play.judge("b", replan(vec![clean("b")]));
    assert_eq!(gate_of(&play).plan_version, 2, "it is for the same step of the new plan");
    play.queued();
    play.fail("b", replan(vec![clean("a"), PlanOp { timeout_ms: Some(9), ..clean("b") }]));
    assert_eq!(gate_of(&play).status, meta_domain::gate::GateStatus::Expired);
    assert!(play.queued().contains(&"step a".to_owned()));
    assert_eq!(decide_gate(&mut play, true).unwrap_err().reason, "GATE_ALREADY_DECIDED");
}
