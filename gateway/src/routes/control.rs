//! What operators do with a run: pause, resume, mark a step, edit the plan, verify.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::Document;
use crate::params::id;
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use meta_domain::fault::InvalidField;
use meta_domain::id::RunId;
use meta_domain::plan::{PlanOp, PlanOpKind};
use meta_domain::project::{self, StepSpec};
use meta_domain::time::parse_duration_ms;
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Why {
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked {
    status: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    ops: Vec<Op>,
    plan_version: u32,
}

/// An operation as people write it: its steps are those of `metabuilder.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Op {
    kind: PlanOpKind,
    step: String,
    #[serde(default)]
    why: String,
    timeout: Option<String>,
    insert: Option<StepSpec>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    parts: Vec<StepSpec>,
}

impl Op {
    fn checked(self, at: &str) -> Result<PlanOp, Vec<InvalidField>> {
        let within = |faults: Vec<InvalidField>| {
            faults.into_iter().map(|f| f.within(at)).collect::<Vec<_>>()
        };
        let timeout_ms = self.timeout.as_deref().map(parse_duration_ms).transpose();
        let timeout_ms = timeout_ms
            .map_err(|problem| vec![InvalidField::new(format!("{at}.timeout"), problem)])?;
        let insert = project::check_steps(self.insert.as_slice(), EDIT).map_err(within)?.pop();
        let parts = project::check_steps(&self.parts, EDIT).map_err(within)?;
        let (needs, env) = (self.needs, self.env);
        let op = PlanOp::new(self.kind, &self.step, &self.why);
        Ok(PlanOp { timeout_ms, insert, needs, env, parts, ..op })
    }
}

/// Where the steps of an edit come from, for their `why`.
const EDIT: &str = "an edit of the plan";

fn shown(run: Option<pb::Run>) -> Document {
    Document::of(view::run::run(&run.unwrap_or_default()))
}

fn run_of(run_id: &str) -> Result<String, Problem> {
    Ok(id::<RunId>("run_id", run_id)?.to_string())
}

/// `POST /runs/{run_id}/pause`: nothing new of it starts.
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let why: Why = payload.read_or_empty()?;
    let request = pb::PauseRunRequest { run_id: run_of(&run_id)?, reason: why.reason };
    let answer = caller.ask(app.peers.run_control().pause_run(caller.message(request))).await?;
    Ok(shown(answer.run))
}

/// `POST /runs/{run_id}/resume`
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let super::Nothing {} = payload.read_or_empty()?;
    let request = pb::ResumeRunRequest { run_id: run_of(&run_id)? };
    let answer = caller.ask(app.peers.run_control().resume_run(caller.message(request))).await?;
    Ok(shown(answer.run))
}

/// `POST /runs/{run_id}/steps/{step}/mark`: it counts as passed, or is not needed.
pub(super) async fn mark(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((run_id, step)): Path<(String, String)>,
    payload: Payload,
) -> Result<Document, Problem> {
    let marked: Marked = payload.read()?;
    let mark = match marked.status.as_str() {
        "succeeded" => pb::StepMark::Succeeded,
        "skipped" => pb::StepMark::Skipped,
        other => {
            let problem = format!("{other:?} is not known (expected one of succeeded, skipped)");
            let fault = InvalidField::new("status", problem);
            return Err(Problem::fields("invalid_field", &[fault]));
        }
    };
    let (run_id, reason) = (run_of(&run_id)?, marked.reason);
    let request = pb::MarkStepRequest { run_id, step, mark: mark.into(), reason };
    let answer = caller.ask(app.peers.run_control().mark_step(caller.message(request))).await?;
    Ok(shown(answer.run))
}

/// `POST /runs/{run_id}/plan-edit`: a new plan version while the run goes on.
pub(super) async fn edit(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Document, Problem> {
    let edit: Edit = payload.read()?;
    let checked = |(n, op): (usize, Op)| op.checked(&format!("ops[{n}]"));
    let ops: Result<Vec<PlanOp>, _> = edit.ops.into_iter().enumerate().map(checked).collect();
    let ops = ops.map_err(|faults| Problem::fields("invalid_field", &faults))?;
    let ops = ops.into_iter().map(Into::into).collect();
    let request =
        pb::EditPlanRequest { run_id: run_of(&run_id)?, ops, plan_version: edit.plan_version };
    let answer = caller.ask(app.peers.run_control().edit_plan(caller.message(request))).await?;
    Ok(shown(answer.run))
}

/// `GET /runs/{run_id}/verify`: whether the event log and the tables say the same.
pub(super) async fn verify(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
) -> Result<Document, Problem> {
    let run_id = run_of(&run_id)?;
    let request = pb::VerifyRunRequest { run_id: run_id.clone() };
    let found = caller.ask(app.peers.run_control().verify_run(caller.message(request))).await?;
    let attributes = json!({
        "run_id": run_id,
        "events": found.events,
        "verified": found.problems.is_empty(),
        "problems": found.problems,
    });
    Ok(Document::of(crate::document::Resource::new("run-verification", &run_id, attributes)))
}
