//! The calls that commands make, with errors that people understand.

use crate::error::{Error, Result};
use meta_domain::id::TenantId;
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_domain::role::{Principal, Role};
use meta_domain::status::RunStatus;
use meta_proto::common as pbc;
use meta_proto::convert::{Number, word};
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::approval_service_client::ApprovalServiceClient;
use meta_proto::orchestrator::plan_service_client::PlanServiceClient;
use meta_proto::orchestrator::run_control_service_client::RunControlServiceClient;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_proto::orchestrator::spec_service_client::SpecServiceClient;
use meta_runtime::Transport;
use std::path::Path;
use std::time::Duration;
use tonic::{Request, Streaming};

/// Deadline of a plain call.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Deadline of a plan, which may have to read a large source.
const PLAN_TIMEOUT: Duration = Duration::from_mins(5);
/// Runs looked at when one is searched by a part of its id or by its path.
pub const RUNS_SEARCHED_MAX: u32 = 100;

/// A client of an orchestrator and its neighbours, for one caller.
#[derive(Clone)]
pub struct Client {
    orchestrator: Transport,
    flags: Transport,
    caller: Principal,
}

macro_rules! clients {
    ($($name:ident: $client:ident over $peer:ident),+ $(,)?) => {$(
        pub(crate) fn $name(&self) -> $client<Transport> {
            $client::new(self.$peer.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        }
    )+};
}

fn absent(what: &str) -> Error {
    Error::failed(format!("the answer has no {what}"), "this is a bug of the service")
}

impl Client {
    /// A client over these channels.
    pub fn new(orchestrator: Transport, flags: Transport, caller: Principal) -> Self {
        Self { orchestrator, flags, caller }
    }

    /// The same for a caller in another tenant, which only an administrator of the platform is.
    #[must_use]
    pub fn in_tenant(&self, tenant: Option<TenantId>) -> Self {
        match tenant {
            Some(tenant) if tenant != self.caller.tenant => {
                let mut client = self.as_platform_admin();
                client.caller.tenant = tenant;
                client
            }
            Some(_) | None => self.clone(),
        }
    }

    /// The same for the caller as administrator of the platform, which who sits at this machine is.
    #[must_use]
    pub fn as_platform_admin(&self) -> Self {
        let mut client = self.clone();
        client.caller.role = Role::PlatformAdmin;
        client
    }

    /// The caller's tenant.
    pub fn tenant(&self) -> TenantId {
        self.caller.tenant
    }

    clients! {
        specs: SpecServiceClient over orchestrator,
        plans: PlanServiceClient over orchestrator,
        runs: RunServiceClient over orchestrator,
        run_control: RunControlServiceClient over orchestrator,
        approvals: ApprovalServiceClient over orchestrator,
        flags: FlagsServiceClient over flags,
    }

    /// A request in the caller's name.
    pub(crate) fn call<T>(&self, message: T) -> Request<T> {
        meta_runtime::call(&self.caller, CALL_TIMEOUT, message)
    }

    /// A spec for a folder of this machine; its id.
    pub async fn create_spec(&self, path: &Path) -> Result<String> {
        let title = path.file_name().map_or_else(|| "/".into(), |n| n.to_string_lossy());
        let title = title.chars().take(meta_domain::limits::TITLE_CHARS_MAX).collect();
        let text = path.to_str().ok_or_else(|| {
            Error::usage(format!("{} cannot be built", path.display()), "its name is not UTF-8")
        })?;
        let source = pbc::PathSource { path: text.to_owned() };
        let request = pb::CreateSpecRequest {
            title,
            mode: pb::SpecMode::Freeform.into(),
            source: Some(pbc::Source { kind: Some(pbc::source::Kind::Path(source)) }),
            ..Default::default()
        };
        let answer = self.specs().create_spec(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("describe the build", &s))?;
        Ok(answer.into_inner().spec.ok_or_else(|| absent("spec"))?.id)
    }

    /// A plan for a spec.
    pub async fn create_plan(&self, spec_id: &str) -> Result<pb::Plan> {
        let message = pb::CreatePlanRequest { spec_id: spec_id.to_owned() };
        let request = meta_runtime::call(&self.caller, PLAN_TIMEOUT, message);
        let answer = self.plans().create_plan(request).await.map_err(|status| {
            let mut error = Error::status("make a plan", &status);
            if status.code() == tonic::Code::FailedPrecondition {
                error.exit = crate::error::Exit::Usage;
            }
            error
        })?;
        answer.into_inner().plan.ok_or_else(|| absent("plan"))
    }

    /// Reads a plan.
    pub async fn plan(&self, plan_id: &str) -> Result<pb::Plan> {
        let request = pb::GetPlanRequest { plan_id: plan_id.to_owned() };
        let answer = self.plans().get_plan(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("read the plan", &s))?;
        answer.into_inner().plan.ok_or_else(|| absent("plan"))
    }

    /// Starts a run of a plan; steps see the workspace at `mount`.
    pub async fn create_run(&self, plan: &pb::Plan, mount: &Path) -> Result<pb::Run> {
        let request = pb::CreateRunRequest {
            spec_id: plan.spec_id.clone(),
            plan_id: plan.id.clone(),
            mount: mount.to_string_lossy().into_owned(),
            ..Default::default()
        };
        let answer = self.runs().create_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("start the run", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Reads a run.
    pub async fn run(&self, run_id: &str) -> Result<pb::Run> {
        let request = pb::GetRunRequest { run_id: run_id.to_owned() };
        let answer = self.runs().get_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("read the run", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// The latest runs.
    pub async fn list_runs(&self, limit: u32, status: Option<RunStatus>) -> Result<Vec<pb::Run>> {
        let status = status.map_or(0, Number::number);
        let request = pb::ListRunsRequest { page_size: limit, status, ..Default::default() };
        let answer = self.runs().list_runs(self.call(request)).await;
        Ok(answer.map_err(|s| Error::status("list the runs", &s))?.into_inner().runs)
    }

    /// The folder that a run builds, when its source is one.
    pub async fn folder(&self, spec_id: &str) -> Result<Option<String>> {
        let request = pb::GetSpecRequest { spec_id: spec_id.to_owned() };
        let answer = self.specs().get_spec(self.call(request)).await;
        let spec = answer.map_err(|s| Error::status("read the spec", &s))?.into_inner().spec;
        Ok(match spec.and_then(|s| s.source).and_then(|s| s.kind) {
            Some(pbc::source::Kind::Path(source)) => Some(source.path),
            Some(pbc::source::Kind::Git(_) | pbc::source::Kind::Inline(_)) | None => None,
        })
    }

    /// The gates of that status; pending ones when none is named.
    pub async fn pending_gates(&self) -> Result<Vec<pb::Gate>> {
        let answer = self.approvals().list_gates(self.call(pb::ListGatesRequest::default())).await;
        Ok(answer.map_err(|s| Error::status("list the gates", &s))?.into_inner().gates)
    }

    /// Decides a gate, for the patch and the plan version that were seen.
    pub async fn decide(&self, gate: &pb::Gate, approve: bool, notes: &str) -> Result<pb::Gate> {
        let request = pb::DecideGateRequest {
            gate_id: gate.id.clone(),
            approve,
            notes: notes.to_owned(),
            patch_sha256: gate.patch_sha256.clone(),
            plan_version: gate.plan_version,
            ..Default::default()
        };
        let what = if approve { "approve" } else { "reject" };
        let answer = self.approvals().decide_gate(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status(what, &s))?;
        answer.into_inner().gate.ok_or_else(|| absent("gate"))
    }

    /// The flaky steps, last seen first.
    pub async fn flaky(&self) -> Result<Vec<pb::FlakyStep>> {
        let answer = self.runs().list_flaky(self.call(pb::ListFlakyRequest::default())).await;
        Ok(answer.map_err(|s| Error::status("list the flaky steps", &s))?.into_inner().steps)
    }

    /// Cancels a run.
    pub async fn cancel(&self, run_id: &str) -> Result<pb::Run> {
        let request = pb::CancelRunRequest { run_id: run_id.to_owned() };
        let answer = self.runs().cancel_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("cancel the run", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Sends a failed or canceled run on from its failed step.
    pub async fn retry(&self, run_id: &str) -> Result<pb::Run> {
        let request = pb::RetryRunRequest { run_id: run_id.to_owned() };
        let answer = self.runs().retry_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("retry the run", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Takes the last commit of the loop back.
    pub async fn rollback(&self, run_id: &str) -> Result<pb::Run> {
        let request = pb::RollbackRunRequest { run_id: run_id.to_owned() };
        let answer = self.runs().rollback_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("roll the run back", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Lets nothing new of a run start.
    pub async fn pause(&self, run_id: &str, reason: &str) -> Result<pb::Run> {
        let request = pb::PauseRunRequest { run_id: run_id.to_owned(), reason: reason.to_owned() };
        let answer = self.run_control().pause_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("pause the run", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Goes on with a paused run.
    pub async fn resume(&self, run_id: &str) -> Result<pb::Run> {
        let request = pb::ResumeRunRequest { run_id: run_id.to_owned() };
        let answer = self.run_control().resume_run(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("resume the run", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Says what a step counts as.
    pub async fn mark(&self, request: pb::MarkStepRequest) -> Result<pb::Run> {
        let answer = self.run_control().mark_step(self.call(request)).await;
        let answer = answer.map_err(|s| Error::status("mark the step", &s))?;
        answer.into_inner().run.ok_or_else(|| absent("run"))
    }

    /// Compares a run's event log with what is stored.
    pub async fn verify(&self, run_id: &str) -> Result<pb::VerifyRunResponse> {
        let request = pb::VerifyRunRequest { run_id: run_id.to_owned() };
        let answer = self.run_control().verify_run(self.call(request)).await;
        Ok(answer.map_err(|s| Error::status("verify the run", &s))?.into_inner())
    }

    /// The combined diff of a run.
    pub async fn patch(&self, run_id: &str) -> Result<Vec<u8>> {
        let request = pb::GetPatchRequest { run_id: run_id.to_owned() };
        let answer = self.runs().get_patch(self.call(request)).await;
        Ok(answer.map_err(|s| Error::status("read the diff", &s))?.into_inner().patch)
    }

    /// The run's event log; follows it live when asked.
    pub async fn events(
        &self,
        run_id: &str,
        after_seq: u64,
        follow: bool,
    ) -> std::result::Result<Streaming<pb::StreamEventsResponse>, tonic::Status> {
        let request = pb::StreamEventsRequest { run_id: run_id.to_owned(), after_seq, follow };
        Ok(self.runs().stream_events(self.call(request)).await?.into_inner())
    }

    /// The logs of a run's steps; follows them live when asked.
    pub async fn logs(
        &self,
        run_id: &str,
        step: &str,
        follow: bool,
    ) -> Result<Streaming<pb::StreamLogsResponse>> {
        let request =
            pb::StreamLogsRequest { run_id: run_id.to_owned(), step: step.to_owned(), follow };
        let answer = self.runs().stream_logs(self.call(request)).await;
        Ok(answer.map_err(|s| Error::status("read the logs", &s))?.into_inner())
    }
}

/// The status of a run.
pub fn status_of(run: &pb::Run) -> Result<RunStatus> {
    word("run.status", run.status).map_err(|e| Error::failed("the answer is not understood", e))
}
