//! Gates: what a human is asked, what speaks for and against it, and the two answers.

use super::badge::{State, badge, known, tag, word};
use super::core::ansi::plain;
use super::core::words::{ago, count, duration, instant, risk, short, tidy};
use super::layout::csrf;
use super::visitor::Visitor;
use super::{diff, run::evidence};
use maud::{Markup, html};
use meta_domain::failure::{FailureType, Severity};
use meta_domain::gate::{GateEffect, GateStatus, GateType};
use meta_domain::limits::DESCRIPTION_CHARS_MAX;
use meta_domain::role::Role;
use meta_domain::time::Timestamp;
use meta_proto::common::FailureSignal;
use meta_proto::convert::instant as moment;
use meta_proto::orchestrator::{Check, Evidence, ExpiryAction, Gate};

/// Where a gate is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The page to come back to after the decision.
    pub(super) back: &'a str,
    /// What the run is called, where the gate is not shown with its run.
    pub(super) run: Option<&'a str>,
    pub(super) now: Timestamp,
}

/// Whether a gate waits.
pub(super) fn is_pending(gate: &Gate) -> bool {
    known::<GateStatus>(gate.status) == Some(GateStatus::Pending)
}

/// A gate with all that a decision needs.
pub(super) fn card(gate: &Gate, visitor: &Visitor, place: Place<'_>) -> Markup {
    let id = format!("gate-{}", gate.id);
    html! {
        article.card.gate.(State::of_gate(gate.status).class()) id=(id) aria-labelledby=(format!("{id}-title")) data-live=(id) {
            header {
                (badge(State::of_gate(gate.status), &word::<GateStatus>(gate.status)))
                h3 id=(format!("{id}-title")) { (question(gate)) }
                (when(gate, place.now))
            }
            @if let Some(run) = place.run {
                p.of { "Run " a href=(format!("/runs/{}", gate.run_id)) { (run) } }
            }
            p.reason { (tidy(&gate.reason)) }
            @if let Some(signal) = &gate.signal { (finding(gate, signal)) }
            @if !gate.proposed_patch.is_empty() { (proposal(gate)) }
            (means(gate))
            @if is_pending(gate) { (decide(gate, visitor, place)) } @else { (decided(gate, place.now)) }
        }
    }
}

