//! What was answered to requests that named a key.

use super::{invalid, store};
use crate::shell::Engine;
use crate::store::{KeptAnswer, KeyState, Slot};
use meta_domain::fault::InvalidField;
use meta_proto::convert::parse;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::answer_service_server::AnswerService;
use meta_runtime::principal;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Bytes of an answer that is kept.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The longest a key is held for a holder that says nothing, in milliseconds.
const LEASE_MS_MAX: u64 = 3_600_000;
/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// The shell.
#[derive(Clone)]
pub struct Answers {
    /// Where they are kept.
    pub engine: Engine,
}

fn hash<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a [u8], Status> {
    if bytes.len() == HASH_BYTES {
        return Ok(bytes);
    }
    let problem = format!("{} bytes (expected a SHA-256, {HASH_BYTES} bytes)", bytes.len());
    Err(invalid(InvalidField::new(name, problem)))
}

#[tonic::async_trait]
impl AnswerService for Answers {
    async fn begin_answer(
        &self,
        request: Request<pb::BeginAnswerRequest>,
    ) -> Result<Response<pb::BeginAnswerResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let slot = Slot { tenant, hash: hash("slot", &body.slot)? };
        let lease_ms = i64::try_from(body.lease_ms.min(LEASE_MS_MAX)).unwrap_or_default();
        let asked = hash("request", &body.request)?;
        let when = (self.engine.clock.now(), lease_ms);
        let found = self.engine.tables.begin_answer(slot, asked, when).await.map_err(store)?;
        let mut answer = pb::BeginAnswerResponse::default();
        let state = match found {
            KeyState::Taken(holder) => {
                answer.holder = holder.to_string();
                pb::KeyState::Taken
            }
            KeyState::Working => pb::KeyState::Working,
            KeyState::OtherRequest => pb::KeyState::OtherRequest,
            KeyState::Answered(kept) => {
                answer.answer = Some(pb::KeptAnswer {
                    status: kept.status,
                    location: kept.location,
                    too_large: kept.body.is_none(),
                    body: kept.body.unwrap_or_default(),
                    sealed: kept.sealed,
                });
                pb::KeyState::Answered
            }
        };
        answer.set_state(state);
        Ok(Response::new(answer))
    }

    async fn finish_answer(
        &self,
        request: Request<pb::FinishAnswerRequest>,
    ) -> Result<Response<pb::FinishAnswerResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let slot = Slot { tenant, hash: hash("slot", &body.slot)? };
        let holder: Uuid = parse("holder", &body.holder).map_err(invalid)?;
        let given = body.answer.unwrap_or_default();
        let fits = !given.too_large && given.body.len() <= ANSWER_BYTES_MAX;
        let kept = KeptAnswer {
            status: given.status,
            location: given.location,
            body: fits.then_some(given.body),
            sealed: given.sealed,
        };
        if !self.engine.tables.finish_answer(slot, holder, &kept).await.map_err(store)? {
            tracing::warn!(%tenant, "an answer came after its key was taken by a repeat");
        }
        Ok(Response::new(pb::FinishAnswerResponse {}))
    }

    async fn release_answer(
        &self,
        request: Request<pb::ReleaseAnswerRequest>,
    ) -> Result<Response<pb::ReleaseAnswerResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let slot = Slot { tenant, hash: hash("slot", &body.slot)? };
        let holder: Uuid = parse("holder", &body.holder).map_err(invalid)?;
        self.engine.tables.release_answer(slot, holder).await.map_err(store)?;
        Ok(Response::new(pb::ReleaseAnswerResponse {}))
    }
}
