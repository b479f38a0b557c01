//! The other side of the wire: services that give fixed answers and remember what they were asked.
//! They stand behind the runtime's real authentication and role layer.

mod answers;
mod flag_resolver;

use meta_domain::fault::{ErrorKind, Fault};
use meta_proto::classifier::classifier_service_server::{
    ClassifierService, ClassifierServiceServer,
};
use meta_proto::flags::flags_service_server::FlagsServiceServer;
use meta_proto::orchestrator::answer_service_server::AnswerServiceServer;
use meta_proto::orchestrator::approval_service_server::{ApprovalService, ApprovalServiceServer};
use meta_proto::orchestrator::plan_service_server::{PlanService, PlanServiceServer};
use meta_proto::orchestrator::run_service_server::{RunService, RunServiceServer};
use meta_proto::orchestrator::session_service_server::{SessionService, SessionServiceServer};
use meta_proto::orchestrator::spec_service_server::{SpecService, SpecServiceServer};
use meta_proto::orchestrator::tenant_service_server::{TenantService, TenantServiceServer};
use meta_proto::status::to_status;
use meta_proto::{classifier, common, flags, orchestrator as pb};
use meta_runtime::{Transport, Wiring};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status};

use crate::samples;
use flag_resolver::Told;

/// What the services were asked, and what the test wants of them.
#[derive(Clone, Default)]
pub struct Peer {
    seen: Arc<Mutex<Seen>>,
    settings: Arc<watch::Sender<Told>>,
    answers: answers::Kept,
}

#[derive(Default)]
struct Seen {
    calls: BTreeMap<&'static str, usize>,
    metadata: BTreeMap<String, String>,
    debug: BTreeMap<&'static str, String>,
    create_run_takes: Duration,
    keys_are_dead: bool,
    /// Keys by the tokens of their sessions.
    sessions: BTreeMap<String, String>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Peer {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T: std::fmt::Debug>(&self, name: &'static str, request: &Request<T>) {
        let mut seen = self.seen();
        *seen.calls.entry(name).or_default() += 1;
        seen.debug.insert(name, format!("{:?}", request.get_ref()));
        seen.metadata = request
            .metadata()
            .clone()
            .into_headers()
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap_or("?").to_owned()))
            .collect();
    }

    /// How often an RPC was called.
    pub fn calls(&self, name: &str) -> usize {
        self.seen().calls.get(name).copied().unwrap_or(0)
    }

    /// The last message of an RPC, as Debug prints it.
    pub fn last(&self, name: &str) -> String {
        self.seen().debug.get(name).cloned().unwrap_or_default()
    }

    /// A metadata value of the last call.
    pub fn metadata(&self, name: &str) -> String {
        self.seen().metadata.get(name).cloned().unwrap_or_default()
    }

    /// Makes CreateRun slow.
    pub fn create_run_takes(&self, time: Duration) {
        self.seen().create_run_takes = time;
    }

    /// From now on no key is known.
    pub fn revoke_all_keys(&self) {
        self.seen().keys_are_dead = true;
    }

    /// The flag-resolver's stream says this from now on; `None` is silence.
    pub fn tells(&self, snapshot: Option<flags::WatchSnapshotResponse>) {
        self.settings.send_replace(Told(snapshot));
    }

    /// The orchestrator's services as a channel.
    pub fn orchestrator(&self) -> Transport {
        Wiring::default()
            .serve(SpecServiceServer::new(self.clone()))
            .serve(PlanServiceServer::new(self.clone()))
            .serve(RunServiceServer::new(self.clone()))
            .serve(ApprovalServiceServer::new(self.clone()))
            .serve(TenantServiceServer::new(self.clone()))
            .serve(AnswerServiceServer::new(self.answers.clone()))
            .serve(SessionServiceServer::new(self.clone()))
            .in_process("s3cret")
    }

    /// The classifier as a channel.
    pub fn classifier(&self) -> Transport {
        Wiring::default()
            .serve(
                ClassifierServiceServer::new(self.clone())
                    .max_decoding_message_size(meta_domain::limits::MESSAGE_BYTES_MAX),
            )
            .in_process("s3cret")
    }

    /// The flag-resolver as a channel.
    pub fn flags(&self) -> Transport {
        Wiring::default().serve(FlagsServiceServer::new(self.clone())).in_process("s3cret")
    }
}

fn fault(kind: ErrorKind, reason: &'static str, text: &str) -> Status {
    to_status(&Fault::new(kind, reason, text))
}

