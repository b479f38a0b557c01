//! Plans of a spec.

use super::{App, Nothing};
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Answer, Document};
use crate::idempotency::{Creation, once};
use crate::params::id;
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use meta_domain::id::SpecId;
use meta_proto::orchestrator as pb;
use std::sync::Arc;
use std::time::Duration;

/// `POST /specs/{spec_id}/plan`: makes a new version. It may have to clone a repository, so it has
/// a deadline of its own.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(spec_id): Path<String>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let spec_id: SpecId = id("spec_id", &spec_id)?;
    let Nothing {} = payload.read_or_empty()?;
    let creation = Creation {
        caller: &caller,
        headers: &headers,
        route: format!("POST /specs/{spec_id}/plan"),
        body: payload.bytes(),
        takes: Duration::from_millis(app.config.plan_timeout_ms),
    };
    let (peers, asking) = (app.peers.clone(), caller.clone());
    let work = async move {
        let limit = Duration::from_millis(app.config.plan_timeout_ms);
        let request = pb::CreatePlanRequest { spec_id: spec_id.to_string() };
        let message = asking.message_within(limit, request);
        let mut plans = app.peers.plans();
        let (made, quota) = asking.ask_counted(limit, plans.create_plan(message)).await?;
        let plan = made.plan.unwrap_or_default();
        Ok(Answer::created(Document::of(view::plan::plan(&plan)))
            .found_at(&format!("/specs/{spec_id}"))
            .counted(quota))
    };
    once(&peers, creation, work).await
}
