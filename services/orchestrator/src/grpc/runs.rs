//! Runs and approvals.

use super::asking::{Asking, asking};
use super::quota::count;
use super::{check_text, encode, inspect, invalid, page_size, refuse, store, stream};
use crate::config::Limits;
use crate::core::quota::Action;
use crate::core::run::{ExpiryAction, Gate, GatePolicy, Run, Step};
use crate::core::transition::Input;
use crate::record::Denials;
use crate::settings::RunSettings;
use crate::shell::Engine;
use crate::store::{ListRuns, PlanRow};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::gate::GateStatus;
use meta_domain::id::{GateId, PlanId, RunId, SpecId, TenantId};
use meta_domain::role::Principal;
use meta_domain::settings::Overrides;
use meta_domain::source::Source;
use meta_domain::status::RunStatus;
use meta_proto::convert::{instant, parse, parse_opt, word_opt};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::approval_service_server::ApprovalService;
use meta_proto::orchestrator::run_service_server::RunService;
use meta_runtime::auth::Denial;
use meta_runtime::{identity, new_id, now, principal};
use meta_telemetry::trace;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Plan versions a run may go through when the caller names no number.
const MAX_ITERATIONS_DEFAULT: u32 = 4;
/// The most a caller may ask for.
const MAX_ITERATIONS_MAX: u32 = 20;
/// Characters of a decision's notes.
const NOTES_CHARS_MAX: usize = 2_000;

/// What a refused decision is called in the audit.
const DECIDE_GATE: &str = "metabuilder.orchestrator.v1.ApprovalService/DecideGate";

/// The shell of runs and approvals.
#[derive(Clone)]
pub struct Runs {
    /// Where they are kept.
    pub engine: Engine,
    /// The flag-resolver.
    pub settings: RunSettings,
    /// How gates are decided where a run names nothing else.
    pub gates: GatePolicy,
    /// How often each tenant may start and decide.
    pub limits: Limits,
    /// What puts refused decisions on record.
    pub denials: Denials,
}

impl Runs {
    async fn make(&self, caller: &Principal, body: pb::CreateRunRequest) -> Result<Run, Status> {
        let spec_id: SpecId = parse("spec_id", &body.spec_id).map_err(invalid)?;
        let tables = &self.engine.tables;
        let spec = tables.spec(caller.tenant, spec_id).await.map_err(store)?;
        let spec =
            spec.ok_or_else(|| refuse(Fault::not_found("SPEC_NOT_FOUND", "spec", spec_id)))?;
        let plan = self.plan(caller.tenant, spec_id, &body.plan_id).await?;
        let max_iterations = match body.max_iterations {
            0 => MAX_ITERATIONS_DEFAULT,
            n if n <= MAX_ITERATIONS_MAX => n,
            n => {
                let problem = format!("{n} is out of range (expected 1 to {MAX_ITERATIONS_MAX})");
                return Err(invalid(InvalidField::new("max_iterations", problem)));
            }
        };
        let source = spec.source.unwrap_or(Source::Inline { files: BTreeMap::new() });
        Ok(Run {
            id: RunId(new_id()),
            tenant: caller.tenant,
            spec: spec_id,
            plan: plan.id,
            plan_version: plan.version,
            steps: plan.graph.steps.iter().cloned().map(|s| Arc::new(Step::new(s))).collect(),
            graph: Arc::new(plan.graph),
            mount: body.mount,
            cache_key: cache_key(caller.tenant, spec_id, &source),
            source,
            max_iterations,
            created_by: caller.actor.clone(),
            created_at: now(),
            status: RunStatus::Pending,
            reason: String::new(),
            started_at: None,
            finished_at: None,
            base: String::new(),
            head: String::new(),
            attempts: Vec::new(),
            gates: Vec::new(),
            deltas: Vec::new(),
            budget_from: 0,
            failure_types: Vec::new(),
            rolling_back: false,
            gate_policy: gate_policy(&self.gates, body.gates)?,
            bot_commits: 0,
            held_by: String::new(),
            timeout_ms: timeout_ms(body.timeout_seconds)?,
            priority: priority(body.priority)?,
            trace: trace::current().map(|of| of.to_string()).unwrap_or_default(),
            retried: 0,
            seq: 0,
        })
    }

