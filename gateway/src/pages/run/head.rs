//! A run's name, state and controls, and why it is as it is.

use super::evidence;
use super::log::Chosen;
use super::{View, act};
use crate::pages::badge::{self, State, badge, known, tag, word};
use crate::pages::core::ansi::plain;
use crate::pages::core::words::{count, duration, short, tidy};
use crate::pages::gates::time;
use crate::pages::runs::{Tally, took};
use maud::{Markup, html};
use meta_domain::autofix::{Outcome, Strategy};
use meta_domain::failure::FailureType;
use meta_domain::status::{RunStatus, StepStatus};
use meta_proto::convert::instant;
use meta_proto::orchestrator as pb;

/// Whether nothing more will happen to a run by itself.
pub(super) fn has_ended(run: &pb::Run) -> bool {
    known::<RunStatus>(run.status).is_some_and(RunStatus::is_terminal)
}

/// Title, facts, controls.
pub(super) fn head(view: &View<'_>) -> Markup {
    let run = view.run;
    html! {
        header.run-head id="head" data-live="head" {
            p.crumbs { a href="/runs" { "Runs" } " / " a href=(format!("/runs?spec_id={}", run.spec_id)) { (view.title) } " / " code { (run.id) } }
            div.line {
                h1 { (view.title) }
                (badge::run(run.status))
                @if !run.held_by.is_empty() && !has_ended(run) { span.badge.waiting { (State::Waiting.icon()) span { "paused by " (plain(&run.held_by)) } } }
                (act::controls(view))
            }
            (facts(view))
        }
    }
}

fn facts(view: &View<'_>) -> Markup {
    let run = view.run;
    let tally = Tally::of(run);
    html! {
        dl.facts.row {
            div { dt { "Took" } dd { @match took(run, view.now) { Some(ms) => (duration(ms)), None => "not started" } } }
            @if let Some(at) = run.started_at.as_ref().or(run.created_at.as_ref()).map(instant) {
                div { dt { "Started" } dd { (time(at, view.now)) } }
            }
            div { dt { "By" } dd { (plain(&run.created_by)) } }
            div { dt { "Plan" } dd { "version " (run.plan_version) } }
            @if !run.head_commit.is_empty() { div { dt { "Commit" } dd { code { (short(&run.head_commit)) } } } }
            @if tally.healed + tally.flaky > 0 || !tally.types.is_empty() {
                div { dt { "Healing" } dd.tags { (tally.markup()) } }
            }
            @if tally.healed > 0 {
                div { dt { "Changes" } dd { a href=(format!("/api/meta/v2/runs/{}/artifacts/patch", run.id)) download { "combined patch" } } }
            }
        }
    }
}

/// In one box: what the run came to, why, and what was done about it.
pub(super) fn why(view: &View<'_>, _: &Chosen) -> Markup {
    let run = view.run;
    match known::<RunStatus>(run.status) {
        Some(RunStatus::Failed) => failed(view),
        // The gates themselves follow.
        Some(RunStatus::PausedAwaitingApproval) => html! {},
        Some(RunStatus::Succeeded) => succeeded(view),
        Some(RunStatus::Canceled) => html! {
            div.why.canceled {
                h2 { (State::Canceled.icon()) " Canceled" }
                p { @if run.reason.is_empty() { "Somebody canceled it." } @else { (tidy(&run.reason)) } }
            }
        },
        Some(RunStatus::Running | RunStatus::Pending) | None => running(view),
    }
}

fn name(step: &pb::RunStep) -> String {
    plain(step.step.as_ref().map_or("", |s| s.name.as_str()))
}

fn of_status(run: &pb::Run, status: StepStatus) -> impl Iterator<Item = &pb::RunStep> {
    run.steps.iter().filter(move |s| known::<StepStatus>(s.status) == Some(status))
}