async fn run_of(id: &str) -> Result<pb::Run, Status> {
    match id {
        samples::RUN => Ok(samples::run()),
        samples::RUN_LIMITED => {
            let fault = Fault::new(ErrorKind::ResourceExhausted, "RUNS_PER_HOUR", "too many runs");
            Err(to_status(&fault.retry_after(Duration::from_millis(6_500))))
        }
        samples::RUN_BROKEN => Err(Status::internal("row 7 of table runs: password=hunter2")),
        samples::RUN_SLOW => std::future::pending().await,
        samples::RUN_PANIC => panic!("a bug in a peer"),
        _ => Err(to_status(&Fault::not_found("RUN_NOT_FOUND", "run", id))),
    }
}

impl Peer {
    /// `mb_<role>` belongs to the one tenant, `mb_other` to another.
    fn owner(&self, key: &str) -> Result<pb::Caller, Status> {
        let unknown = || fault(ErrorKind::Unauthenticated, "UNKNOWN_KEY", "unknown key");
        if self.seen().keys_are_dead {
            return Err(unknown());
        }
        let (tenant, role) = match key {
            "mb_viewer" => (samples::TENANT, pb::Role::Viewer),
            "mb_member" => (samples::TENANT, pb::Role::Member),
            "mb_admin" => (samples::TENANT, pb::Role::Admin),
            "mb_owner" => (samples::TENANT, pb::Role::Owner),
            "mb_platform" => (samples::TENANT, pb::Role::PlatformAdmin),
            "mb_other" => (samples::OTHER_TENANT, pb::Role::Owner),
            _ => return Err(unknown()),
        };
        let caller = pb::Caller {
            tenant_id: tenant.into(),
            role: role.into(),
            actor: format!("key:{key}"),
            ..Default::default()
        };
        Ok(caller)
    }
}

#[tonic::async_trait]
impl SessionService for Peer {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Answer<pb::CreateSessionResponse> {
        let key = request.into_inner().api_key;
        let session = Some(session(self.owner(&key)?));
        let token = meta_runtime::clock::secret();
        self.seen().sessions.insert(token.clone(), key);
        Ok(Response::new(pb::CreateSessionResponse { session, token }))
    }

