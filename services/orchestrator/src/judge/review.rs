//! Lets the patch guard look at a patch.

use super::{Judge, PEER_TIMEOUT, garbled, machine, peer, spent};
use crate::core::run::{Patch, Phase, Run, State, Step};
use crate::core::transition::Input;
use meta_domain::autofix::{GuardVerdict, SourceFile};
use meta_domain::fault::{Fault, InvalidField};
use meta_proto::autofixer as apb;
use meta_runtime::call;
use std::time::Instant;

/// Name of the artifact with the files that a step's patch touches, as they were.
pub fn before_of(step: &str) -> String {
    format!("before:{step}")
}

impl Judge {
    pub(super) async fn review(&mut self, run: &Run, step: &Step) -> Result<Input, Fault> {
        let name = step.planned.name.clone();
        let out_of_date = || Fault::not_found("PATCH_NOT_FOUND", "patch of step", &name);
        let State::Healing(healing) = &step.state else { return Err(out_of_date()) };
        let (Some(fixer), Some(patch), Phase::Reviewing) =
            (healing.fixer(), &healing.patch, healing.phase)
        else {
            return Err(out_of_date());
        };
        let case = match &step.signal {
            Some(signal) => {
                let types = run.failure_types.clone();
                Some(self.case(run, step, signal.clone(), types).await?)
            }
            None => None,
        };
        let before = self.engine.tables.artifact(run.id, &before_of(&name)).await?;
        let before: Vec<SourceFile> =
            serde_json::from_slice(&before.unwrap_or_default()).unwrap_or_default();
        let request = apb::ReviewPatchRequest {
            patch: patch.text.clone().into_bytes(),
            fixer: Some(fixer.clone().into()),
            step: Some(step.planned.clone().into()),
            signal: step.signal.clone().map(Into::into),
            case: case.map(Into::into),
            before: before.into_iter().map(Into::into).collect(),
        };
        let began = Instant::now();
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer =
            self.autofixer.review_patch(request).await.map_err(peer("autofixer"))?.into_inner();
        spent("review", began);
        let verdict = match answer.verdict() {
            apb::GuardVerdict::Accept => GuardVerdict::Accept,
            apb::GuardVerdict::NeedsApproval => {
                GuardVerdict::NeedsApproval { reason: answer.reason.clone() }
            }
            apb::GuardVerdict::Reject => GuardVerdict::Reject { reason: answer.reason.clone() },
            apb::GuardVerdict::Unspecified => {
                let field = InvalidField::new("verdict", "is unspecified");
                return Err(garbled("autofixer")(field));
            }
        };
        let patch = Patch {
            text: patch.text.clone(),
            sha256: answer.sha256,
            files: answer.files,
            added: answer.added,
            removed: answer.removed,
        };
        let (reasons, risk) = (answer.reasons, answer.risk);
        Ok(Input::Reviewed { step: name, verdict, patch, reasons, risk })
    }
}
