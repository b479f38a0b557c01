//! All runs of the tenant.

use super::approvals::said;
use super::badge::{self, State, known, tag, word};
use super::core::ansi::plain;
use super::core::words::{count, duration, tail, tidy};
use super::gates::{is_pending, time};
use super::layout::{Page, Section, waiting};
use super::visitor::Visitor;
use crate::auth::Caller;
use crate::params::Params;
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use http::Uri;
use maud::{Markup, html};
use meta_domain::autofix::Outcome;
use meta_domain::failure::FailureType;
use meta_domain::id::{SpecId, TenantId};
use meta_domain::status::{RunStatus, StepStatus};
use meta_domain::time::Timestamp;
use meta_proto::convert::{Number, instant};
use meta_proto::orchestrator as pb;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs on a page.
const PER_PAGE: u32 = 25;
/// Titles that are remembered at most.
const TITLES_MAX: usize = 10_000;

/// What runs and specs are called. That never changes, so that it is asked for once.
#[derive(Default)]
pub(crate) struct Titles(Mutex<HashMap<(TenantId, String), Arc<str>>>);

impl Titles {
    fn known(&self, tenant: TenantId, id: &str) -> Option<Arc<str>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(tenant, id.to_owned())).cloned()
    }

    fn learn(&self, tenant: TenantId, id: &str, title: &Arc<str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TITLES_MAX {
            known.clear();
        }
        known.insert((tenant, id.to_owned()), title.clone());
    }
}

/// The title of a spec.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn title_of_spec(
    app: &App,
    caller: &Caller,
    spec_id: &str,
) -> Result<Arc<str>, Problem> {
    let tenant = caller.principal.tenant;
    if let Some(title) = app.titles.known(tenant, spec_id) {
        return Ok(title);
    }
    let message = caller.message(pb::GetSpecRequest { spec_id: spec_id.to_owned() });
    let spec = caller.ask(app.peers.specs().get_spec(message)).await?.spec.unwrap_or_default();
    let title: Arc<str> = plain(&spec.title).into();
    app.titles.learn(tenant, spec_id, &title);
    Ok(title)
}

/// The title of a run: that of its spec.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn title_of_run(
    app: &App,
    caller: &Caller,
    run_id: &str,
) -> Result<Arc<str>, Problem> {
    let tenant = caller.principal.tenant;
    if let Some(title) = app.titles.known(tenant, run_id) {
        return Ok(title);
    }
    let message = caller.message(pb::GetRunRequest { run_id: run_id.to_owned() });
    let run = caller.ask(app.peers.runs().get_run(message)).await?.run.unwrap_or_default();
    let title = title_of_spec(app, caller, &run.spec_id).await?;
    app.titles.learn(tenant, run_id, &title);
    Ok(title)
}

