//! What the core says, on the wire.

use crate::core::explain::{Considered, Standing};
use crate::core::learn::FixOutcome;
use crate::drafts::{Draft, Drafted, Edited};
use crate::memory::Said;
use meta_domain::autofix::Decision;
use meta_domain::fault::InvalidField;
use meta_domain::plan::PlanOp;
use meta_domain::signal::Signal;
use meta_proto::autofixer as pb;
use meta_proto::common::decision::Strategy;
use meta_proto::convert::{Field, Required, list};

/// Longest key of an outcome, in bytes.
const KEY_BYTES_MAX: usize = 200;

pub(super) fn edits(draft: Draft<Edited>, model: &str) -> pb::DraftEditResponse {
    use pb::draft_edit_response::Answer;
    let answer = match draft.result {
        Drafted::Done(Edited { edits, explanation }) => {
            Answer::Edits(pb::Edits { edits: list(edits), explanation })
        }
        Drafted::NoFix(reason) => Answer::NoFix(pb::NoFix { reason }),
        Drafted::TryLater { retry_after_ms, reason } => {
            Answer::TryLater(pb::TryLater { retry_after_ms, reason })
        }
        Drafted::Failed(reason) => Answer::Failed(pb::DraftFailed { reason }),
    };
    pb::DraftEditResponse {
        answer: Some(answer),
        tokens_in: draft.tokens_in,
        tokens_out: draft.tokens_out,
        model: model.to_owned(),
    }
}

pub(super) fn plan(draft: Draft<(Vec<PlanOp>, String)>, model: &str) -> pb::DraftReplanResponse {
    use pb::draft_replan_response::Answer;
    let answer = match draft.result {
        Drafted::Done((ops, reason)) => {
            let triggered_by = "model".to_owned();
            let wire: meta_proto::common::Decision =
                Decision::RePlan { ops, triggered_by, reason }.into();
            match wire.strategy {
                Some(Strategy::RePlan(delta)) => Answer::RePlan(delta),
                _ => Answer::Failed(pb::DraftFailed { reason: "no plan delta".to_owned() }),
            }
        }
        Drafted::NoFix(reason) => Answer::NoFix(pb::NoFix { reason }),
        Drafted::TryLater { retry_after_ms, reason } => {
            Answer::TryLater(pb::TryLater { retry_after_ms, reason })
        }
        Drafted::Failed(reason) => Answer::Failed(pb::DraftFailed { reason }),
    };
    pb::DraftReplanResponse {
        answer: Some(answer),
        tokens_in: draft.tokens_in,
        tokens_out: draft.tokens_out,
        model: model.to_owned(),
    }
}

pub(super) fn considered(c: Considered) -> pb::Considered {
    let standing = match c.standing {
        Standing::Open => pb::Standing::Open,
        Standing::Tried => pb::Standing::Tried,
        Standing::Muted => pb::Standing::Muted,
        Standing::Passes => pb::Standing::Passes,
    };
    pb::Considered {
        id: c.id,
        title: c.title,
        standing: standing.into(),
        why: c.why,
        tries: list(c.tries),
        success: c.success,
    }
}

/// An outcome that was read from a request.
pub(super) struct Outcome {
    signal: Signal,
    came_to: FixOutcome,
    patch: String,
}

/// Reads an outcome.
pub(super) fn outcome(body: &pb::RecordOutcomeRequest) -> Result<Outcome, InvalidField> {
    if body.key.is_empty() || body.key.len() > KEY_BYTES_MAX || body.key.contains('\0') {
        let problem = format!("is not valid (expected 1 to {KEY_BYTES_MAX} bytes)");
        return Err(InvalidField::new("key", problem));
    }
    if body.fixer.is_empty() || body.fixer.len() > KEY_BYTES_MAX || body.fixer.contains('\0') {
        let problem = format!("is not valid (expected 1 to {KEY_BYTES_MAX} bytes)");
        return Err(InvalidField::new("fixer", problem));
    }
    let signal = Signal::try_from(body.signal.clone().required("signal")?).field("signal")?;
    let outcome = match body.outcome() {
        pb::FixOutcome::Accepted => FixOutcome::Accepted,
        pb::FixOutcome::Approved => FixOutcome::Approved,
        pb::FixOutcome::Rejected => FixOutcome::Rejected,
        pb::FixOutcome::VerifyFail => FixOutcome::VerifyFail,
        pb::FixOutcome::GuardReject => FixOutcome::GuardReject,
        pb::FixOutcome::NoChange => FixOutcome::NoChange,
        pb::FixOutcome::FixerError => FixOutcome::FixerError,
        pb::FixOutcome::Reverted => FixOutcome::Reverted,
        pb::FixOutcome::Unspecified => {
            return Err(InvalidField::new("outcome", "is unspecified (expected a named value)"));
        }
    };
    // A patch that is no text, or holds what a database refuses, is not kept for replay.
    let patch = std::str::from_utf8(&body.patch).unwrap_or_default();
    let patch = if patch.contains('\0') { String::new() } else { patch.to_owned() };
    Ok(Outcome { signal, came_to: outcome, patch })
}

impl Outcome {
    /// What the store is told.
    pub(super) fn told<'a>(&'a self, body: &'a pb::RecordOutcomeRequest) -> Said<'a> {
        Said {
            key: &body.key,
            signal: &self.signal,
            fixer: &body.fixer,
            outcome: self.came_to,
            patch: &self.patch,
            duration_ms: body.duration_ms,
            tokens: body.tokens,
            at: meta_runtime::now(),
        }
    }
}