    async fn plan(&self, tenant: TenantId, spec: SpecId, plan_id: &str) -> Result<PlanRow, Status> {
        let tables = &self.engine.tables;
        match parse_opt::<PlanId>("plan_id", plan_id).map_err(invalid)? {
            Some(id) => {
                let plan = tables.plan(tenant, id).await.map_err(store)?;
                plan.filter(|p| p.spec == spec)
                    .ok_or_else(|| refuse(Fault::not_found("PLAN_NOT_FOUND", "plan", id)))
            }
            None => tables.latest_plan(tenant, spec).await.map_err(store)?.ok_or_else(|| {
                let text = format!("spec {spec} has no plan yet; make one first");
                refuse(Fault::new(ErrorKind::FailedPrecondition, "NO_PLAN", text))
            }),
        }
    }

    async fn change(
        &self,
        asking: Asking,
        run_id: &str,
        input: impl FnOnce(String) -> Input,
    ) -> Result<pb::Run, Status> {
        let id: RunId = parse("run_id", run_id).map_err(invalid)?;
        self.engine.load_of(asking.tenant, id).await.map_err(refuse)?;
        let input = input(asking.actor);
        let run = self.engine.advance_as(id, input, asking.by).await.map_err(refuse)?;
        Ok(encode::run(&run))
    }

    /// Refuses to go on with a run whose workspace may be gone.
    async fn require_workspace(&self, asking: &Asking, run_id: &str) -> Result<(), Status> {
        let id: RunId = parse("run_id", run_id).map_err(invalid)?;
        let run = self.engine.load_of(asking.tenant, id).await.map_err(refuse)?;
        self.engine.workspaces().require(&run, self.engine.clock.now()).map_err(refuse)
    }

    /// The gate that a decision names, directly or as its run's only pending one.
    async fn named_gate(
        &self,
        tenant: TenantId,
        body: &pb::DecideGateRequest,
    ) -> Result<(RunId, GateId), Status> {
        if let Some(gate) = parse_opt::<GateId>("gate_id", &body.gate_id).map_err(invalid)? {
            let run = self.engine.tables.run_of_gate(tenant, gate).await.map_err(store)?;
            let run = run
                .ok_or_else(|| refuse(Fault::not_found("GATE_NOT_FOUND", "approval gate", gate)))?;
            return Ok((run, gate));
        }
        let id: RunId = parse("run_id", &body.run_id).map_err(invalid)?;
        let run = self.engine.load_of(tenant, id).await.map_err(refuse)?;
        let pending: Vec<&Gate> =
            run.gates.iter().filter(|g| g.status == GateStatus::Pending).collect();
        match pending.as_slice() {
            [gate] => Ok((id, gate.id)),
            gates => {
                let text = format!(
                    "run {id} has {} pending gates (expected one; name the gate instead)",
                    gates.len()
                );
                Err(refuse(Fault::new(ErrorKind::FailedPrecondition, "NOT_ONE_PENDING_GATE", text)))
            }
        }
    }
}

/// The longest time a gate may be given, in seconds.
const EXPIRES_SECONDS_MAX: u64 = 90 * 24 * 3600;

