//! What something has come to: a shape, a word and a colour, in this order of importance.

use super::core::words::spaced;
use maud::{Markup, html};
use meta_domain::autofix::{Outcome, TryVerdict};
use meta_domain::gate::GateStatus;
use meta_domain::status::{RunStatus, StepStatus};
use meta_proto::convert::{Number, word_opt};
use std::fmt::Display;

/// A domain word of the wire; `None` when it is unspecified, or newer than this gateway.
pub(super) fn known<D: Number>(number: i32) -> Option<D> {
    word_opt::<D>("", number).ok().flatten()
}

/// Such a word as text; `unknown` when there is none.
pub(super) fn word<D: Number + Display>(number: i32) -> String {
    known::<D>(number).map_or_else(|| "unknown".to_owned(), |w| w.to_string())
}

/// How something stands, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Good,
    Bad,
    Running,
    Waiting,
    Pending,
    Skipped,
    Canceled,
    Healed,
}

impl State {
    pub(super) fn of_run(status: i32) -> Self {
        match known::<RunStatus>(status) {
            Some(RunStatus::Running) => Self::Running,
            Some(RunStatus::PausedAwaitingApproval) => Self::Waiting,
            Some(RunStatus::Succeeded) => Self::Good,
            Some(RunStatus::Failed) => Self::Bad,
            Some(RunStatus::Canceled) => Self::Canceled,
            Some(RunStatus::Pending) | None => Self::Pending,
        }
    }

    pub(super) fn of_step(status: i32) -> Self {
        match known::<StepStatus>(status) {
            Some(StepStatus::Running) => Self::Running,
            Some(StepStatus::Succeeded) => Self::Good,
            Some(StepStatus::Failed) => Self::Bad,
            Some(StepStatus::Skipped) => Self::Skipped,
            Some(StepStatus::Canceled) => Self::Canceled,
            Some(StepStatus::Pending) | None => Self::Pending,
        }
    }

    pub(super) fn of_outcome(outcome: i32) -> Self {
        match known::<Outcome>(outcome) {
            Some(Outcome::PatchApplied) => Self::Healed,
            Some(Outcome::Retried | Outcome::Replanned) => Self::Good,
            Some(Outcome::Escalated) => Self::Waiting,
            Some(Outcome::GaveUp) => Self::Bad,
            None => Self::Pending,
        }
    }

    pub(super) fn of_verdict(verdict: i32) -> Self {
        match known::<TryVerdict>(verdict) {
            Some(TryVerdict::Accepted) => Self::Good,
            Some(TryVerdict::NeedsApproval) => Self::Waiting,
            Some(TryVerdict::NoChange) => Self::Skipped,
            Some(TryVerdict::GuardReject | TryVerdict::VerifyFail | TryVerdict::FixerError) => {
                Self::Bad
            }
            None => Self::Pending,
        }
    }

    pub(super) fn of_gate(status: i32) -> Self {
        match known::<GateStatus>(status) {
            Some(GateStatus::Pending) => Self::Waiting,
            Some(GateStatus::Approved) => Self::Good,
            Some(GateStatus::Rejected) => Self::Bad,
            Some(GateStatus::Expired) | None => Self::Canceled,
        }
    }

    /// The name of its class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Skipped => "skipped",
            Self::Canceled => "canceled",
            Self::Healed => "healed",
        }
    }

    /// Its outline and what is drawn into it, in a square of 16; no two are of the same shape.
    fn shape(self) -> (&'static str, &'static str) {
        const ROUND: &str = "M8 1.5a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13z";
        match self {
            Self::Good => (ROUND, "m5 8.2 2.1 2.1L11 6"),
            Self::Bad => (
                "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3z",
                "m5.7 5.7 4.6 4.6m0-4.6-4.6 4.6",
            ),
            Self::Running => ("M8 2a6 6 0 1 1-6 6", ""),
            Self::Waiting => ("M8 .8 15.2 8 8 15.2.8 8z", "M8 4.8v3.8m0 2v.4"),
            Self::Pending => ("M8 2.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 0 1 0-11z", ""),
            Self::Skipped => (ROUND, "M5 8h6"),
            Self::Canceled => (ROUND, "m4.4 11.6 7.2-7.2"),
            Self::Healed => (
                "M3.5 1.5h9a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-9a2 2 0 0 1-2-2v-9a2 2 0 0 1 2-2z",
                "M8 4.6v6.8M4.6 8h6.8",
            ),
        }
    }

    /// Its shape alone, for what says the word elsewhere.
    pub(super) fn icon(self) -> Markup {
        html! {
            svg.ico.(self.class()) width="16" height="16" viewBox="0 0 16 16" aria-hidden="true" {
                (self.drawn())
            }
        }
    }

    /// The same inside another drawing.
    pub(super) fn drawn(self) -> Markup {
        let (outline, sign) = self.shape();
        html! {
            path.o d=(outline) {}
            @if !sign.is_empty() { path.s d=(sign) {} }
        }
    }
}

/// A shape with its word.
pub(super) fn badge(state: State, word: &str) -> Markup {
    html! { span.badge.(state.class()) { (state.icon()) span { (spaced(word)) } } }
}

/// The status of a run.
pub(super) fn run(status: i32) -> Markup {
    let text = match known::<RunStatus>(status) {
        Some(RunStatus::PausedAwaitingApproval) => "waiting for approval".to_owned(),
        _ => word::<RunStatus>(status),
    };
    badge(State::of_run(status), &text)
}

/// A failure type or another word from a short list.
pub(super) fn tag(text: &str) -> Markup {
    html! { span.tag { (spaced(text)) } }
}
