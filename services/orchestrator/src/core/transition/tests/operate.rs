//! What operators do.

use super::*;
use crate::core::event::Mark;
use meta_domain::gate::GateStatus;
use meta_domain::plan::{PlanOp, PlanOpKind};

fn hold() -> Input {
    Input::Hold { actor: "ann".into(), reason: "maintenance".into() }
}

fn mark(step: &str, mark: Mark) -> Input {
    Input::MarkStep { step: step.into(), mark, actor: "ann".into(), reason: "r".into() }
}

#[test]
fn a_held_run_starts_nothing_new_and_goes_on_afterwards() {
    let mut play = Play::new(DIAMOND);
    play.start("a");
    play.give(hold()).unwrap();
    assert_eq!(play.give(hold()).unwrap_err().reason, "RUN_ALREADY_PAUSED");
    play.queued();
    play.end("a", 0);
    assert_eq!(play.queued(), [] as [String; 0]);
    assert_eq!(play.run.status, RunStatus::Running);
    play.give(Input::LetGo { actor: "bob".into() }).unwrap();
    assert_eq!(play.queued(), ["step b", "step c"]);
    let again = play.give(Input::LetGo { actor: "bob".into() }).unwrap_err();
    assert_eq!(again.reason, "RUN_NOT_PAUSED");
}

#[test]
fn a_held_run_whose_last_step_ends_is_over() {
    let mut play = Play::new(ONE);
    play.start("a");
    play.give(hold()).unwrap();
    play.end("a", 0);
    assert_eq!(play.run.status, RunStatus::Succeeded);
    assert_eq!(play.give(hold()).unwrap_err().reason, "RUN_ALREADY_ENDED");
}

#[test]
fn a_step_that_is_marked_lets_its_followers_start() {
    let mut play = Play::new(DIAMOND);
    play.queued();
    play.start("a");
    play.give(mark("a", Mark::Skipped)).unwrap();
    assert_eq!(*play.state("a"), State::Skipped);
    assert_eq!(play.queued(), ["step b", "step c"]);
    let late = play.give(Input::StepFinished {
        step: "a".into(),
        execution: Execution::default(),
        commit: String::new(),
    });
    assert_eq!(late.unwrap_err().reason, "STALE_INPUT");
    play.pass("b");
    assert_eq!(play.give(mark("b", Mark::Skipped)).unwrap_err().reason, "STEP_NOT_CHANGEABLE");
    assert_eq!(play.give(mark("z", Mark::Skipped)).unwrap_err().reason, "STEP_NOT_FOUND");
}

#[test]
fn a_mark_on_a_failed_run_holds_for_its_next_retry() {
    let mut play = Play::new(DIAMOND);
    play.fail("a", Decision::GiveUp { reason: "no".into() });
    assert_eq!(play.run.status, RunStatus::Failed);
    play.queued();
    play.give(mark("a", Mark::Succeeded)).unwrap();
    assert_eq!(play.run.status, RunStatus::Failed);
    play.give(Input::Retry { actor: "ann".into() }).unwrap();
    assert_eq!(*play.state("a"), State::Succeeded);
    assert_eq!(play.queued(), ["step b", "step c"]);
}

#[test]
fn marking_a_step_that_waits_at_a_gate_closes_the_gate() {
    let mut play = Play::new("[[step]]\nname='a'\nrun='t'\napproval='before'\n");
    assert_eq!(play.run.status, RunStatus::PausedAwaitingApproval);
    play.give(mark("a", Mark::Skipped)).unwrap();
    assert_eq!(play.run.gates[0].status, GateStatus::Expired);
    assert_eq!(play.run.status, RunStatus::Succeeded);
}

fn edit(version: u32, ops: Vec<PlanOp>) -> Input {
    Input::EditPlan { ops, version, actor: "ann".into() }
}

fn longer(step: &str) -> PlanOp {
    PlanOp { timeout_ms: Some(7), ..PlanOp::new(PlanOpKind::ExtendTimeout, step, "slow today") }
}

#[test]
fn the_plan_can_be_edited_while_the_run_goes_on() {
    let mut play = Play::new(DIAMOND);
    play.pass("a");
    play.start("b");
    play.give(edit(1, vec![longer("d")])).unwrap();
    assert_eq!((play.run.plan_version, play.run.deltas.len()), (2, 1));
    assert_eq!(play.run.deltas[0].triggered_by, "operator");
    assert_eq!(play.run.step("d").unwrap().planned.timeout_ms, 7);
    assert_eq!((play.state("a"), play.state("b")), (&State::Succeeded, &State::Executing));
}

#[test]
fn an_edit_is_for_one_plan_version_and_for_steps_that_are_not_at_work() {
    let mut play = Play::new(DIAMOND);
    play.start("a");
    let before = play.run.clone();
    assert_eq!(play.give(edit(2, vec![longer("d")])).unwrap_err().reason, "PLAN_CHANGED");
    assert_eq!(play.give(edit(1, vec![longer("a")])).unwrap_err().reason, "STEP_NOT_CHANGEABLE");
    for bad in [vec![longer("z")], vec![PlanOp::new(PlanOpKind::ExtendTimeout, "d", "")]] {
        assert_eq!(play.give(edit(1, bad)).unwrap_err().kind, ErrorKind::InvalidArgument);
    }
    let mut cycle = PlanOp::new(PlanOpKind::AddNeeds, "b", "");
    cycle.needs = vec!["d".into()];
    assert_eq!(play.give(edit(1, vec![cycle])).unwrap_err().kind, ErrorKind::InvalidArgument);
    assert_eq!(play.run, before);
}

#[test]
fn a_run_whose_time_is_over_fails_and_stops_what_is_at_work() {
    let mut limited = run(DIAMOND);
    limited.timeout_ms = 60_000;
    let mut play = Play::of(limited);
    let timer = play.queue.iter().find(|t| t.0 == TaskKind::Deadline).map(|t| t.2);
    assert_eq!(timer, Some(Timestamp(60_001)));
    play.start("a");
    play.give(Input::TimedOut).unwrap();
    assert_eq!(play.run.status, RunStatus::Failed);
    assert_eq!(play.run.reason, "the run did not end within 60 s");
    assert_eq!((play.state("a"), play.state("b")), (&State::Failed, &State::Skipped));
    assert!(play.queue.is_empty());
    assert!(play.give(Input::TimedOut).is_err());
    play.give(Input::Retry { actor: "ann".into() }).unwrap();
    assert!(play.queue.iter().any(|t| t.0 == TaskKind::Deadline), "the time starts anew");
}