/// What a caller names, else what is configured.
fn gate_policy(default: &GatePolicy, asked: Option<pb::GatePolicy>) -> Result<GatePolicy, Status> {
    let asked = asked.unwrap_or_default();
    let mut policy = default.clone();
    match asked.on_expiry() {
        pb::ExpiryAction::Fail => policy.on_expiry = ExpiryAction::Fail,
        pb::ExpiryAction::Cancel => policy.on_expiry = ExpiryAction::Cancel,
        pb::ExpiryAction::Unspecified => {}
    }
    match asked.expires_after_seconds {
        Some(seconds) if seconds > EXPIRES_SECONDS_MAX => {
            let problem = format!("{seconds} is too long (expected at most {EXPIRES_SECONDS_MAX})");
            return Err(invalid(InvalidField::new("gates.expires_after_seconds", problem)));
        }
        Some(seconds) => policy.expires_after_ms = seconds * 1000,
        None => {}
    }
    // What the service's operator asks for cannot be waived by a caller.
    policy.four_eyes |= asked.four_eyes.unwrap_or(false);
    Ok(policy)
}

/// The longest time a run may be given, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Priorities that a run may be given.
const PRIORITIES: std::ops::RangeInclusive<i32> = -100..=100;

fn timeout_ms(seconds: u64) -> Result<u64, Status> {
    if seconds > TIMEOUT_SECONDS_MAX {
        let problem = format!("{seconds} is too long (expected at most {TIMEOUT_SECONDS_MAX})");
        return Err(invalid(InvalidField::new("timeout_seconds", problem)));
    }
    Ok(seconds * 1000)
}

fn priority(given: i32) -> Result<i32, Status> {
    if !PRIORITIES.contains(&given) {
        let problem = format!("{given} is out of range (expected -100 to 100)");
        return Err(invalid(InvalidField::new("priority", problem)));
    }
    Ok(given)
}

