//! What waits for a decision, and deciding.

use super::core::words::count;
use super::gates::{Place, card};
use super::layout::{Page, Section};
use super::runs::title_of_run;
use super::visitor::{Fields, Visitor};
use crate::params::id;
use crate::problem::Problem;
use crate::routes::App;
use crate::session::local_path;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::Uri;
use maud::html;
use meta_domain::fault::InvalidField;
use meta_domain::gate::GateStatus;
use meta_domain::id::GateId;
use meta_domain::limits::DESCRIPTION_CHARS_MAX;
use meta_proto::convert::Number;
use meta_proto::orchestrator as pb;
use std::sync::Arc;

/// `GET /approvals`: the tenant's pending gates, oldest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Problem> {
    let status = GateStatus::Pending.number();
    let message =
        visitor.caller.message(pb::ListGatesRequest { status, ..pb::ListGatesRequest::default() });
    let mut gates = visitor.caller.ask(app.peers.approvals().list_gates(message)).await?.gates;
    gates.sort_by_key(|g| g.created_at.map(|t| (t.seconds, t.nanos)));
    let titles = gates.iter().map(|g| title_of_run(&app, &visitor.caller, &g.run_id));
    let titles = futures::future::try_join_all(titles).await?;
    let now = meta_runtime::now();
    let body = html! {
        header.page-head {
            h1 { "Approvals" }
            p.lead {
                @if gates.is_empty() { "Nothing waits for a decision." } @else {
                    (count(gates.len(), "decision")) " to make, the oldest first. Each run stands \
                     still until then."
                }
            }
        }
        (said(&uri))
        @if gates.is_empty() {
            div.empty {
                p { "When a patch needs a person, a finding has to be accepted, or a step asks before it starts, it is here." }
                p { a href="/runs" { "See all runs" } }
            }
        }
        div.stack {
            @for (gate, title) in gates.iter().zip(&titles) {
                (card(gate, &visitor, Place { back: "/approvals", run: Some(title), now }))
            }
        }
    };
    let waiting = super::layout::waiting(&app, &visitor).await;
    let page = Page::of(&visitor, Section::Approvals, "Approvals", body).waiting(waiting);
    Ok(page.into_response())
}

/// What was just done, after the way back from a form: one of our own sentences, never the
/// address's.
pub(super) fn said(uri: &Uri) -> maud::Markup {
    let query = uri.query().unwrap_or_default();
    let word = url::form_urlencoded::parse(query.as_bytes())
        .find_map(|(name, value)| (name == "done").then_some(value));
    let text = match word.as_deref() {
        Some("approved") => "Approved: the run goes on.",
        Some("rejected") => "Rejected: the run fails.",
        Some("cancel") => "Canceled: what was executing is being stopped.",
        Some("retry") => "The run goes on from where it failed.",
        Some("pause") => "Paused: nothing new of it starts.",
        Some("resume") => "The run goes on.",
        Some("rollback") => "The workspace is going back to the last good commit.",
        Some("saved") => "Saved: it is in force within a second.",
        Some("reset") => "Reset: the value comes from the layer below again.",
        _ => return html! {},
    };
    html! { p.note.done role="status" { (text) } }
}

/// `POST /approvals/{gate_id}/decide`: for what the page showed, and nothing else.
pub(super) async fn decide(
    State(app): State<Arc<App>>,
    Path(gate_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (visitor, fields) = Fields::of_signed_in(&app, request).await?;
    let gate_id = id::<GateId>("gate_id", &gate_id)?.to_string();
    let approve = match fields.text("decision") {
        "approve" => true,
        "reject" => false,
        _ => return Err(Problem::bad("invalid_field", "decision: expected approve or reject")),
    };
    let notes = fields.text("notes").to_owned();
    if notes.chars().count() > DESCRIPTION_CHARS_MAX {
        let problem = format!("is too long (expected {DESCRIPTION_CHARS_MAX} characters at most)");
        return Err(Problem::fields("invalid_field", &[InvalidField::new("notes", problem)]));
    }
    let message = visitor.caller.message(pb::DecideGateRequest {
        gate_id,
        run_id: String::new(),
        approve,
        notes,
        patch_sha256: fields.text("patch_sha256").to_owned(),
        plan_version: fields.text("plan_version").parse().unwrap_or(0),
    });
    visitor.caller.ask(app.peers.approvals().decide_gate(message)).await?;
    let done = if approve { "approved" } else { "rejected" };
    Ok(Redirect::to(&back(fields.text("back"), done)).into_response())
}

/// The page to go back to, told what was done.
pub(super) fn back(asked: &str, done: &str) -> String {
    let path = match local_path(asked) {
        "/" => "/runs",
        path => path,
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let kept = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name != "done");
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept)
        .append_pair("done", done)
        .finish();
    format!("{path}?{query}")
}
