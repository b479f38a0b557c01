//! The steps in words.

use super::View;
use super::evidence::place;
use super::log::Chosen;
use crate::pages::badge::{State, badge, known, tag, word};
use crate::pages::core::ansi::plain;
use crate::pages::core::words::{count, duration, tidy};
use crate::pages::gates::is_pending;
use maud::{Markup, html};
use meta_domain::autofix::Outcome;
use meta_domain::failure::FailureType;
use meta_domain::status::StepStatus;
use meta_proto::common::command;
use meta_proto::orchestrator as pb;

/// How a step stands, in a shape and in words. One that asks somebody waits, whatever it did before.
pub(super) fn state(view: &View<'_>, step: &pb::RunStep) -> (State, String) {
    let name = step.step.as_ref().map_or("", |s| s.name.as_str());
    if view.run.gates.iter().any(|g| g.step == name && is_pending(g)) {
        return (State::Waiting, "waiting".to_owned());
    }
    let word = match known::<StepStatus>(step.status) {
        Some(StepStatus::Succeeded) => "passed".to_owned(),
        Some(StepStatus::Running) if !step.tries.is_empty() => "healing".to_owned(),
        _ => word::<StepStatus>(step.status),
    };
    (State::of_step(step.status), word)
}

/// Every step with what became of it.
pub(super) fn table(view: &View<'_>, chosen: &Chosen) -> Markup {
    html! {
        div.card.flush {
            table.steps {
                thead { tr {
                    th scope="col" { "Step" } th scope="col" { "Status" } th scope="col" { "What happened" }
                    th.num scope="col" { "Executions" } th.num scope="col" { "Last took" }
                } }
                tbody { @for step in &view.run.steps { (row(view, step, chosen)) } }
            }
        }
    }
}

fn row(view: &View<'_>, step: &pb::RunStep, chosen: &Chosen) -> Markup {
    let empty = meta_proto::common::PlannedStep::default();
    let planned = step.step.as_ref().unwrap_or(&empty);
    let name = plain(&planned.name);
    let is_chosen = chosen.step == planned.name;
    let (state, said) = state(view, step);
    html! {
        tr.chosen[is_chosen] {
            td.name {
                a.title href=(place(&view.run.id, &planned.name, None, 0)) aria-current=[is_chosen.then_some("true")] { (name) }
                code.command title=(plain(&planned.why)) { (command_line(planned)) }
            }
            td.status { (badge(state, &said)) }
            td.what { (what(view, step, planned)) }
            td.num { (step.executions) }
            td.num { @if step.duration_ms > 0 { (duration(step.duration_ms)) } @else { "–" } }
        }
    }
}

fn command_line(planned: &meta_proto::common::PlannedStep) -> String {
    match planned.run.as_ref().and_then(|r| r.kind.as_ref()) {
        Some(command::Kind::Shell(line)) => plain(line),
        Some(command::Kind::Argv(argv)) => plain(&argv.words.join(" ")),
        None => String::new(),
    }
}

fn what(view: &View<'_>, step: &pb::RunStep, planned: &meta_proto::common::PlannedStep) -> Markup {
    let healed = view.run.attempts.iter().filter(|a| {
        a.step == planned.name
            && known::<Outcome>(a.outcome) == Some(Outcome::PatchApplied)
            && !a.reverted
    });
    let gate = view.run.gates.iter().find(|g| g.step == planned.name && is_pending(g));
    let passed = known::<StepStatus>(step.status) == Some(StepStatus::Succeeded);
    html! {
        div.tags {
            @if healed.count() > 0 { (badge(State::Healed, "healed")) }
            @if step.flaky { span.tag.flaky { "flaky" } }
            @if let Some(signal) = &step.signal { (tag(&word::<FailureType>(signal.r#type))) }
            @if let Some(gate) = gate { a.badge.waiting href=(format!("#gate-{}", gate.id)) { (State::Waiting.icon()) span { "decide" } } }
        }
        @if let Some(signal) = &step.signal {
            span.said.past[passed] { @if passed { "was: " } (tidy(&signal.message)) }
        } @else if !step.reason.is_empty() { span.said { (tidy(&step.reason)) } }
        @else if step.executions == 0 && !planned.needs.is_empty() && !passed {
            span.said.past { "after " (planned.needs.iter().map(|n| plain(n)).collect::<Vec<_>>().join(", ")) }
        }
        @if !step.marked_by.is_empty() { span.said { "marked by " (plain(&step.marked_by)) } }
        @if step.attempts > 0 { span.sr { (count(step.attempts as usize, "turn")) " of the auto-fix loop" } }
    }
}
