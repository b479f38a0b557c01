//! Failures that went away without a change.

use super::App;
use crate::auth::Caller;
use crate::document::{Document, Resource};
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params};
use crate::problem::Problem;
use crate::view::{at, text, word};
use axum::extract::State;
use http::Uri;
use meta_domain::failure::FailureType;
use meta_proto::orchestrator as pb;
use serde_json::json;
use std::sync::Arc;

/// `GET /flaky`: the tenant's flaky steps, last seen first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let params = Params::read(&uri, &["per_page"])?;
    let page_size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
    let message = caller.message(pb::ListFlakyRequest { page_size });
    let found = caller.ask(app.peers.runs().list_flaky(message)).await?;
    Ok(Document::list(found.steps.iter().map(resource).collect()))
}

fn resource(flaky: &pb::FlakyStep) -> Resource {
    let attributes = json!({
        "step": flaky.step,
        "source": text(&flaky.source),
        "fingerprint": flaky.fingerprint,
        "failure_type": word::<FailureType>(flaky.failure_type),
        "message": text(&flaky.message),
        "times": flaky.times,
        "first_seen": at(flaky.first_seen.as_ref()),
        "last_seen": at(flaky.last_seen.as_ref()),
    });
    let id = format!("{}:{}:{}", flaky.source, flaky.step, flaky.fingerprint);
    Resource::new("flaky_step", id, attributes).one("run", "run", &flaky.run_id)
}