    async fn get_session(
        &self,
        request: Request<pb::GetSessionRequest>,
    ) -> Answer<pb::GetSessionResponse> {
        let key = self.seen().sessions.get(&request.get_ref().token).cloned();
        let over = || fault(ErrorKind::Unauthenticated, "UNKNOWN_SESSION", "over");
        let session = Some(session(self.owner(&key.ok_or_else(over)?)?));
        Ok(Response::new(pb::GetSessionResponse { session }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Answer<pb::EndSessionResponse> {
        self.seen().sessions.remove(&request.get_ref().token);
        Ok(Response::new(pb::EndSessionResponse {}))
    }
}

fn session(caller: pb::Caller) -> pb::Session {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let (created_at, ends_at) = (at(1_700_000_000), at(1_700_600_000));
    pb::Session { caller: Some(caller), created_at, idle_until: ends_at, ends_at }
}

#[tonic::async_trait]
impl TenantService for Peer {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Answer<pb::CreateTenantResponse> {
        self.note("CreateTenant", &request);
        let name = request.into_inner().name;
        let tenant = pb::Tenant { id: samples::OTHER_TENANT.into(), name, created_at: None };
        Ok(Response::new(pb::CreateTenantResponse { tenant: Some(tenant) }))
    }

    async fn create_user(
        &self,
        request: Request<pb::CreateUserRequest>,
    ) -> Answer<pb::CreateUserResponse> {
        self.note("CreateUser", &request);
        let asked = request.into_inner();
        let user = pb::User {
            id: meta_runtime::new_id().to_string(),
            tenant_id: asked.tenant_id,
            email: asked.email,
            role: asked.role,
            created_at: None,
        };
        let api_key = format!("mb_{}", user.id);
        Ok(Response::new(pb::CreateUserResponse { user: Some(user), api_key }))
    }

    /// Three tenants, two of them on the first page.
    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Answer<pb::ListTenantsResponse> {
        self.note("ListTenants", &request);
        let tenant = |id: &str| pb::Tenant { id: id.into(), name: "Acme".into(), created_at: None };
        let (tenants, next_page_token) = if request.get_ref().page_token.is_empty() {
            (vec![tenant(samples::TENANT), tenant(samples::OTHER_TENANT)], "more".to_owned())
        } else {
            (vec![tenant(samples::THIRD_TENANT)], String::new())
        };
        Ok(Response::new(pb::ListTenantsResponse { tenants, next_page_token }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Answer<pb::AuthenticateResponse> {
        self.note("Authenticate", &request);
        let caller = self.owner(&request.get_ref().api_key)?;
        Ok(Response::new(pb::AuthenticateResponse { caller: Some(caller) }))
    }

    async fn get_caller(&self, _: Request<pb::GetCallerRequest>) -> Answer<pb::GetCallerResponse> {
        Err(Status::unimplemented("not asked by the gateway"))
    }
}

#[tonic::async_trait]
impl SpecService for Peer {
    async fn create_spec(
        &self,
        request: Request<pb::CreateSpecRequest>,
    ) -> Answer<pb::CreateSpecResponse> {
        self.note("CreateSpec", &request);
        let asked = request.into_inner();
        let spec = pb::Spec {
            id: samples::SPEC.into(),
            title: asked.title,
            description: asked.description,
            mode: asked.mode,
            source: asked.source,
            steps: asked.steps,
            guided_input_json: asked.guided_input_json,
            attachments_json: asked.attachments_json,
            ..pb::Spec::default()
        };
        Ok(Response::new(pb::CreateSpecResponse { spec: Some(spec) }))
    }

    async fn get_spec(&self, request: Request<pb::GetSpecRequest>) -> Answer<pb::GetSpecResponse> {
        self.note("GetSpec", &request);
        let id = request.into_inner().spec_id;
        if id != samples::SPEC {
            return Err(to_status(&Fault::not_found("SPEC_NOT_FOUND", "spec", id)));
        }
        Ok(Response::new(pb::GetSpecResponse {
            spec: Some(samples::spec()),
            latest_plan: Some(samples::plan()),
        }))
    }

    async fn list_specs(
        &self,
        request: Request<pb::ListSpecsRequest>,
    ) -> Answer<pb::ListSpecsResponse> {
        self.note("ListSpecs", &request);
        Ok(Response::new(pb::ListSpecsResponse {
            specs: vec![samples::spec()],
            next_page_token: "next+page".into(),
        }))
    }
}

#[tonic::async_trait]
impl PlanService for Peer {
    async fn create_plan(
        &self,
        request: Request<pb::CreatePlanRequest>,
    ) -> Answer<pb::CreatePlanResponse> {
        self.note("CreatePlan", &request);
        Ok(Response::new(pb::CreatePlanResponse { plan: Some(samples::plan()) }))
    }

    async fn get_plan(&self, request: Request<pb::GetPlanRequest>) -> Answer<pb::GetPlanResponse> {
        self.note("GetPlan", &request);
        Ok(Response::new(pb::GetPlanResponse { plan: Some(samples::plan()) }))
    }
}

type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl RunService for Peer {
    async fn create_run(
        &self,
        request: Request<pb::CreateRunRequest>,
    ) -> Answer<pb::CreateRunResponse> {
        self.note("CreateRun", &request);
        let time = self.seen().create_run_takes;
        tokio::time::sleep(time).await;
        let mut run = samples::run();
        run.status = pb::RunStatus::Pending.into();
        Ok(Response::new(pb::CreateRunResponse { run: Some(run) }))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Answer<pb::GetRunResponse> {
        self.note("GetRun", &request);
        let run = run_of(&request.into_inner().run_id).await?;
        Ok(Response::new(pb::GetRunResponse { run: Some(run) }))
    }

    async fn list_runs(
        &self,
        request: Request<pb::ListRunsRequest>,
    ) -> Answer<pb::ListRunsResponse> {
        self.note("ListRuns", &request);
        Ok(Response::new(pb::ListRunsResponse {
            runs: vec![samples::run(), samples::run()],
            next_page_token: "cursor".into(),
            total: 7,
        }))
    }

    async fn cancel_run(
        &self,
        request: Request<pb::CancelRunRequest>,
    ) -> Answer<pb::CancelRunResponse> {
        self.note("CancelRun", &request);
        let mut run = run_of(&request.into_inner().run_id).await?;
        run.status = pb::RunStatus::Canceled.into();
        Ok(Response::new(pb::CancelRunResponse { run: Some(run) }))
    }

    async fn retry_run(
        &self,
        request: Request<pb::RetryRunRequest>,
    ) -> Answer<pb::RetryRunResponse> {
        self.note("RetryRun", &request);
        let text = "the run is paused (expected failed or canceled)";
        Err(fault(ErrorKind::FailedPrecondition, "RUN_NOT_RETRYABLE", text))
    }

    async fn rollback_run(
        &self,
        request: Request<pb::RollbackRunRequest>,
    ) -> Answer<pb::RollbackRunResponse> {
        self.note("RollbackRun", &request);
        let run = run_of(&request.into_inner().run_id).await?;
        Ok(Response::new(pb::RollbackRunResponse { run: Some(run) }))
    }

    type StreamEventsStream = Stream<pb::StreamEventsResponse>;

    async fn stream_events(
        &self,
        request: Request<pb::StreamEventsRequest>,
    ) -> Answer<Self::StreamEventsStream> {
        self.note("StreamEvents", &request);
        let asked = request.into_inner();
        if asked.run_id == samples::RUN_TORN {
            let torn = vec![Ok(samples::event(1)), Err(Status::unavailable("gone"))];
            return Ok(Response::new(Box::pin(tokio_stream::iter(torn))));
        }
        if asked.run_id == samples::RUN_QUIET {
            let quiet = tokio_stream::iter([Ok(samples::event(1))]).chain(tokio_stream::pending());
            return Ok(Response::new(Box::pin(quiet)));
        }
        run_of(&asked.run_id).await?;
        let events: Vec<_> = (asked.after_seq + 1..=3).map(|n| Ok(samples::event(n))).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    type StreamLogsStream = Stream<pb::StreamLogsResponse>;

    async fn stream_logs(
        &self,
        request: Request<pb::StreamLogsRequest>,
    ) -> Answer<Self::StreamLogsStream> {
        self.note("StreamLogs", &request);
        run_of(&request.into_inner().run_id).await?;
        let part = |step: &str, attempt, text: &str| {
            Ok(pb::StreamLogsResponse {
                step: step.into(),
                attempt,
                text: text.as_bytes().to_vec(),
                ..pb::StreamLogsResponse::default()
            })
        };
        let parts = vec![
            part("lint", 1, "<b>E302"),
            part("lint", 1, " expected</b>\n"),
            part("lint", 2, "ok"),
            part("test", 1, "1 passed\n"),
        ];
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }

    async fn get_patch(
        &self,
        request: Request<pb::GetPatchRequest>,
    ) -> Answer<pb::GetPatchResponse> {
        self.note("GetPatch", &request);
        run_of(&request.into_inner().run_id).await?;
        Ok(Response::new(pb::GetPatchResponse { patch: samples::PATCH.into() }))
    }

    async fn get_workspace(
        &self,
        request: Request<pb::GetWorkspaceRequest>,
    ) -> Answer<pb::GetWorkspaceResponse> {
        self.note("GetWorkspace", &request);
        run_of(&request.into_inner().run_id).await?;
        let tar_gz = b"packed".to_vec();
        Ok(Response::new(pb::GetWorkspaceResponse { tar_gz, commit: "c0ffee".into() }))
    }

    async fn list_flaky(&self, _: Request<pb::ListFlakyRequest>) -> Answer<pb::ListFlakyResponse> {
        Err(Status::unimplemented("not asked by the gateway"))
    }
}

#[tonic::async_trait]
impl ApprovalService for Peer {
    async fn list_gates(
        &self,
        request: Request<pb::ListGatesRequest>,
    ) -> Answer<pb::ListGatesResponse> {
        self.note("ListGates", &request);
        Ok(Response::new(pb::ListGatesResponse { gates: vec![samples::gate()] }))
    }

    async fn decide_gate(
        &self,
        request: Request<pb::DecideGateRequest>,
    ) -> Answer<pb::DecideGateResponse> {
        self.note("DecideGate", &request);
        let asked = request.into_inner();
        if asked.gate_id == samples::GATE_DECIDED {
            let text = "the gate was approved before";
            return Err(fault(ErrorKind::Conflict, "GATE_ALREADY_DECIDED", text));
        }
        let mut gate = samples::gate();
        gate.status = if asked.approve {
            common::GateStatus::Approved.into()
        } else {
            common::GateStatus::Rejected.into()
        };
        gate.notes = asked.notes;
        Ok(Response::new(pb::DecideGateResponse { gate: Some(gate) }))
    }
}

#[tonic::async_trait]
impl ClassifierService for Peer {
    async fn classify(
        &self,
        request: Request<classifier::ClassifyRequest>,
    ) -> Answer<classifier::ClassifyResponse> {
        self.note("Classify", &request);
        let asked = request.into_inner();
        let exit = asked.context.and_then(|c| c.exit).and_then(|e| e.code);
        let signal = (exit != Some(0)).then(samples::signal);
        Ok(Response::new(classifier::ClassifyResponse { signal }))
    }

    async fn classify_stream(
        &self,
        _: Request<tonic::Streaming<classifier::ClassifyStreamRequest>>,
    ) -> Answer<classifier::ClassifyStreamResponse> {
        Err(Status::unimplemented("not asked by the gateway"))
    }

    async fn list_rules(
        &self,
        _: Request<classifier::ListRulesRequest>,
    ) -> Answer<classifier::ListRulesResponse> {
        Err(Status::unimplemented("not asked by the gateway"))
    }
}
