//! Asks the auto-fixer's model for edits. A busy or absent endpoint costs no attempt: the task itself
//! waits, as a row with a due time.

use super::{Judge, garbled, machine, peer, spent};
use crate::core::run::{Phase, Run, State, Step};
use crate::core::transition::Input;
use meta_domain::autofix::{FileEdit, SourceFile, TryVerdict};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_proto::autofixer as apb;
use meta_proto::autofixer::draft_edit_response::Answer;
use meta_runtime::call;
use std::time::{Duration, Instant};

/// The reason of the fault that means: ask again later.
pub(super) const BUSY: &str = "MODEL_BUSY";
/// How long a model may take, with the one repair of its format.
pub(super) const DRAFT_TIMEOUT: Duration = Duration::from_mins(5);
/// Bytes of a failed step's log that a model gets to see a digest of.
pub(super) const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the log of an earlier draft's verification.
const DRAFT_LOG_BYTES_MAX: usize = 64 * 1024;

/// Name of the artifact with the files that a step's model gets.
pub fn context_of(step: &str) -> String {
    format!("context:{step}")
}

/// Name of the artifact with the edits that a step's model answered.
pub fn edits_of(step: &str) -> String {
    format!("edits:{step}")
}

type Drafted = (Input, Vec<(String, Vec<u8>)>);

impl Judge {
    pub(super) async fn draft(&mut self, run: &Run, step: &Step) -> Result<Drafted, Fault> {
        let name = step.planned.name.clone();
        let out_of_date = || Fault::not_found("DRAFT_NOT_FOUND", "draft for step", &name);
        let State::Healing(healing) = &step.state else { return Err(out_of_date()) };
        let (Some(fixer), Some(signal), Phase::Drafting) =
            (healing.fixer(), &step.signal, healing.phase)
        else {
            return Err(out_of_date());
        };
        let files = self.engine.tables.artifact(run.id, &context_of(&name)).await?;
        let files: Vec<SourceFile> =
            serde_json::from_slice(&files.unwrap_or_default()).unwrap_or_default();
        let types = run.failure_types.clone();
        let case = self.case(run, step, signal.clone(), types).await?;
        let request = apb::DraftEditRequest {
            case: Some(case.into()),
            fixer: Some(fixer.clone().into()),
            log: self.end_of_log(run, last_log(step), LOG_BYTES_MAX).await?,
            files: files.into_iter().map(Into::into).collect(),
            drafts: self.past_drafts(run, step, &fixer.id).await?,
        };
        let began = Instant::now();
        let request = call(&machine(run), DRAFT_TIMEOUT, request);
        let answer = match self.autofixer.draft_edit(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                let fault = peer("autofixer")(status);
                if fault.reason == "PEER_REFUSED" {
                    return Ok(failed(name, fault.message, 0));
                }
                return Err(fault);
            }
        };
        spent("draft", began);
        let tokens = answer.tokens_in.saturating_add(answer.tokens_out);
        match answer.answer {
            Some(Answer::Edits(edits)) => {
                let list: Vec<FileEdit> = edits.edits.into_iter().map(Into::into).collect();
                let body = serde_json::to_vec(&list)
                    .map_err(|e| Fault::new(ErrorKind::Internal, "INTERNAL", e.to_string()))?;
                let artifacts = vec![(edits_of(&name), body)];
                let result = Ok((answer.model, edits.explanation));
                Ok((Input::Drafted { step: name, result, tokens }, artifacts))
            }
            Some(Answer::NoFix(no)) => {
                let detail = format!("the model says that it cannot fix this: {}", no.reason);
                let result = Err((TryVerdict::NoChange, detail));
                Ok((Input::Drafted { step: name, result, tokens }, Vec::new()))
            }
            Some(Answer::TryLater(later)) => {
                let wait = Duration::from_millis(later.retry_after_ms);
                let text = format!("the model's endpoint: {}", later.reason);
                Err(Fault::new(ErrorKind::Unavailable, BUSY, text).retry_after(wait))
            }
            Some(Answer::Failed(failure)) => Ok(failed(name, failure.reason, tokens)),
            None => Err(garbled("autofixer")(InvalidField::new("answer", "is missing"))),
        }
    }

    /// What earlier drafts for this failure came to.
    async fn past_drafts(
        &self,
        run: &Run,
        step: &Step,
        fixer: &str,
    ) -> Result<Vec<apb::PastDraft>, Fault> {
        let mut drafts = Vec::new();
        for tried in step.tries.iter().filter(|t| t.fixer == fixer) {
            let verification =
                step.verifications.iter().rev().find(|v| {
                    v.fixer == fixer && !v.passed && v.patch_sha256 == tried.patch_sha256
                });
            let log = verification.map(|v| v.log.as_str()).unwrap_or_default();
            drafts.push(apb::PastDraft {
                r#try: Some(tried.clone().into()),
                failure_log: self.end_of_log(run, log, DRAFT_LOG_BYTES_MAX).await?,
            });
        }
        Ok(drafts)
    }

    /// The last bytes of a log as text; secrets in it were masked by the runner.
    pub(super) async fn end_of_log(
        &self,
        run: &Run,
        name: &str,
        bytes_max: usize,
    ) -> Result<String, Fault> {
        if name.is_empty() {
            return Ok(String::new());
        }
        let log = self.engine.logs.text((run.tenant, run.id), name).await?;
        let from = log.len().saturating_sub(bytes_max);
        Ok(String::from_utf8_lossy(&log[from..]).into_owned())
    }
}

pub(super) fn last_log(step: &Step) -> &str {
    let log = step.logs.iter().rev().find(|l| !l.verification);
    log.map(|l| l.name.as_str()).unwrap_or_default()
}

fn failed(step: String, reason: String, tokens: u64) -> Drafted {
    let result = Err((TryVerdict::FixerError, reason));
    (Input::Drafted { step, result, tokens }, Vec::new())
}