fn running(view: &View<'_>) -> Markup {
    let steps: Vec<_> = of_status(view.run, StepStatus::Running).collect();
    let done = of_status(view.run, StepStatus::Succeeded).count();
    html! {
        div.why.running {
            h2 {
                (State::Running.icon()) " "
                @if steps.is_empty() { "Waiting for its turn" } @else {
                    "At " @for (i, step) in steps.iter().enumerate() { @if i > 0 { ", " } code { (name(step)) } }
                }
            }
            p {
                (done) " of " (count(view.run.steps.len(), "step")) " passed."
                @for step in &steps {
                    @if let Some(signal) = &step.signal { @if step.attempts > 0 || !step.tries.is_empty() {
                        " " code { (name(step)) } " failed before (" (word::<FailureType>(signal.r#type)) "): " (tidy(&signal.message)) "."
                    } }
                }
            }
        }
    }
}

fn failed(view: &View<'_>) -> Markup {
    let run = view.run;
    let steps: Vec<_> = of_status(run, StepStatus::Failed).collect();
    html! {
        div.why.bad {
            h2 { (State::Bad.icon()) " Why it failed" }
            @if steps.is_empty() { p { (tidy(&run.reason)) } }
            @for step in steps { (failed_step(view, step)) }
        }
    }
}

fn failed_step(view: &View<'_>, step: &pb::RunStep) -> Markup {
    let name = name(step);
    let executions = view.story.executions(&name);
    let last = executions.iter().rev().find(|e| e.passed == Some(false)).map(|e| e.number);
    let turns: Vec<_> = view.run.attempts.iter().filter(|a| a.step == name).collect();
    html! {
        div.failed-step {
            @if let Some(signal) = &step.signal {
                p.lead {
                    code { (name) } " " (tag(&word::<FailureType>(signal.r#type))) " "
                    strong { (tidy(&signal.message)) }
                }
                (evidence::lines(signal, &view.run.id, &name, last))
            } @else { p.lead { code { (name) } } }
            dl.facts {
                div { dt { "Done about it" } dd { (done_about(&turns)) } }
                @if !step.reason.is_empty() { div { dt { "Given up because" } dd { (tidy(&step.reason)) } } }
            }
            p.ways {
                a href=(evidence::place(&view.run.id, &name, last, 0)) { "Whole log of " (name) }
                @if let Some(turn) = turns.last() { " · " a href=(format!("#turn-{}", turn.id)) { "Its last turn in the timeline" } }
            }
        }
    }
}

fn done_about(turns: &[&pb::Attempt]) -> Markup {
    let tries: usize = turns.iter().map(|t| t.tries.len()).sum();
    let of = |strategy: Strategy| {
        turns.iter().filter(|t| known::<Strategy>(t.strategy) == Some(strategy)).count()
    };
    let mut said = Vec::new();
    for (strategy, noun) in [
        (Strategy::RetryStep, "plain retry"),
        (Strategy::RePlan, "re-plan"),
        (Strategy::Rollback, "rollback"),
    ] {
        match of(strategy) {
            0 => {}
            1 => said.push(format!("1 {noun}")),
            n => said.push(format!(
                "{n} {}",
                if noun == "plain retry" { "plain retries".to_owned() } else { format!("{noun}s") }
            )),
        }
    }
    if tries > 0 {
        said.push(format!("{} tried", count(tries, "fixer")));
    }
    html! { @if said.is_empty() { "nothing could be" } @else { (said.join(", ")) } }
}

fn succeeded(view: &View<'_>) -> Markup {
    let run = view.run;
    let is_applied = |a: &&pb::Attempt| {
        known::<Outcome>(a.outcome) == Some(Outcome::PatchApplied) && a.rollback_to_step.is_empty()
    };
    let applied: Vec<_> = run.attempts.iter().filter(is_applied).collect();
    let flaky: Vec<_> = run.steps.iter().filter(|s| s.flaky).collect();
    let accepted: Vec<_> = run.gates.iter().filter(|g| !g.decided_by.is_empty()).collect();
    html! {
        div.why.good {
            h2 { (State::Good.icon()) " Passed"
                @if !applied.is_empty() { ", with " (count(applied.len(), "patch")) } }
            @if applied.is_empty() && flaky.is_empty() && accepted.is_empty() { p { "Nothing had to be healed." } }
            ul.plain {
                @for turn in &applied {
                    li { (badge(State::Healed, "healed")) " " code { (plain(&turn.step)) }
                        @if let Some(signal) = &turn.signal { " " (tidy(&signal.message)) }
                        @if let Some(by) = turn.tries.last() { " — " (plain(&by.title)) }
                        " " a href=(format!("#turn-{}", turn.id)) { "see the patch" } }
                }
                @for step in &flaky { li { span.tag.flaky { "flaky" } " " code { (name(step)) } " passed on a plain retry at the same commit" } }
                @for gate in &accepted { li { (badge(State::of_gate(gate.status), &word::<meta_domain::gate::GateStatus>(gate.status))) " " code { (plain(&gate.step)) } " by " (plain(&gate.decided_by)) } }
            }
        }
    }
}