/// Caches belong to a tenant and a source: two specs of the same folder or repository share them.
fn cache_key(tenant: TenantId, spec: SpecId, source: &Source) -> String {
    let origin = match source {
        Source::Git { url, .. } => format!("git {url}"),
        Source::Path { path } => format!("path {path}"),
        Source::Inline { .. } => format!("spec {spec}"),
    };
    let digest = Sha256::digest(format!("{tenant} {origin}").as_bytes());
    let bytes: [u8; 16] = std::array::from_fn(|i| digest[i]);
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[tonic::async_trait]
impl RunService for Runs {
    async fn create_run(
        &self,
        request: Request<pb::CreateRunRequest>,
    ) -> Result<Response<pb::CreateRunResponse>, Status> {
        let (identity, by) = (identity(&request)?, asking(&request)?.by);
        let caller = identity.principal.clone();
        let body = request.into_inner();
        let request_id = Some(body.request_id.clone()).filter(|r| !r.is_empty());
        let asked: Overrides = body.overrides.unwrap_or_default().into();
        asked.check().map_err(|faults| {
            let within = faults.into_iter().map(|f| f.within("settings")).collect();
            refuse(Fault::invalid(within))
        })?;
        let run = self.make(&caller, body).await?;
        let counted = count(&self.engine, self.limits, &caller, Action::Runs).await?;
        let overrides = run.graph.overrides.patched(&asked);
        if !overrides.is_empty() {
            self.settings.set_run(&identity, &by.request_id, run.id, overrides).await?;
        }
        let run = self.engine.create_as(run, request_id, Some(by)).await.map_err(refuse)?;
        // as with its end: there may be a thousand in a second, and the audit knows who made it
        tracing::debug!(run = %run.id, spec = %run.spec, actor = %run.created_by, "run created");
        Ok(counted.answer(pb::CreateRunResponse { run: Some(encode::run(&run)) }))
    }

    async fn get_run(
        &self,
        request: Request<pb::GetRunRequest>,
    ) -> Result<Response<pb::GetRunResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let id: RunId = parse("run_id", &request.into_inner().run_id).map_err(invalid)?;
        let run = self.engine.load_of(tenant, id).await.map_err(refuse)?;
        Ok(Response::new(pb::GetRunResponse { run: Some(encode::run(&run)) }))
    }

    async fn list_runs(
        &self,
        request: Request<pb::ListRunsRequest>,
    ) -> Result<Response<pb::ListRunsResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let size = page_size(body.page_size, 25, 100);
        let list = ListRuns {
            status: word_opt("status", body.status).map_err(invalid)?,
            spec: parse_opt("spec_id", &body.spec_id).map_err(invalid)?,
            created_after: body.created_after.as_ref().map_or(0, |t| instant(t).0),
            failure_type: word_opt("failure_type", body.failure_type).map_err(invalid)?,
            before: parse_opt("page_token", &body.page_token).map_err(invalid)?,
            limit: size + 1,
            offset: body.offset,
        };
        let (mut ids, total) = self.engine.tables.runs(tenant, &list).await.map_err(store)?;
        let more = ids.len() > size as usize;
        ids.truncate(size as usize);
        let last = ids.last().filter(|_| more).map(ToString::to_string);
        let mut runs = Vec::with_capacity(ids.len());
        for id in ids {
            runs.push(encode::run(&*self.engine.load(id).await.map_err(refuse)?));
        }
        Ok(Response::new(pb::ListRunsResponse {
            runs,
            next_page_token: last.unwrap_or_default(),
            total,
        }))
    }

    async fn cancel_run(
        &self,
        request: Request<pb::CancelRunRequest>,
    ) -> Result<Response<pb::CancelRunResponse>, Status> {
        let (asking, id) = (asking(&request)?, request.into_inner().run_id);
        let run = self.change(asking, &id, |actor| Input::Cancel { actor }).await?;
        Ok(Response::new(pb::CancelRunResponse { run: Some(run) }))
    }

    async fn retry_run(
        &self,
        request: Request<pb::RetryRunRequest>,
    ) -> Result<Response<pb::RetryRunResponse>, Status> {
        let (asking, id) = (asking(&request)?, request.into_inner().run_id);
        self.require_workspace(&asking, &id).await?;
        let run = self.change(asking, &id, |actor| Input::Retry { actor }).await?;
        Ok(Response::new(pb::RetryRunResponse { run: Some(run) }))
    }

    async fn rollback_run(
        &self,
        request: Request<pb::RollbackRunRequest>,
    ) -> Result<Response<pb::RollbackRunResponse>, Status> {
        let (asking, id) = (asking(&request)?, request.into_inner().run_id);
        self.require_workspace(&asking, &id).await?;
        let run = self.change(asking, &id, |actor| Input::Rollback { actor }).await?;
        Ok(Response::new(pb::RollbackRunResponse { run: Some(run) }))
    }

    type StreamEventsStream = stream::Items<pb::StreamEventsResponse>;

    async fn stream_events(
        &self,
        request: Request<pb::StreamEventsRequest>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let id: RunId = parse("run_id", &body.run_id).map_err(invalid)?;
        self.engine.load_of(tenant, id).await.map_err(refuse)?;
        let items = stream::events(self.engine.clone(), id, body.after_seq, body.follow);
        Ok(Response::new(items))
    }

    type StreamLogsStream = stream::Items<pb::StreamLogsResponse>;

    async fn stream_logs(
        &self,
        request: Request<pb::StreamLogsRequest>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let id: RunId = parse("run_id", &body.run_id).map_err(invalid)?;
        let run = self.engine.load_of(tenant, id).await.map_err(refuse)?;
        if !body.step.is_empty() && run.step(&body.step).is_none() {
            return Err(refuse(Fault::not_found("STEP_NOT_FOUND", "step", body.step)));
        }
        Ok(Response::new(stream::logs(self.engine.clone(), id, body.step, body.follow)))
    }

    async fn get_patch(
        &self,
        request: Request<pb::GetPatchRequest>,
    ) -> Result<Response<pb::GetPatchResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let id: RunId = parse("run_id", &request.into_inner().run_id).map_err(invalid)?;
        self.engine.load_of(tenant, id).await.map_err(refuse)?;
        let patch = self.engine.tables.artifact(id, "patch").await.map_err(store)?;
        Ok(Response::new(pb::GetPatchResponse { patch: patch.unwrap_or_default() }))
    }

    async fn get_workspace(
        &self,
        request: Request<pb::GetWorkspaceRequest>,
    ) -> Result<Response<pb::GetWorkspaceResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let id: RunId = parse("run_id", &request.into_inner().run_id).map_err(invalid)?;
        let commit = self.engine.load_of(tenant, id).await.map_err(refuse)?.head.clone();
        let packed = inspect::workspace(&self.engine, tenant, (id, commit.clone())).await;
        let tar_gz = packed.map_err(refuse)?;
        Ok(Response::new(pb::GetWorkspaceResponse { tar_gz, commit }))
    }

    async fn list_flaky(
        &self,
        request: Request<pb::ListFlakyRequest>,
    ) -> Result<Response<pb::ListFlakyResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let size = page_size(request.into_inner().page_size, 100, 500);
        let rows = self.engine.tables.flaky(tenant, size).await.map_err(store)?;
        let steps = rows.into_iter().map(encode::flaky).collect();
        Ok(Response::new(pb::ListFlakyResponse { steps }))
    }
}

