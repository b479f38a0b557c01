//! Runs: lists, one run with all that hangs on it, its histories, and what can be done to it.

use super::{App, Nothing};
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::Document;
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params, id};
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use http::Uri;
use meta_domain::failure::FailureType;
use meta_domain::id::{RunId, SpecId};
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use meta_proto::convert::{Number, timestamp};
use meta_proto::orchestrator as pb;
use serde_json::json;
use std::sync::Arc;

const LIST_PARAMS: [&str; 7] =
    ["status", "spec_id", "created_after", "failure_type", "page", "per_page", "page_token"];

/// `GET /runs`: by page number, or by cursor when `page_token` is given.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let params = Params::read(&uri, &LIST_PARAMS)?;
    let page_size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
    let page = params.number("page", 1..=u32::MAX / PER_PAGE_MAX, 1)?;
    let token = params.text("page_token").filter(|t| !t.is_empty());
    if token.is_some() && params.text("page").is_some() {
        return Err(Problem::parameter("page", "stands beside page_token (expected one of them)"));
    }
    let created_after: Option<jiff::Timestamp> = params.get("created_after")?;
    let request = pb::ListRunsRequest {
        page_size,
        page_token: token.unwrap_or_default().to_owned(),
        status: params.get::<RunStatus>("status")?.map_or(0, Number::number),
        spec_id: params.get::<SpecId>("spec_id")?.map(|id| id.to_string()).unwrap_or_default(),
        created_after: created_after.map(|t| timestamp(Timestamp(t.as_millisecond()))),
        failure_type: params.get::<FailureType>("failure_type")?.map_or(0, Number::number),
        offset: (page - 1) * page_size,
    };
    let by_cursor = token.is_some();
    let offset = u64::from(request.offset);
    let found = caller.ask(app.peers.runs().list_runs(caller.message(request))).await?;
    let seen = offset + found.runs.len() as u64;
    let to_page = |n: u32| params.link("/runs", "page", &n.to_string());
    let next_token = Some(found.next_page_token).filter(|t| !t.is_empty());
    let next = if by_cursor {
        next_token.as_ref().map(|t| params.link("/runs", "page_token", t))
    } else {
        (seen < found.total && !found.runs.is_empty()).then(|| to_page(page + 1))
    };
    let prev = (!by_cursor && page > 1).then(|| to_page(page - 1));
    let meta = json!({
        "total": found.total,
        "page": (!by_cursor).then_some(page),
        "per_page": page_size,
        "next_page_token": next_token,
    });
    let runs = found.runs.iter().map(view::run::run).collect();
    Ok(Document::list(runs).link("next", next).link("prev", prev).meta(meta))
}

/// The run that a path names.
///
/// # Errors
/// 400 for a malformed id, 404 for one that is unknown or another tenant's.
pub(super) async fn get(app: &App, caller: &Caller, run_id: &str) -> Result<pb::Run, Problem> {
    let run_id = id::<RunId>("run_id", run_id)?.to_string();
    let message = caller.message(pb::GetRunRequest { run_id });
    Ok(caller.ask(app.peers.runs().get_run(message)).await?.run.unwrap_or_default())
}

/// `GET /runs/{run_id}`: with its spec, plan, steps, approvals, diffs, evaluations and artifacts.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
    uri: Uri,
) -> Result<Document, Problem> {
    Params::read(&uri, &[])?;
    let run = get(&app, &caller, &run_id).await?;
    let spec = caller.message(pb::GetSpecRequest { spec_id: run.spec_id.clone() });
    let plan = caller.message(pb::GetPlanRequest { plan_id: run.plan_id.clone() });
    let (mut specs, mut plans) = (app.peers.specs(), app.peers.plans());
    let (spec, plan) =
        tokio::try_join!(caller.ask(specs.get_spec(spec)), caller.ask(plans.get_plan(plan)))?;
    let mut included = vec![
        view::spec::spec(&spec.spec.unwrap_or_default(), false),
        view::plan::plan(&plan.plan.unwrap_or_default()),
    ];
    let mut resource = view::run::run(&run);
    for (name, parts) in view::run::parts(&run) {
        resource = resource.many(name, &parts);
        included.extend(parts);
    }
    Ok(Document::of(resource).include(included))
}

/// `GET /runs/{run_id}/autofix`
pub(super) async fn autofix(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
) -> Result<Document, Problem> {
    let run = get(&app, &caller, &run_id).await?;
    Ok(Document::of(view::autofix::history(&run)))
}

/// `GET /runs/{run_id}/escalation`
pub(super) async fn escalation(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
) -> Result<Document, Problem> {
    let run = get(&app, &caller, &run_id).await?;
    Ok(Document::of(view::autofix::escalation(&run)))
}

/// `GET /runs/{run_id}/plan-delta`
pub(super) async fn plan_delta(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(run_id): Path<String>,
) -> Result<Document, Problem> {
    let run = get(&app, &caller, &run_id).await?;
    Ok(Document::of(view::autofix::plan_delta(&run)))
}

/// A handler that does one thing to a run and answers how the run is then.
macro_rules! action {
    ($(#[$doc:meta])* $name:ident: $rpc:ident($request:ident)) => {
        $(#[$doc])*
        pub(super) async fn $name(
            State(app): State<Arc<App>>,
            caller: Caller,
            Path(run_id): Path<String>,
            payload: Payload,
        ) -> Result<Document, Problem> {
            let run_id = id::<RunId>("run_id", &run_id)?.to_string();
            let Nothing {} = payload.read_or_empty()?;
            let message = caller.message(pb::$request { run_id });
            let run = caller.ask(app.peers.runs().$rpc(message)).await?.run.unwrap_or_default();
            Ok(Document::of(view::run::run(&run)))
        }
    };
}

action! {
    /// `POST /runs/{run_id}/cancel`
    cancel: cancel_run(CancelRunRequest)
}
action! {
    /// `POST /runs/{run_id}/retry`
    retry: retry_run(RetryRunRequest)
}
action! {
    /// `POST /runs/{run_id}/rollback`
    rollback: rollback_run(RollbackRunRequest)
}
