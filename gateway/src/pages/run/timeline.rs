//! The Auto-Fix Timeline: each turn of the loop from the failure to what came of it.

use super::View;
use super::evidence;
use crate::pages::badge::{State, badge, known, tag, word};
use crate::pages::core::ansi::plain;
use crate::pages::core::words::{count, duration, risk, short, tidy};
use crate::pages::diff;
use crate::pages::gates::{time, verified};
use maud::{Markup, html};
use meta_domain::autofix::{Outcome, Strategy, TryVerdict};
use meta_domain::failure::FailureType;
use meta_domain::status::StepStatus;
use meta_proto::common::{FailureSignal, FixTry};
use meta_proto::convert::instant;
use meta_proto::orchestrator::{Attempt, Gate, RunStep};

/// Everything the loop did, oldest first, then what it is doing now.
pub(super) fn timeline(view: &View<'_>) -> Markup {
    let now_at: Vec<_> = view.run.steps.iter().filter(|s| is_healing(s)).collect();
    html! {
        @if view.run.attempts.is_empty() && now_at.is_empty() {
            div.empty { p { @if super::head::has_ended(view.run) { "Nothing failed that the loop had to answer." } @else { "Nothing has failed so far." } } }
        } @else {
            ol.timeline {
                @for attempt in &view.run.attempts { (turn(view, attempt)) }
                @for step in &now_at { (present(view, step)) }
            }
        }
    }
}

/// Whether fixers are at work on a step now.
fn is_healing(step: &RunStep) -> bool {
    known::<StepStatus>(step.status) == Some(StepStatus::Running)
        && step.signal.is_some()
        && !step.tries.is_empty()
}

fn turn(view: &View<'_>, attempt: &Attempt) -> Markup {
    let state = State::of_outcome(attempt.outcome);
    let execution = view.story.answered(&attempt.id);
    let id = format!("turn-{}", attempt.id);
    let gate = gate_of(view, attempt);
    html! {
        li.turn.(state.class()) id=(id) {
            header {
                span.dot { (state.icon()) }
                h3 {
                    code { (plain(&attempt.step)) }
                    " turn " (attempt.number)
                }
                (badge(state, &word::<Outcome>(attempt.outcome)))
                @if attempt.reverted { span.tag { "taken back later" } }
                span.when {
                    @if let Some(execution) = execution { "after execution " (execution) " · " }
                    @if let Some(at) = attempt.created_at.as_ref().map(instant) { (time(at, view.now)) }
                }
            }
            ol.chain {
                (signal(view, attempt.signal.as_ref(), &attempt.step, execution))
                (strategy(attempt))
                @if known::<Strategy>(attempt.strategy) == Some(Strategy::RetryStep) {
                    li.stage { h4 { "Backoff" } p { "Waited " strong { (duration(attempt.backoff_ms)) } " before the next execution." } }
                }
                @if !attempt.tries.is_empty() { (tries(view, &attempt.tries)) }
                (outcome(view, attempt, gate))
            }
            @if !attempt.patch.is_empty() { (patch(attempt, gate)) }
        }
    }
}

fn present(view: &View<'_>, step: &RunStep) -> Markup {
    let name = step.step.as_ref().map_or("", |s| s.name.as_str());
    let execution = view.story.executions(name).last().map(|e| e.number);
    html! {
        li.turn.running {
            header {
                span.dot { (State::Running.icon()) }
                h3 { code { (plain(name)) } " now" }
                (badge(State::Running, "being healed"))
            }
            ol.chain {
                (signal(view, step.signal.as_ref(), name, execution))
                (tries(view, &step.tries))
            }
        }
    }
}

/// The gate that a turn opened.
fn gate_of<'a>(view: &View<'a>, attempt: &Attempt) -> Option<&'a Gate> {
    (known::<Outcome>(attempt.outcome) == Some(Outcome::Escalated)).then_some(())?;
    let at = attempt.created_at.map(|t| (t.seconds, t.nanos));
    let of_step = || view.run.gates.iter().filter(|g| g.step == attempt.step);
    of_step()
        .find(|g| g.created_at.map(|t| (t.seconds, t.nanos)) >= at)
        .or_else(|| of_step().next_back())
}

