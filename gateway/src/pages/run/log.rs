//! The log of one execution: a window of numbered lines, those marked that speak for a verdict, and
//! what comes while it goes on.

use super::evidence::place;
use super::head::has_ended;
use super::story::Execution;
use super::{View, load};
use crate::auth::{Caller, ask_within};
use crate::pages::badge::{State, known};
use crate::pages::core::ansi::{Piece, plain};
use crate::pages::core::log::{Line, Lines, Window};
use crate::pages::core::words::{count, duration};
use crate::pages::gates::is_pending;
use crate::pages::visitor::Visitor;
use crate::params::Params;
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::{Path, State as Extract};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use maud::{Markup, html};
use meta_domain::status::StepStatus;
use meta_proto::orchestrator as pb;
use serde_json::json;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

/// Which log is shown.
pub(super) struct Chosen {
    pub(super) step: String,
    pub(super) execution: u32,
    from: Option<u64>,
}

impl Chosen {
    /// What the address names; else what most needs to be seen.
    ///
    /// # Errors
    /// 404 for a step that the run does not have.
    pub(super) fn of(view: &View<'_>, params: &Params) -> Result<Self, Problem> {
        let step = match params.text("step").filter(|s| !s.is_empty()) {
            Some(asked) if names(view.run).any(|name| name == asked) => asked.to_owned(),
            Some(asked) => {
                let text = format!("the run has no step {}", crate::problem::shown(asked));
                return Err(Problem::new(StatusCode::NOT_FOUND, "step_not_found", text));
            }
            None => interesting(view),
        };
        let last = view.story.executions(&step).last().map_or(1, |e| e.number);
        let execution = params.number("execution", 1..=u32::MAX, last)?;
        let from = params.parsed::<u64>("from", "the number of a line")?.filter(|n| *n > 0);
        Ok(Self { step, execution, from })
    }
}

fn names(run: &pb::Run) -> impl Iterator<Item = &str> {
    run.steps.iter().filter_map(|s| s.step.as_ref()).map(|s| s.name.as_str())
}

/// The step that a reader most likely wants: the failed one, the one that asks, the one that runs,
/// or the last one that ran.
fn interesting(view: &View<'_>) -> String {
    let run = view.run;
    let of = |status| {
        let fits = move |s: &&pb::RunStep| known::<StepStatus>(s.status) == Some(status);
        run.steps.iter().find(fits).and_then(|s| s.step.as_ref()).map(|s| s.name.clone())
    };
    let asks = || {
        let gate = run.gates.iter().find(|g| is_pending(g))?;
        names(run).find(|n| *n == gate.step).map(str::to_owned)
    };
    let ran = || {
        let ran = run.steps.iter().rev().find(|s| s.executions > 0);
        ran.or(run.steps.first()).and_then(|s| s.step.as_ref()).map(|s| s.name.clone())
    };
    of(StepStatus::Failed)
        .or_else(asks)
        .or_else(|| of(StepStatus::Running))
        .or_else(ran)
        .unwrap_or_default()
}

/// Reads the lines that are there.
///
/// # Errors
/// When they cannot be read.
pub(super) async fn read(app: &App, view: &View<'_>, chosen: &Chosen) -> Result<Window, Problem> {
    let mut window = Window::new(chosen.from);
    if chosen.step.is_empty() {
        return Ok(window);
    }
    let caller = &view.visitor.caller;
    let limit = app.config.request_timeout();
    let mut log = open(app, caller, &view.run.id, &chosen.step, false).await?;
    let whole = async {
        let mut lines = Lines::default();
        while let Some(message) = log.message().await? {
            if message.attempt == chosen.execution {
                window.take(lines.feed(&message.text));
            }
        }
        window.take(lines.last());
        Ok::<_, tonic::Status>(window)
    };
    Ok(tokio::time::timeout(limit, whole).await.map_err(|_| Problem::deadline())??)
}