/// `GET /runs?status=&failure_type=&spec_id=&page=`
pub(super) async fn list(
    Extract(app): Extract<Arc<App>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Problem> {
    let filter = Filter::read(&uri)?;
    let caller = &visitor.caller;
    let request = pb::ListRunsRequest {
        page_size: PER_PAGE,
        status: filter.status.map_or(0, Number::number),
        failure_type: filter.failure_type.map_or(0, Number::number),
        spec_id: filter.spec_id.map(|id| id.to_string()).unwrap_or_default(),
        offset: (filter.page - 1) * PER_PAGE,
        ..pb::ListRunsRequest::default()
    };
    let found = caller.ask(app.peers.runs().list_runs(caller.message(request))).await?;
    let titles = found.runs.iter().map(|run| title_of_spec(&app, caller, &run.spec_id));
    let titles = try_join_all(titles).await?;
    let now = meta_runtime::now();
    let body = html! {
        header.page-head {
            h1 { "Runs" }
            p.lead { (count(usize::try_from(found.total).unwrap_or(usize::MAX), "run"))
                @if filter.is_narrow() { " like this" } }
        }
        (said(&uri))
        (filter.form())
        @if found.runs.is_empty() { (nothing(&filter)) } @else {
            div.card.flush id="runs" data-live="runs" data-poll {
                table.runs {
                    thead { tr {
                        th scope="col" { "Status" } th scope="col" { "Run" }
                        th scope="col" { "What happened" } th scope="col" { "Started" }
                        th.num scope="col" { "Took" }
                    } }
                    tbody {
                        @for (run, title) in found.runs.iter().zip(&titles) { (row(run, title, now)) }
                    }
                }
            }
            (filter.pages(found.total))
        }
    };
    let waiting = waiting(&app, &visitor).await;
    Ok(Page::of(&visitor, Section::Runs, "Runs", body).waiting(waiting).into_response())
}

fn nothing(filter: &Filter) -> Markup {
    html! {
        div.empty {
            @if filter.is_narrow() {
                p { "No run is like this." }
                p { a href="/runs" { "Show all runs" } }
            } @else {
                p { "There are no runs yet. Start one:" }
                pre { code { "metabuilder build path/to/project" } }
                p.fine { "with " code { "METABUILDER_URL" } " and " code { "METABUILDER_TOKEN" } " set to this server." }
            }
        }
    }
}

fn row(run: &pb::Run, title: &str, now: Timestamp) -> Markup {
    let href = format!("/runs/{}", run.id);
    html! {
        tr {
            td.status { (badge::run(run.status)) }
            td.name {
                a.title href=(href) { (title) }
                span.fine { code { (tail(&run.id)) } " ·\u{a0}plan " (run.plan_version) " ·\u{a0}" (plain(&run.created_by)) }
            }
            td.what { (what(run)) }
            td.when { @if let Some(at) = run.created_at.as_ref().map(instant) { (time(at, now)) } }
            td.num { @if let Some(ms) = took(run, now) { (duration(ms)) } @else { "–" } }
        }
    }
}

/// How long a run took, or has taken so far.
pub(super) fn took(run: &pb::Run, now: Timestamp) -> Option<u64> {
    let start = run.started_at.as_ref().map(instant)?;
    let end = run.finished_at.as_ref().map_or(now, instant);
    Some(end.since_ms(start))
}

/// What came of a run's failures.
pub(super) struct Tally {
    pub(super) types: BTreeSet<FailureType>,
    pub(super) healed: usize,
    pub(super) flaky: usize,
}

impl Tally {
    pub(super) fn of(run: &pb::Run) -> Self {
        let of_attempts = run.attempts.iter().filter_map(|a| a.signal.as_ref());
        let of_steps = run.steps.iter().filter_map(|s| s.signal.as_ref());
        let types = of_attempts.chain(of_steps).filter_map(|s| known(s.r#type)).collect();
        let is_healed = |a: &&pb::Attempt| {
            known::<Outcome>(a.outcome) == Some(Outcome::PatchApplied)
                && !a.reverted
                && a.rollback_to_step.is_empty()
        };
        Self {
            types,
            healed: run.attempts.iter().filter(is_healed).count(),
            flaky: run.steps.iter().filter(|s| s.flaky).count(),
        }
    }

    pub(super) fn markup(&self) -> Markup {
        html! {
            @if self.healed > 0 {
                span.badge.healed { (State::Healed.icon()) span { (self.healed) " healed" } }
            }
            @if self.flaky > 0 { span.tag.flaky { (self.flaky) " flaky" } }
            @for kind in &self.types { (tag(&kind.to_string())) }
        }
    }
}

fn what(run: &pb::Run) -> Markup {
    html! {
        div.tags { (Tally::of(run).markup()) }
        @if let Some(text) = in_words(run) { span.said { (text) } }
    }
}

/// The run's state in a few words, when its status alone does not say it.
fn in_words(run: &pb::Run) -> Option<Markup> {
    let name = |s: &pb::RunStep| plain(s.step.as_ref().map_or("", |p| p.name.as_str()));
    match known::<RunStatus>(run.status)? {
        RunStatus::Failed => Some(html! { (tidy(&run.reason)) }),
        RunStatus::PausedAwaitingApproval => {
            let gate = run.gates.iter().find(|g| is_pending(g))?;
            let kind = word::<meta_domain::gate::GateType>(gate.r#type);
            Some(html! { code { (plain(&gate.step)) } " asks: " (badge::tag(&kind)) })
        }
        RunStatus::Running if !run.held_by.is_empty() => {
            Some(html! { "paused by " (plain(&run.held_by)) })
        }
        RunStatus::Running => {
            let running =
                |s: &&pb::RunStep| known::<StepStatus>(s.status) == Some(StepStatus::Running);
            let names: Vec<_> = run.steps.iter().filter(running).map(name).collect();
            (!names.is_empty()).then(|| html! { "at " @for n in &names { code { (n) } " " } })
        }
        RunStatus::Pending | RunStatus::Succeeded | RunStatus::Canceled => None,
    }
}

/// Which runs are shown.
struct Filter {
    status: Option<RunStatus>,
    failure_type: Option<FailureType>,
    spec_id: Option<SpecId>,
    page: u32,
}

impl Filter {
    /// Fields that a form leaves empty mean any.
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let params =
            Params::read(uri, &["status", "failure_type", "spec_id", "page", "done"])?.filled();
        Ok(Self {
            status: params.get("status")?,
            failure_type: params.get("failure_type")?,
            spec_id: params.get("spec_id")?,
            page: params.number("page", 1..=u32::MAX / PER_PAGE, 1)?,
        })
    }

    fn is_narrow(&self) -> bool {
        self.status.is_some() || self.failure_type.is_some() || self.spec_id.is_some()
    }

    fn form(&self) -> Markup {
        html! {
            form.filters method="get" action="/runs" role="search" aria-label="Filter runs" {
                div {
                    label for="status" { "Status" }
                    select id="status" name="status" {
                        option value="" { "any" }
                        @for status in RunStatus::ALL {
                            option value=(status) selected[self.status == Some(*status)] { (status.as_str().replace('_', " ")) }
                        }
                    }
                }
                div {
                    label for="failure_type" { "Failure" }
                    select id="failure_type" name="failure_type" {
                        option value="" { "any" }
                        @for kind in FailureType::ALL {
                            option value=(kind) selected[self.failure_type == Some(kind)] { (kind.to_string().replace('_', " ")) }
                        }
                    }
                }
                @if let Some(spec) = &self.spec_id { input type="hidden" name="spec_id" value=(spec); }
                button type="submit" { "Filter" }
                @if self.is_narrow() { a.clear href="/runs" { "Clear" } }
            }
        }
    }

    fn link(&self, page: u32) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(status) = self.status {
            query.append_pair("status", status.as_str());
        }
        if let Some(kind) = self.failure_type {
            query.append_pair("failure_type", &kind.to_string());
        }
        if let Some(spec) = self.spec_id {
            query.append_pair("spec_id", &spec.to_string());
        }
        format!("/runs?{}", query.append_pair("page", &page.to_string()).finish())
    }

    fn pages(&self, total: u64) -> Markup {
        let pages = total.div_ceil(u64::from(PER_PAGE)).max(1);
        let more = u64::from(self.page) < pages;
        html! {
            @if pages > 1 || self.page > 1 {
                nav.pages aria-label="Pages" {
                    @if self.page > 1 { a rel="prev" href=(self.link(self.page - 1)) { "← Newer" } }
                    span { "Page " (self.page) " of " (pages) }
                    @if more { a rel="next" href=(self.link(self.page + 1)) { "Older →" } }
                }
            }
        }
    }
}