fn signal(
    view: &View<'_>,
    signal: Option<&FailureSignal>,
    step: &str,
    execution: Option<u32>,
) -> Markup {
    let Some(signal) = signal else { return html! {} };
    html! {
        li.stage {
            h4 { "Signal" }
            p { (tag(&word::<FailureType>(signal.r#type))) " " strong { (tidy(&signal.message)) } }
            (evidence::lines(signal, &view.run.id, step, execution))
            p.fine {
                "rule " code { (plain(&signal.source)) }
                " · confidence " (format!("{:.0} %", signal.confidence * 100.0))
                @if !signal.tool.is_empty() { " · " (plain(&signal.tool)) }
                @if let Some(other) = known::<FailureType>(signal.runner_up) { " · next best " (other.to_string().replace('_', " ")) }
            }
        }
    }
}

fn strategy(attempt: &Attempt) -> Markup {
    let named = match known::<Strategy>(attempt.strategy) {
        Some(Strategy::RetryStep) => "Run the step again",
        Some(Strategy::FixSpecificIssue) => "Fix this issue",
        Some(Strategy::RegenerateCode) => "Ask a model for a patch",
        Some(Strategy::RePlan) => "Change the plan",
        Some(Strategy::Rollback) => "Go back to the last good commit",
        Some(Strategy::ManualIntervention) => "Ask a person",
        Some(Strategy::None) | None => "Nothing is left to try",
    };
    html! {
        li.stage {
            h4 { "Strategy" }
            p { strong { (named) } @if known::<Strategy>(attempt.strategy).is_some_and(|s| s != Strategy::None) { " " span.fine { code { (word::<Strategy>(attempt.strategy)) } } } }
            @if !attempt.reason.is_empty() { p.because { (tidy(&attempt.reason)) } }
        }
    }
}

fn tries(view: &View<'_>, tries: &[FixTry]) -> Markup {
    html! {
        li.stage {
            h4 { "Fixers" span.fine { " " (count(tries.len(), "try").replace("trys", "tries")) } }
            ol.tries { @for one in tries { (try_of(view, one)) } }
        }
    }
}

fn try_of(view: &View<'_>, one: &FixTry) -> Markup {
    let said = match known::<TryVerdict>(one.verdict) {
        Some(TryVerdict::Accepted) => "verified and applied",
        Some(TryVerdict::NeedsApproval) => "verified, needs approval",
        Some(TryVerdict::NoChange) => "changed nothing",
        Some(TryVerdict::GuardReject) => "refused by the guard",
        Some(TryVerdict::VerifyFail) => "did not help",
        Some(TryVerdict::FixerError) => "could not run",
        None => "unknown",
    };
    let guard = view.story.guard(&one.patch_sha256).filter(|_| !one.patch_sha256.is_empty());
    html! {
        li {
            (State::of_verdict(one.verdict).icon()) " "
            strong { (plain(&one.title)) } " " (said)
            @if one.files > 0 { " · " (diff::size(one.files, one.added, one.removed)) }
            @if !one.detail.is_empty() { span.fine.detail { (tidy(&one.detail)) } }
            @if let Some(guard) = guard {
                span.fine.detail {
                    "guard: " @if guard.needs_approval { "needs approval" } @else { "passes" }
                    ", risk " (guard.risk) " (" (risk(u32::try_from(guard.risk).unwrap_or(100))) ")"
                    @if !guard.reasons.is_empty() { ": " (plain(&guard.reasons.join("; "))) }
                }
            }
        }
    }
}

fn outcome(view: &View<'_>, attempt: &Attempt, gate: Option<&Gate>) -> Markup {
    let step = plain(&attempt.step);
    html! {
        li.stage.outcome {
            h4 { "Outcome" }
            @match known::<Outcome>(attempt.outcome) {
                Some(Outcome::Retried) => p { "The step was queued again on the same commit." },
                Some(Outcome::PatchApplied) if !attempt.rollback_to_step.is_empty() => p {
                    "The patch of " code { (plain(&attempt.rollback_to_step)) } " was taken back" (commit(attempt)) "." },
                Some(Outcome::PatchApplied) => p { "Committed" (commit(attempt)) "; " code { (step) } " ran again with it." },
                Some(Outcome::Replanned) => p { "A new plan version is in force. " a href="#plan-changes" { "See what changed" } },
                Some(Outcome::Escalated) => (escalated(gate)),
                Some(Outcome::GaveUp) => p { "The step failed for good." },
                None => p { "Unknown." },
            }
            @if let Some(evidence) = &attempt.evidence { div.verified { "Verification " (verified(Some(evidence))) } }
            @if let Some(after) = after(view, attempt) { p.fine { (after) } }
        }
    }
}

fn commit(attempt: &Attempt) -> Markup {
    html! { @if !attempt.commit.is_empty() { " as " code { (short(&attempt.commit)) } } }
}

fn escalated(gate: Option<&Gate>) -> Markup {
    let Some(gate) = gate else { return html! { p { "A gate waits." } } };
    let status = word::<meta_domain::gate::GateStatus>(gate.status);
    html! {
        p {
            (badge(State::of_gate(gate.status), &status))
            @if gate.decided_by.is_empty() { " a person is asked: " } @else { " by " (plain(&gate.decided_by)) ": " }
            a href=(format!("#gate-{}", gate.id)) { "see the gate" }
        }
    }
}

/// How the execution after this turn went.
fn after(view: &View<'_>, attempt: &Attempt) -> Option<String> {
    let answered = view.story.answered(&attempt.id)?;
    let next = view.story.executions(&attempt.step).iter().find(|e| e.number > answered)?;
    let took = next.duration_ms.map(|ms| format!(" in {}", duration(ms))).unwrap_or_default();
    Some(match next.passed {
        Some(true) => format!("Execution {} passed{took}.", next.number),
        Some(false) => format!("Execution {} failed{took}.", next.number),
        None => format!("Execution {} is under way.", next.number),
    })
}

fn patch(attempt: &Attempt, gate: Option<&Gate>) -> Markup {
    let shown_at_gate = gate.is_some_and(|g| g.proposed_patch == attempt.patch);
    html! {
        @if !shown_at_gate {
            details.patch id=(format!("patch-{}", attempt.id)) {
                summary { "Patch" @if let Some(one) = attempt.tries.iter().rev().find(|t| t.files > 0) { " " (diff::size(one.files, one.added, one.removed)) } }
                (diff::patch(&attempt.patch))
            }
        }
    }
}