async fn open(
    app: &App,
    caller: &Caller,
    run_id: &str,
    step: &str,
    follow: bool,
) -> Result<Streaming<pb::StreamLogsResponse>, Problem> {
    let whole = if follow {
        Duration::from_millis(app.config.stream_ms)
    } else {
        app.config.request_timeout()
    };
    let request =
        pb::StreamLogsRequest { run_id: run_id.to_owned(), step: step.to_owned(), follow };
    let message = caller.message_within(whole, request);
    ask_within(app.config.request_timeout(), app.peers.runs().stream_logs(message)).await
}

/// The log with its headings and ways.
pub(super) fn section(view: &View<'_>, chosen: &Chosen, shown: &Window) -> Markup {
    let none = BTreeSet::new();
    let executions = view.story.executions(&chosen.step);
    let this = executions.iter().find(|e| e.number == chosen.execution);
    let evidence = this.map_or(&none, |e| &e.evidence);
    let is_last = executions.last().is_none_or(|e| e.number == chosen.execution);
    let goes_on = is_last && chosen.from.is_none() && !has_ended(view.run);
    let query = query(chosen);
    let follow = format!("/runs/{}/log-lines?{query}", view.run.id);
    html! {
        section id="log" aria-labelledby="log-title" {
            header.log-head {
                h2 id="log-title" { "Log of " code { (plain(&chosen.step)) } }
                (ways(view, chosen, executions))
                span.spring {}
                @if let Some(first) = evidence.first() {
                    @if shown.shows(*first) {
                        a.button href=(format!("?{query}#L{first}")) data-jump { "Jump to evidence" }
                    } @else {
                        a.button href=(format!("?{query}&from={}#L{first}", first.saturating_sub(20).max(1))) { "Jump to evidence" }
                    }
                }
                a.button href=(format!("/api/meta/v2/runs/{}/logs?step={}", view.run.id, encoded(&chosen.step))) { "Raw" }
            }
            @if let Some(first) = shown.first() { @if first > 1 {
                p.fine.more {
                    (count(usize::try_from(first - 1).unwrap_or(usize::MAX), "line")) " above. "
                    a href=(format!("?{query}&from=1#log")) { "From the beginning" }
                }
            } }
            div.log tabindex="0" role="region" aria-labelledby="log-title"
                data-follow=[goes_on.then_some(follow)] data-last=(shown.end()) data-query=(query) {
                ol.lines { @for line in shown.lines() { (one(line, &query, evidence.contains(&line.number))) } }
                p.none hidden[shown.total() > 0] {
                    @if goes_on { "Nothing has been printed yet." } @else { "This execution printed nothing." }
                }
            }
            @if shown.end() < shown.total() {
                p.fine.more {
                    (count(usize::try_from(shown.total() - shown.end()).unwrap_or(usize::MAX), "line")) " below. "
                    a href=(format!("?{query}&from={}#log", shown.end() + 1)) { "Go on" } " · "
                    a href=(format!("?{query}#log")) { "To the end" }
                }
            }
        }
    }
}