#[tonic::async_trait]
impl ApprovalService for Runs {
    async fn list_gates(
        &self,
        request: Request<pb::ListGatesRequest>,
    ) -> Result<Response<pb::ListGatesResponse>, Status> {
        let tenant = principal(&request)?.tenant;
        let body = request.into_inner();
        let status = word_opt("status", body.status).map_err(invalid)?;
        let status = status.unwrap_or(GateStatus::Pending);
        if let Some(id) = parse_opt::<RunId>("run_id", &body.run_id).map_err(invalid)? {
            let run = self.engine.load_of(tenant, id).await.map_err(refuse)?;
            let gates = run.gates.iter().filter(|g| g.status == status);
            let gates = gates.map(|g| encode::gate(&run, g)).collect();
            return Ok(Response::new(pb::ListGatesResponse { gates }));
        }
        let rows = self.engine.tables.runs_with_gates(tenant, status).await.map_err(store)?;
        let mut gates = Vec::with_capacity(rows.len());
        for (id, gate) in rows {
            let run = self.engine.load_of(tenant, id).await.map_err(refuse)?;
            gates.extend(run.gate(gate).map(|g| encode::gate(&run, g)));
        }
        Ok(Response::new(pb::ListGatesResponse { gates }))
    }

    async fn decide_gate(
        &self,
        request: Request<pb::DecideGateRequest>,
    ) -> Result<Response<pb::DecideGateResponse>, Status> {
        let (caller, asking) = (identity(&request)?, asking(&request)?);
        let body = request.into_inner();
        let chars = body.notes.chars().count();
        if chars > NOTES_CHARS_MAX {
            let problem = format!("{chars} characters (expected at most {NOTES_CHARS_MAX})");
            return Err(invalid(InvalidField::new("notes", problem)));
        }
        check_text("notes", &body.notes).map_err(invalid)?;
        let (run, gate) = self.named_gate(asking.tenant, &body).await?;
        let counted =
            count(&self.engine, self.limits, &caller.principal, Action::Approvals).await?;
        let input = Input::GateDecided {
            gate,
            approve: body.approve,
            actor: asking.actor,
            notes: body.notes,
            seen: (body.patch_sha256.to_lowercase(), body.plan_version),
        };
        let (request_id, trace_id) = (asking.by.request_id.clone(), asking.by.trace_id.clone());
        let decided = self.engine.advance_as(run, input, asking.by).await;
        if let Err(fault) = &decided
            && fault.kind == ErrorKind::PermissionDenied
        {
            // such as the approval of one's own run
            self.denials.tell(Denial {
                caller,
                action: DECIDE_GATE.to_owned(),
                object: format!("gate/{gate}"),
                reason: fault.message.clone(),
                request_id,
                trace_id,
            });
        }
        let run = decided.map_err(refuse)?;
        let gate = run.gate(gate).map(|g| encode::gate(&run, g));
        Ok(counted.answer(pb::DecideGateResponse { gate }))
    }
}
