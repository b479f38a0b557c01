//! One run: what it came to and why, its steps, its healing, its gates, its log.

mod act;
mod changes;
pub(super) mod evidence;
mod graph;
mod head;
mod log;
mod plan;
mod steps;
mod story;
mod timeline;

pub(super) use act::act;
pub(super) use changes::changes;
pub(super) use log::follow;

use super::approvals::said;
use super::core::words::count;
use super::gates::{Place, card, is_pending};
use super::layout::{Page, Section, waiting};
use super::runs::title_of_spec;
use super::visitor::Visitor;
use crate::params::{Params, id};
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::Uri;
use maud::html;
use meta_domain::id::RunId;
use meta_domain::time::Timestamp;
use meta_proto::orchestrator as pb;
use std::sync::Arc;
use story::Story;

/// What the parts of the page need.
struct View<'a> {
    run: &'a pb::Run,
    title: &'a str,
    story: &'a Story,
    visitor: &'a Visitor,
    now: Timestamp,
}

/// `GET /runs/{run_id}?step=&execution=&from=`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Path(run_id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["step", "execution", "from", "done"])?;
    let run = load(&app, &visitor, &run_id).await?;
    let (title, story, waiting) = tokio::try_join!(
        title_of_spec(&app, &visitor.caller, &run.spec_id),
        Story::read(&app, &visitor.caller, &run.id),
        async { Ok(waiting(&app, &visitor).await) },
    )?;
    let view = View {
        run: &run,
        title: &title,
        story: &story,
        visitor: &visitor,
        now: meta_runtime::now(),
    };
    let chosen = log::Chosen::of(&view, &params)?;
    let shown = log::read(&app, &view, &chosen).await?;
    let back = format!("/runs/{}", run.id);
    let place = Place { back: &back, run: None, now: view.now };
    let (open, closed): (Vec<_>, Vec<_>) = run.gates.iter().partition(|g| is_pending(g));
    let body = html! {
        div.run data-run=(run.id) data-seq=(run.last_seq) data-ended[head::has_ended(&run)] {
            (head::head(&view))
            (said(&uri))
            div id="why" data-live="why" { (head::why(&view, &chosen)) }
            div id="gates" data-live="gates" {
                @if !open.is_empty() {
                    section aria-labelledby="gates-title" {
                        h2 id="gates-title" { "Waits for " (count(open.len(), "decision")) }
                        p.lead { "Everything that a machine may do is done. The run goes on, where it stopped, as soon as somebody decides." }
                        div.stack { @for gate in &open { (card(gate, &visitor, place)) } }
                    }
                }
            }
            section id="steps" aria-labelledby="steps-title" data-live="steps" {
                h2 id="steps-title" { "Steps" }
                (graph::graph(&view, &chosen))
                (steps::table(&view, &chosen))
            }
            section id="timeline" aria-labelledby="timeline-title" data-live="timeline" {
                h2 id="timeline-title" { "Auto-Fix Timeline" }
                (timeline::timeline(&view))
            }
            section id="plan-changes" data-live="plan-changes" { (plan::deltas(&view)) }
            section id="decisions" data-live="decisions" {
                @if !closed.is_empty() {
                    h2 { "Decisions" }
                    div.stack { @for gate in &closed { (card(gate, &visitor, place)) } }
                }
            }
            (log::section(&view, &chosen, &shown))
        }
    };
    Ok(Page::of(&visitor, Section::Runs, &title, body).waiting(waiting).into_response())
}

/// The run that a path names.
///
/// # Errors
/// 404 for one that is unknown or another tenant's, and for what is no id.
async fn load(app: &App, visitor: &Visitor, run_id: &str) -> Result<pb::Run, Problem> {
    let run_id = id::<RunId>("run_id", run_id)
        .map_err(|_| {
            let what =
                meta_domain::fault::Fault::not_found("RUN_NOT_FOUND", "the run", "of this address");
            Problem::from(what)
        })?
        .to_string();
    let message = visitor.caller.message(pb::GetRunRequest { run_id });
    Ok(visitor.caller.ask(app.peers.runs().get_run(message)).await?.run.unwrap_or_default())
}
