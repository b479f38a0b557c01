//! The flag-resolver's side of the wire.

use super::{Answer, Peer, Stream, fault};
use crate::samples;
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_proto::flags;
use meta_proto::flags::flags_service_server::FlagsService;
use meta_proto::status::to_status;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

/// What the flag-resolver's stream of settings says.
#[derive(Clone)]
pub(super) struct Told(pub(super) Option<flags::WatchSnapshotResponse>);

impl Default for Told {
    fn default() -> Self {
        Self(Some(samples::snapshot()))
    }
}

/// The override is at version 7; a reason of `bad` is refused.
fn written(options: Option<&flags::WriteOptions>) -> Result<flags::WriteOutcome, Status> {
    let options = options.cloned().unwrap_or_default();
    if options.if_version.is_some_and(|version| version != 7) {
        let text = "the override has version 7";
        return Err(fault(ErrorKind::Conflict, "OVERRIDE_CHANGED", text));
    }
    if options.reason == "bad" {
        let problem = "\"bad\" is no reason (expected another)";
        let field = InvalidField::new("options.reason", problem);
        return Err(to_status(&Fault::invalid(vec![field])));
    }
    let mut outcome = flags::WriteOutcome {
        version: 6,
        override_version: 8,
        changed: true,
        ..flags::WriteOutcome::default()
    };
    if options.dry_run {
        outcome.affected = vec![samples::affected()];
        outcome.affected_total = 3;
        outcome.affects_others = true;
    } else if options.effective_at.is_some() {
        outcome.scheduled_id = samples::SCHEDULED.into();
    }
    Ok(outcome)
}

#[tonic::async_trait]
impl FlagsService for Peer {
    async fn resolve(&self, _: Request<flags::ResolveRequest>) -> Answer<flags::ResolveResponse> {
        Err(Status::unimplemented("not asked by the gateway"))
    }

    async fn set_overrides(
        &self,
        request: Request<flags::SetOverridesRequest>,
    ) -> Answer<flags::SetOverridesResponse> {
        self.note("SetOverrides", &request);
        let outcome = Some(written(request.get_ref().options.as_ref())?);
        let answer = flags::SetOverridesResponse { outcome, ..Default::default() };
        Ok(Response::new(answer))
    }

    async fn clear_overrides(
        &self,
        request: Request<flags::ClearOverridesRequest>,
    ) -> Answer<flags::ClearOverridesResponse> {
        self.note("ClearOverrides", &request);
        let outcome = Some(written(request.get_ref().options.as_ref())?);
        let answer = flags::ClearOverridesResponse { outcome, ..Default::default() };
        Ok(Response::new(answer))
    }

    async fn cancel_scheduled(
        &self,
        request: Request<flags::CancelScheduledRequest>,
    ) -> Answer<flags::CancelScheduledResponse> {
        self.note("CancelScheduled", &request);
        let id = &request.get_ref().id;
        if id != samples::SCHEDULED {
            return Err(to_status(&Fault::not_found("SCHEDULED_NOT_FOUND", "change", id)));
        }
        Ok(Response::new(flags::CancelScheduledResponse { version: 8 }))
    }

    async fn get_platform(
        &self,
        request: Request<flags::GetPlatformRequest>,
    ) -> Answer<flags::GetPlatformResponse> {
        self.note("GetPlatform", &request);
        Ok(Response::new(samples::platform()))
    }

    async fn set_platform(
        &self,
        request: Request<flags::SetPlatformRequest>,
    ) -> Answer<flags::SetPlatformResponse> {
        self.note("SetPlatform", &request);
        let outcome = Some(written(request.get_ref().options.as_ref())?);
        Ok(Response::new(flags::SetPlatformResponse { outcome }))
    }

    async fn clear_platform(
        &self,
        request: Request<flags::ClearPlatformRequest>,
    ) -> Answer<flags::ClearPlatformResponse> {
        self.note("ClearPlatform", &request);
        let outcome = Some(written(request.get_ref().options.as_ref())?);
        Ok(Response::new(flags::ClearPlatformResponse { outcome }))
    }

    async fn list_platform_changes(
        &self,
        request: Request<flags::ListPlatformChangesRequest>,
    ) -> Answer<flags::ListPlatformChangesResponse> {
        self.note("ListPlatformChanges", &request);
        let changes = vec![samples::change()];
        let next_page_token = String::new();
        Ok(Response::new(flags::ListPlatformChangesResponse { changes, next_page_token }))
    }

    async fn cancel_platform_scheduled(
        &self,
        request: Request<flags::CancelPlatformScheduledRequest>,
    ) -> Answer<flags::CancelPlatformScheduledResponse> {
        self.note("CancelPlatformScheduled", &request);
        Ok(Response::new(flags::CancelPlatformScheduledResponse { version: 8 }))
    }

    async fn read_changes(
        &self,
        request: Request<flags::ReadChangesRequest>,
    ) -> Answer<flags::ReadChangesResponse> {
        self.note("read_changes", &request);
        Ok(Response::new(flags::ReadChangesResponse::default()))
    }

    type WatchSnapshotStream = Stream<flags::WatchSnapshotResponse>;

    async fn watch_snapshot(
        &self,
        request: Request<flags::WatchSnapshotRequest>,
    ) -> Answer<Self::WatchSnapshotStream> {
        drop(request);
        *self.seen().calls.entry("WatchSnapshot").or_default() += 1;
        let told = WatchStream::new(self.settings.subscribe());
        Ok(Response::new(Box::pin(told.filter_map(|Told(said)| said.map(Ok)))))
    }

    async fn validate_overrides(
        &self,
        request: Request<flags::ValidateOverridesRequest>,
    ) -> Answer<flags::ValidateOverridesResponse> {
        self.note("ValidateOverrides", &request);
        let over = request.into_inner().overrides.unwrap_or_default();
        let faults = meta_domain::settings::Overrides::from(over).check().err().unwrap_or_default();
        let problem = |f: &InvalidField| flags::FieldProblem {
            field: f.path.clone(),
            problem: f.problem.clone(),
        };
        let problems = faults.iter().map(problem).collect();
        Ok(Response::new(flags::ValidateOverridesResponse { problems }))
    }

    async fn explain(
        &self,
        request: Request<flags::ExplainRequest>,
    ) -> Answer<flags::ExplainResponse> {
        self.note("Explain", &request);
        Ok(Response::new(samples::explanation()))
    }

    async fn list_changes(
        &self,
        request: Request<flags::ListChangesRequest>,
    ) -> Answer<flags::ListChangesResponse> {
        self.note("ListChanges", &request);
        let changes = vec![samples::change()];
        let next_page_token = "older+page".to_owned();
        Ok(Response::new(flags::ListChangesResponse { changes, next_page_token }))
    }

    type WatchStream = Stream<flags::WatchResponse>;

    async fn watch(&self, _: Request<flags::WatchRequest>) -> Answer<Self::WatchStream> {
        Err(Status::unimplemented("not asked by the gateway"))
    }
}
