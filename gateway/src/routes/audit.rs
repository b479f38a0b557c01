//! Who did what in a tenant, and whether that record is whole.

use super::App;
use crate::auth::Caller;
use crate::document::{Document, Resource};
use crate::params::{PER_PAGE_DEFAULT, PER_PAGE_MAX, Params};
use crate::problem::Problem;
use crate::view::{at, json as parsed, text};
use axum::extract::State;
use http::Uri;
use meta_proto::orchestrator as pb;
use serde_json::json;
use std::sync::Arc;

/// `GET /audit`: newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let known = ["action", "per_page", "page_token"];
    let params = Params::read(&uri, &known)?;
    let page_size = params.number("per_page", 1..=PER_PAGE_MAX, PER_PAGE_DEFAULT)?;
    let page_token = params.text("page_token").unwrap_or_default().to_owned();
    let action = params.text("action").unwrap_or_default().to_owned();
    let message = caller.message(pb::ListAuditRequest { page_size, page_token, action });
    let found = caller.ask(app.peers.audit().list_audit(message)).await;
    let found = found.map_err(|problem| problem.in_query(&known))?;
    let next = Some(found.next_page_token).filter(|token| !token.is_empty());
    let link = next.as_ref().map(|token| params.link("/audit", "page_token", token));
    let meta = json!({ "per_page": page_size, "next_page_token": next });
    let entries = found.entries.iter().map(resource).collect();
    Ok(Document::list(entries).link("next", link).meta(meta))
}

fn resource(entry: &pb::AuditEntry) -> Resource {
    let attributes = json!({
        "at": at(entry.at.as_ref()),
        "action": entry.action,
        "denied": entry.denied,
        "actor": entry.actor,
        "credential": text(&entry.credential),
        "home_tenant_id": text(&entry.home_tenant_id),
        "object": text(&entry.object),
        "before": parsed(&entry.before_json),
        "after": parsed(&entry.after_json),
        "reason": text(&entry.reason),
        "request_id": text(&entry.request_id),
        "trace_id": text(&entry.trace_id),
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    });
    Resource::new("audit_entry", entry.seq.to_string(), attributes)
}

/// `GET /audit/verify?known_seq=&known_hash=`: reads the whole chain.
pub(super) async fn verify(
    State(app): State<Arc<App>>,
    caller: Caller,
    uri: Uri,
) -> Result<Document, Problem> {
    let known = ["known_seq", "known_hash"];
    let params = Params::read(&uri, &known)?;
    let known_seq = params.parsed::<u64>("known_seq", "the number of an entry")?.unwrap_or(0);
    let known_hash = params.text("known_hash").unwrap_or_default().to_owned();
    let message = caller.message(pb::VerifyAuditRequest { known_seq, known_hash });
    let found = caller.ask(app.peers.audit().verify_audit(message)).await;
    let found = found.map_err(|problem| problem.in_query(&known))?;
    let attributes = json!({
        "entries": found.entries,
        "head_hash": text(&found.head_hash),
        "problems": found.problems,
    });
    let tenant = caller.principal.tenant.to_string();
    Ok(Document::of(Resource::new("audit_verification", tenant, attributes)))
}