fn query(chosen: &Chosen) -> String {
    format!("step={}&execution={}", encoded(&chosen.step), chosen.execution)
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The executions of the step.
fn ways(view: &View<'_>, chosen: &Chosen, executions: &[Execution]) -> Markup {
    html! {
        @if executions.len() > 1 {
            nav.executions aria-label="Executions" {
                @for e in executions {
                    @let state = match e.passed { Some(true) => State::Good, Some(false) => State::Bad, None => State::Running };
                    @let word = match e.passed { Some(true) => "passed", Some(false) => "failed", None => "under way" };
                    a href=(place(&view.run.id, &chosen.step, Some(e.number), 0))
                        aria-current=[(e.number == chosen.execution).then_some("true")]
                        title=(format!("Execution {} {word} on runner {}", e.number, plain(&e.runner))) {
                        (state.icon()) span.sr { "Execution " } (e.number) span.sr { " " (word) }
                        @if let Some(ms) = e.duration_ms { span.fine { " " (duration(ms)) } }
                    }
                }
            }
        }
    }
}

/// One line. Its number leads to itself.
fn one(line: &Line, query: &str, is_evidence: bool) -> Markup {
    html! {
        li.ev[is_evidence] id=(format!("L{}", line.number)) {
            a.no href=(format!("?{query}#L{}", line.number)) { (line.number) }
            code { @for piece in &line.pieces { (coloured(piece)) } }
            @if is_evidence { span.mark { "evidence" } }
        }
    }
}

fn coloured(piece: &Piece) -> Markup {
    let classes = piece.look.classes();
    if classes.is_empty() {
        html! { (piece.text) }
    } else {
        html! { span class=(classes) { (piece.text) } }
    }
}

/// Tells a proxy in between to pass every event on at once.
pub(super) const NO_BUFFERING: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// `GET /runs/{run_id}/log-lines?step=&execution=&after=`: the lines after a number as they come,
/// ready to be put into the page. `next` says that another execution began, `end` that nothing
/// comes any more.
pub(in crate::pages) async fn follow(
    Extract(app): Extract<Arc<App>>,
    visitor: Visitor,
    Path(run_id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::read(&uri, &["step", "execution", "after"])?;
    let run = load(&app, &visitor, &run_id).await?;
    let step = params.text("step").unwrap_or_default().to_owned();
    let execution = params.number("execution", 1..=u32::MAX, 1)?;
    let resumed = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse().ok());
    let after = match resumed {
        Some(line) => line,
        None => params.parsed::<u64>("after", "the number of a line")?.unwrap_or(0),
    };
    let log = open(&app, &visitor.caller, &run.id, &step, true).await?;
    let until = Instant::now() + Duration::from_millis(app.config.stream_ms);
    let heartbeat = Duration::from_millis(app.config.heartbeat_ms);
    let query = query(&Chosen { step, execution, from: None });
    let tail = Tail { app, log, lines: Lines::default(), until, execution, after, query };
    let events = stream::unfold(Some(tail), |tail| async move { tail?.next().await });
    let events = events.map(Ok::<_, Infallible>);
    let keep_alive = KeepAlive::new().interval(heartbeat).text("heartbeat");
    Ok(([NO_BUFFERING], Sse::new(events).keep_alive(keep_alive)).into_response())
}

/// A log that is being followed.
struct Tail {
    app: Arc<App>,
    log: Streaming<pb::StreamLogsResponse>,
    lines: Lines,
    until: Instant,
    execution: u32,
    after: u64,
    query: String,
}

impl Tail {
    /// The next event; with it what follows, unless it is the last.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        loop {
            let next = tokio::select! {
                next = timeout_at(self.until, self.log.message()) => next,
                () = self.app.stopping.cancelled() => return None,
            };
            let message = match next {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => {
                    let rest: Vec<Line> = self.lines.last().into_iter().collect();
                    let end = self.written(&rest).unwrap_or_default().event("end");
                    return Some((end, None));
                }
                // The browser connects again and names the last line it has.
                Ok(Err(_)) | Err(_) => return None,
            };
            if message.attempt > self.execution {
                let data = json!({ "execution": message.attempt }).to_string();
                return Some((Event::default().event("next").data(data), None));
            }
            if message.attempt == self.execution {
                let lines = self.lines.feed(&message.text);
                if let Some(event) = self.written(&lines) {
                    return Some((event, Some(self)));
                }
            }
        }
    }

    fn written(&self, lines: &[Line]) -> Option<Event> {
        let new: Vec<&Line> = lines.iter().filter(|l| l.number > self.after).collect();
        let last = new.last()?.number;
        let rendered = html! { @for line in &new { (one(line, &self.query, false)) } };
        let data = json!({ "html": rendered.into_string(), "last": last }).to_string();
        Some(Event::default().event("lines").id(last.to_string()).data(data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_step_prints_stays_text() {
        let mut lines = Lines::default();
        let hostile = b"<script>alert(1)</script> \x1b[31m\"><img src=x onerror=y>\x1b[0m &amp;\n";
        let line = lines.feed(hostile).remove(0);
        let shown = one(&line, "step=a&execution=1", true).into_string();
        assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{shown}");
        assert!(shown.contains("<span class=\"f1\">&quot;&gt;&lt;img"), "{shown}");
        assert!(shown.contains("&amp;amp;"), "{shown}");
        assert!(!shown.contains("<img") && !shown.contains('\u{1b}'));
    }
}
