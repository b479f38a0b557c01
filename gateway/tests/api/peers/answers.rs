//! The orchestrator's memory of answers, for as long as the test.

use super::Answer;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::answer_service_server::AnswerService;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tonic::{Request, Response};

type Slots = HashMap<Vec<u8>, (Vec<u8>, Option<pb::KeptAnswer>)>;

#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Slots>>);

#[tonic::async_trait]
impl AnswerService for Kept {
    async fn begin_answer(
        &self,
        request: Request<pb::BeginAnswerRequest>,
    ) -> Answer<pb::BeginAnswerResponse> {
        let asked = request.into_inner();
        let mut slots = self.0.lock().expect("no test panics here");
        let mut answer = pb::BeginAnswerResponse::default();
        let state = match slots.get(&asked.slot) {
            None => {
                answer.holder = meta_runtime::new_id().to_string();
                slots.insert(asked.slot, (asked.request, None));
                pb::KeyState::Taken
            }
            Some((first, _)) if *first != asked.request => pb::KeyState::OtherRequest,
            Some((_, None)) => pb::KeyState::Working,
            Some((_, Some(kept))) => {
                answer.answer = Some(kept.clone());
                pb::KeyState::Answered
            }
        };
        answer.set_state(state);
        Ok(Response::new(answer))
    }

    async fn finish_answer(
        &self,
        request: Request<pb::FinishAnswerRequest>,
    ) -> Answer<pb::FinishAnswerResponse> {
        let asked = request.into_inner();
        if let Some(slot) = self.0.lock().expect("no test panics here").get_mut(&asked.slot) {
            slot.1 = asked.answer;
        }
        Ok(Response::new(pb::FinishAnswerResponse {}))
    }

    async fn release_answer(
        &self,
        request: Request<pb::ReleaseAnswerRequest>,
    ) -> Answer<pb::ReleaseAnswerResponse> {
        self.0.lock().expect("no test panics here").remove(&request.into_inner().slot);
        Ok(Response::new(pb::ReleaseAnswerResponse {}))
    }
}
