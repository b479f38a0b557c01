//! Human decisions.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document};
use crate::params::{Params, id};
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use http::{StatusCode, Uri};
use meta_domain::fault::InvalidField;
use meta_domain::gate::GateStatus;
use meta_domain::id::{GateId, RunId};
use meta_proto::convert::Number;
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use std::sync::Arc;

/// Characters of a decision's notes.
const NOTES_CHARS_MAX: usize = 2_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Decision {
    notes: String,
    /// The patch that the decider saw; 409 when the gate has another by now.
    patch_sha256: Option<String>,
    /// The plan version that the decider saw; 409 when the gate is for another by now.
    plan_version: Option<u32>,
}

/// `GET /approvals`: the pending gates, or those of another `status`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let params = Params::read(&uri, &["status", "run_id"])?;
    let status = params.get::<GateStatus>("status")?.unwrap_or(GateStatus::Pending);
    let run_id = params.get::<RunId>("run_id")?.map(|id| id.to_string()).unwrap_or_default();
    let message = caller.message(pb::ListGatesRequest { status: status.number(), run_id });
    let found = caller.ask(app.peers.approvals().list_gates(message)).await?;
    Ok(Document::list(found.gates.iter().map(view::run::approval).collect()))
}

/// `POST /approvals/{gate_id}/approve`
pub(super) async fn approve(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(gate_id): Path<String>,
    payload: Payload,
) -> Result<Answer, Problem> {
    decide(&app, &caller, Which::gate(&gate_id)?, true, &payload).await
}

/// `POST /approvals/{gate_id}/reject`
pub(super) async fn reject(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(gate_id): Path<String>,
    payload: Payload,
) -> Result<Answer, Problem> {
    decide(&app, &caller, Which::gate(&gate_id)?, false, &payload).await
}

/// `POST /runs/{run_id}/approve`: the run's one pending gate.
pub(super) async fn approve_run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Answer, Problem> {
    decide(&app, &caller, Which::run(&run_id)?, true, &payload).await
}

/// `POST /runs/{run_id}/reject`: the run's one pending gate.
pub(super) async fn reject_run(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    payload: Payload,
) -> Result<Answer, Problem> {
    decide(&app, &caller, Which::run(&run_id)?, false, &payload).await
}

/// Which gate is decided.
enum Which {
    Gate(GateId),
    OnlyOneOf(RunId),
}

impl Which {
    fn gate(text: &str) -> Result<Self, Problem> {
        id("gate_id", text).map(Self::Gate)
    }
    fn run(text: &str) -> Result<Self, Problem> {
        id("run_id", text).map(Self::OnlyOneOf)
    }
}

async fn decide(
    app: &App,
    caller: &Caller,
    which: Which,
    approve: bool,
    payload: &Payload,
) -> Result<Answer, Problem> {
    let Decision { notes, patch_sha256, plan_version } = payload.read_or_empty()?;
    if notes.chars().count() > NOTES_CHARS_MAX {
        let problem = format!("is too long (expected {NOTES_CHARS_MAX} characters at most)");
        return Err(Problem::fields("invalid_field", &[InvalidField::new("notes", problem)]));
    }
    let (gate_id, run_id) = match which {
        Which::Gate(id) => (id.to_string(), String::new()),
        Which::OnlyOneOf(id) => (String::new(), id.to_string()),
    };
    let message = caller.message(pb::DecideGateRequest {
        gate_id,
        run_id,
        approve,
        notes,
        patch_sha256: patch_sha256.unwrap_or_default(),
        plan_version: plan_version.unwrap_or_default(),
    });
    let mut approvals = app.peers.approvals();
    let answer = approvals.decide_gate(message);
    let (decided, quota) = caller.ask_counted(caller.timeout(), answer).await?;
    let document = Document::of(view::run::approval(&decided.gate.unwrap_or_default()));
    Ok(Answer::new(StatusCode::OK, document).counted(quota))
}
