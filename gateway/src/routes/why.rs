//! Why a step is as it is: what failed, what was tried, what showed that a patch holds, who decided.

use super::{App, runs};
use crate::auth::Caller;
use crate::document::{Document, Resource};
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use meta_domain::fault::Fault;
use std::sync::Arc;

/// `GET /runs/{run_id}/steps/{step}/why`
pub(super) async fn why(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((run_id, name)): Path<(String, String)>,
) -> Result<Document, Problem> {
    let run = runs::get(&app, &caller, &run_id).await?;
    let named = |s: &&meta_proto::orchestrator::RunStep| {
        s.step.as_ref().is_some_and(|planned| planned.name == name)
    };
    let step = run.steps.iter().find(named);
    let step = step.ok_or_else(|| Fault::not_found("STEP_NOT_FOUND", "step", &name))?;
    let attributes = view::run::explanation(&run, &name, step);
    let id = format!("{}:{name}", run.id);
    Ok(Document::of(Resource::new("explanation", id, attributes).one("run", "run", &run.id)))
}