fn question(gate: &Gate) -> Markup {
    let step = html! { code { (plain(&gate.step)) } };
    match known::<GateEffect>(gate.effect) {
        Some(GateEffect::ApplyPatch) => html! { "Apply the proposed patch to mend " (step) "?" },
        Some(GateEffect::Accept) => {
            let kind = word::<GateType>(gate.r#type);
            html! { "Accept the " (kind) " finding of " (step) " and go on?" }
        }
        Some(GateEffect::Retry) => html! { "Run " (step) " again?" },
        Some(GateEffect::Start) => html! { "Let " (step) " start?" },
        None => html! { "Go on with " (step) "?" },
    }
}

fn when(gate: &Gate, now: Timestamp) -> Markup {
    let Some(created) = gate.created_at.as_ref().map(moment) else { return html! {} };
    html! {
        span.when {
            (tag(&word::<GateType>(gate.r#type))) " asked " (time(created, now))
            @if let Some(end) = gate.expires_at.as_ref().map(moment) {
                @if is_pending(gate) {
                    " · decides itself at " time datetime=(end) { (instant(end)) }
                    @match gate.on_expiry() {
                        ExpiryAction::Cancel => " (the run is canceled)",
                        ExpiryAction::Fail | ExpiryAction::Unspecified => " (the run fails)",
                    }
                }
            }
        }
    }
}

/// An instant relative to now, whole in its title.
pub(super) fn time(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) title=(instant(at)) data-ago { (ago(at, now)) } }
}

fn finding(gate: &Gate, signal: &FailureSignal) -> Markup {
    html! {
        div.finding {
            p {
                (tag(&word::<FailureType>(signal.r#type))) " "
                strong { (tidy(&signal.message)) }
                " " span.fine { "severity " (word::<Severity>(signal.severity)) ", rule " code { (plain(&signal.source)) } }
            }
            (evidence::lines(signal, &gate.run_id, &gate.step, None))
        }
    }
}

fn proposal(gate: &Gate) -> Markup {
    html! {
        div.proposal {
            h4 {
                "Proposed by " (plain(&gate.fixer)) " "
                (diff::size(gate.files, gate.added, gate.removed))
            }
            dl.facts {
                div {
                    dt { "Risk" }
                    dd {
                        meter min="0" max="100" low="25" high="60" optimum="0" value=(gate.risk)
                            aria-label="Risk of the patch" { (gate.risk) }
                        " " (gate.risk) " of 100, " (risk(gate.risk))
                    }
                }
                div {
                    dt { "Guard" }
                    dd {
                        @if gate.guard_reasons.is_empty() { "has nothing against it" } @else {
                            ul.plain { @for reason in &gate.guard_reasons { li { (plain(reason)) } } }
                        }
                    }
                }
                div { dt { "Verified" } dd { (verified(gate.evidence.as_ref())) } }
            }
            (diff::patch(&gate.proposed_patch))
        }
    }
}

/// What a verification showed.
pub(super) fn verified(evidence: Option<&Evidence>) -> Markup {
    let Some(evidence) = evidence else { return html! { "not executed with this patch" } };
    let state = if evidence.passed { State::Good } else { State::Bad };
    let word = if evidence.passed { "holds" } else { "no proof" };
    html! {
        (badge(state, word)) " on commit " code { (short(&evidence.base_commit)) }
        @if !evidence.detail.is_empty() { ": " (plain(&evidence.detail)) }
        @if !evidence.checks.is_empty() {
            ul.plain.checks { @for check in &evidence.checks { li { (one_check(check)) } } }
        }
        @if !evidence.check_files.is_empty() {
            p { "Changes the check itself: " (evidence.check_files.iter().map(|f| plain(f)).collect::<Vec<_>>().join(", "))
                @if !evidence.restored.is_empty() { " (put back before the first execution)" } }
        }
    }
}

fn one_check(check: &Check) -> Markup {
    let exit = check.exit.unwrap_or_default();
    let (state, said) = match exit.code {
        _ if exit.timed_out => (State::Bad, "ran out of time".to_owned()),
        Some(0) => (State::Good, "passed".to_owned()),
        Some(code) => (State::Bad, format!("exit code {code}")),
        None => (State::Bad, "killed".to_owned()),
    };
    let before =
        |tool: &str| check.before.iter().find(|c| c.tool == tool).map_or(0, |c| c.executed);
    html! {
        (state.icon()) " " code { (plain(&check.step)) } " " (said)
        @if check.executions > 1 { " " (check.executions) " times" }
        " in " (duration(check.duration_ms))
        @for c in &check.after {
            "; " (plain(&c.tool)) " ran " (count(usize::try_from(c.executed).unwrap_or(usize::MAX), "test"))
            " (before " (before(&c.tool)) ", skipped " (c.skipped) ")"
        }
        @if !check.newly_skipped.is_empty() {
            "; newly skipped: " (check.newly_skipped.iter().map(|t| plain(t)).collect::<Vec<_>>().join(", "))
        }
    }
}

fn means(gate: &Gate) -> Markup {
    let approve = match known::<GateEffect>(gate.effect) {
        Some(GateEffect::ApplyPatch) => {
            "the patch is committed, the step runs again, and the run goes on"
        }
        Some(GateEffect::Accept) => {
            "the finding is accepted, the step counts as passed, and the run goes on"
        }
        Some(GateEffect::Retry) => "the step runs once more",
        Some(GateEffect::Start) => "the step starts",
        None => "the run goes on",
    };
    html! {
        @if is_pending(gate) {
            p.means {
                strong { "Approve: " } (approve) ". " strong { "Reject: " } "the run fails. "
                "A gate is decided once."
                @if gate.four_eyes { " Whoever started the run may not approve it." }
            }
        }
    }
}

fn decide(gate: &Gate, visitor: &Visitor, place: Place<'_>) -> Markup {
    if visitor.caller.principal.role < Role::Admin {
        return html! { p.note { "Deciding needs the role admin; yours is "
        (visitor.caller.principal.role.as_str().replace('_', " ")) "." } };
    }
    if visitor.csrf.is_empty() {
        return html! { p.note { "Sign in to decide here." } };
    }
    let notes = format!("notes-{}", gate.id);
    html! {
        form.decide method="post" action=(format!("/approvals/{}/decide", gate.id)) {
            (csrf(visitor))
            input type="hidden" name="back" value=(place.back);
            input type="hidden" name="patch_sha256" value=(gate.patch_sha256);
            input type="hidden" name="plan_version" value=(gate.plan_version);
            label for=(notes) { "Notes " span.fine { "(kept with the decision)" } }
            textarea id=(notes) name="notes" rows="2" maxlength=(DESCRIPTION_CHARS_MAX) {}
            div.buttons {
                button.approve type="submit" name="decision" value="approve" { "Approve" }
                button.reject type="submit" name="decision" value="reject" { "Reject" }
            }
        }
    }
}

fn decided(gate: &Gate, now: Timestamp) -> Markup {
    html! {
        p.decided {
            (word::<GateStatus>(gate.status))
            @if !gate.decided_by.is_empty() { " by " strong { (plain(&gate.decided_by)) } }
            @if let Some(at) = gate.decided_at.as_ref().map(moment) { " " (time(at, now)) }
            @if !gate.notes.is_empty() { ": " q { (plain(&gate.notes)) } }
        }
    }
}
