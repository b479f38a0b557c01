//! How far auto-fix may go: each setting with its value, where that comes from, and who said so.

use super::approvals::{back, said};
use super::badge::{known, tag, word};
use super::core::ansi::plain;
use super::core::words::{instant as shown, spaced};
use super::gates::time;
use super::layout::{Page, Section, csrf, waiting};
use super::problem::sentence;
use super::visitor::{Fields, Visitor};
use crate::problem::{At, Problem};
use crate::routes::App;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{StatusCode, Uri};
use maud::{Markup, html};
use meta_domain::role::Role;
use meta_domain::settings::{
    BACKOFF_CAP_SECONDS, Layer, PER_STEP_ATTEMPTS, Setting, TOTAL_ATTEMPTS,
};
use meta_domain::time::Timestamp;
use meta_proto::common::Overrides;
use meta_proto::convert::instant;
use meta_proto::flags::{
    Change, ChangeKind, ClearOverridesRequest, ExplainRequest, ExplainResponse, LayerValue,
    ListChangesRequest, SetOverridesRequest, SettingExplanation, WriteOptions,
};
use std::sync::Arc;

const PATH: &str = "/settings/builder/auto-fix";
/// Changes that the page shows.
const CHANGES_SHOWN: u32 = 20;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;

/// What somebody typed that was not taken.
struct Refused {
    setting: Setting,
    value: String,
    problem: String,
}

/// `GET /settings/builder/auto-fix`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    uri: Uri,
) -> Result<Response, Problem> {
    page(&app, &visitor, said(&uri), None).await
}

async fn page(
    app: &App,
    visitor: &Visitor,
    said: Markup,
    refused: Option<&Refused>,
) -> Result<Response, Problem> {
    let caller = &visitor.caller;
    let (mut flags, mut log) = (app.peers.flags(), app.peers.flags());
    let explain = caller.message(ExplainRequest::default());
    let list = caller
        .message(ListChangesRequest { page_size: CHANGES_SHOWN, ..ListChangesRequest::default() });
    let (explained, changes) =
        tokio::try_join!(caller.ask(flags.explain(explain)), caller.ask(log.list_changes(list)))?;
    let now = meta_runtime::now();
    let may = caller.principal.role >= Role::Admin && !visitor.csrf.is_empty();
    let body = html! {
        header.page-head {
            h1 { "Auto-fix settings" }
            p.lead { "For this tenant. A run's own override wins over what is set here; a kill switch wins over all." }
        }
        (said)
        @if explained.stale {
            p.note.bad role="status" { "The settings were last heard " (explained.stale_ms / 1000) " s ago; they may have changed since." }
        }
        @if !may { p.note { "Changing settings needs the role admin; yours is " (caller.principal.role.as_str().replace('_', " ")) "." } }
        div.stack.settings {
            @for setting in &explained.settings {
                (one(setting, &explained, visitor, now, refused.filter(|r| r.setting.as_str() == setting.name), may))
            }
        }
        (scheduled(&explained, now))
        (history(&changes.changes, now))
    };
    let waiting = waiting(app, visitor).await;
    let page = Page::of(visitor, Section::Settings, "Auto-fix settings", body).waiting(waiting);
    let mut response = page.into_response();
    if refused.is_some() {
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(response)
}

/// What people call a setting, what it does, and what it may be.
fn about(setting: Setting) -> (&'static str, &'static str, String) {
    let range = |r: std::ops::RangeInclusive<u32>| format!("{} to {}", r.start(), r.end());
    match setting {
        Setting::AutofixEnabled => (
            "Auto-fix",
            "Whether failures are healed at all. Off: a failed step fails its run.",
            "on or off".to_owned(),
        ),
        Setting::MaxTotalAttempts => (
            "Attempts of one run",
            "Turns of the loop over all steps of a run. Then it gives up or asks a person.",
            range(TOTAL_ATTEMPTS),
        ),
        Setting::MaxPerStepAttempts => (
            "Attempts of one step",
            "Turns of the loop on a single step.",
            range(PER_STEP_ATTEMPTS),
        ),
        Setting::BackoffCapSeconds => (
            "Longest wait before a retry",
            "In seconds; also cuts what a server asks for by Retry-After.",
            range(BACKOFF_CAP_SECONDS),
        ),
    }
}

fn value(setting: Setting, text: &str) -> String {
    match (setting, text) {
        (Setting::AutofixEnabled, "true") => "on".to_owned(),
        (Setting::AutofixEnabled, "false") => "off".to_owned(),
        (Setting::BackoffCapSeconds, n) => format!("{} s", plain(n)),
        (_, n) => plain(n),
    }
}

fn layer(number: i32) -> Markup {
    let words = match known::<Layer>(number) {
        Some(Layer::Tenant) => "this tenant".to_owned(),
        Some(Layer::Run) => "the run".to_owned(),
        _ => spaced(&word::<Layer>(number)),
    };
    html! { span.layer { (words) } }
}

fn one(
    explained: &SettingExplanation,
    all: &ExplainResponse,
    visitor: &Visitor,
    now: Timestamp,
    refused: Option<&Refused>,
    may: bool,
) -> Markup {
    let Ok(setting) = explained.name.parse::<Setting>() else { return html! {} };
    let (title, what, range) = about(setting);
    let own = explained.layers.iter().find(|l| known::<Layer>(l.layer) == Some(Layer::Tenant));
    let winner = explained.layers.iter().find(|l| l.layer == explained.winner);
    let id = setting.as_str();
    html! {
        article.card.setting id=(id) aria-labelledby=(format!("{id}-title")) {
            div.about {
                h2 id=(format!("{id}-title")) { (title) }
                p { (what) }
                p.fine { code { (id) } " · allowed: " (range) }
            }
            div.now {
                p.value { (value(setting, &explained.value)) }
                p { "from " (layer(explained.winner)) }
                @if let Some(winner) = winner { (author(winner, now)) }
                (stack(setting, explained, now))
            }
            @if may { (form(setting, explained, all, visitor, own.is_some(), refused)) }
        }
    }
}

fn author(layer: &LayerValue, now: Timestamp) -> Markup {
    html! {
        @if !layer.author.is_empty() {
            p.fine {
                "set by " (plain(&layer.author))
                @if let Some(at) = layer.set_at.as_ref().map(instant) { " " (time(at, now)) }
                @if !layer.reason.is_empty() { ": " (plain(&layer.reason)) }
            }
        }
    }
}

fn stack(setting: Setting, explained: &SettingExplanation, now: Timestamp) -> Markup {
    html! {
        @if explained.layers.len() > 1 {
            details.layers id=(format!("layers-{}", setting.as_str())) {
                summary { "All layers" }
                ul.plain {
                    @for l in explained.layers.iter().rev() {
                        li.wins[l.layer == explained.winner] {
                            (layer(l.layer)) " " strong { (value(setting, &l.value)) }
                            @if !l.problem.is_empty() { " " span.tag { "not readable: " (plain(&l.problem)) } }
                            @else if !l.applies { " " span.fine { "does not reach this tenant" } }
                            @if let Some(percent) = l.percent { " " span.fine { "for " (percent) " % of tenants" } }
                            (author(l, now))
                        }
                    }
                }
            }
        }
    }
}

fn form(
    setting: Setting,
    explained: &SettingExplanation,
    all: &ExplainResponse,
    visitor: &Visitor,
    is_own: bool,
    refused: Option<&Refused>,
) -> Markup {
    let id = setting.as_str();
    let typed = refused.map_or(explained.value.as_str(), |r| r.value.as_str());
    let help = format!("{id}-problem");
    html! {
        form.edit method="post" action=(PATH) {
            (csrf(visitor))
            input type="hidden" name="setting" value=(id);
            input type="hidden" name="if_version" value=(all.override_version);
            div.field {
                label for=(format!("{id}-value")) { "Set to" }
                @if setting == Setting::AutofixEnabled {
                    select id=(format!("{id}-value")) name="value" {
                        @for (value, word) in [("true", "on"), ("false", "off")] {
                            option value=(value) selected[typed == value] { (word) }
                        }
                    }
                } @else {
                    input id=(format!("{id}-value")) name="value" type="text" inputmode="numeric" size="6" required
                        value=(typed) autocomplete="off" aria-invalid=[refused.map(|_| "true")]
                        aria-describedby=[refused.map(|_| help.as_str())];
                }
            }
            @if let Some(refused) = refused { p.field-problem id=(help) role="alert" { (refused.problem) } }
            div.field.wide {
                label for=(format!("{id}-reason")) { "Why " span.fine { "(optional)" } }
                input id=(format!("{id}-reason")) name="reason" type="text" maxlength=(REASON_CHARS_MAX) autocomplete="off";
            }
            div.buttons {
                button.primary type="submit" name="action" value="save" { "Save" span.sr { " " (id) } }
                @if is_own { button type="submit" name="action" value="reset" formnovalidate { "Reset" span.sr { " " (id) } } }
            }
        }
    }
}

fn scheduled(all: &ExplainResponse, now: Timestamp) -> Markup {
    html! {
        @if !all.scheduled.is_empty() {
            section { h2 { "Scheduled" } div.card { ul.plain {
                @for change in &all.scheduled {
                    li {
                        @if let Some(at) = change.effective_at.as_ref().map(instant) { time datetime=(at) { (shown(at)) } " " }
                        (layer(change.layer)) " " (overrides(change.overrides.as_ref()))
                        " by " (plain(&change.author))
                        @if let Some(at) = change.created_at.as_ref().map(instant) { " " (time(at, now)) }
                        @if !change.reason.is_empty() { ": " (plain(&change.reason)) }
                    }
                }
            } } }
        }
    }
}

fn overrides(set: Option<&Overrides>) -> Markup {
    let set = set.copied().unwrap_or_default();
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    let all = [
        (Setting::AutofixEnabled, set.autofix_enabled.map(|v| v.to_string())),
        (Setting::MaxTotalAttempts, number(set.max_total_attempts)),
        (Setting::MaxPerStepAttempts, number(set.max_per_step_attempts)),
        (Setting::BackoffCapSeconds, number(set.backoff_cap_seconds)),
    ];
    let set: Vec<_> = all.into_iter().filter_map(|(s, v)| Some((s, v?))).collect();
    html! {
        @if set.is_empty() { span.fine { "nothing" } }
        @for (i, (setting, v)) in set.iter().enumerate() {
            @if i > 0 { ", " }
            code { (setting.as_str()) } " " (value(*setting, v))
        }
    }
}

fn history(changes: &[Change], now: Timestamp) -> Markup {
    html! {
        section aria-labelledby="history-title" {
            h2 id="history-title" { "Who changed what" }
            @if changes.is_empty() { div.empty { p { "Nobody has changed anything yet." } } } @else {
                div.card.flush {
                    table.history {
                        thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "Before" } th scope="col" { "After" } th scope="col" { "Why" } } }
                        tbody { @for change in changes { (changed(change, now)) } }
                    }
                }
            }
        }
    }
}

fn changed(change: &Change, now: Timestamp) -> Markup {
    let kind = match change.kind() {
        ChangeKind::Scheduled => Some("scheduled"),
        ChangeKind::Applied => Some("took effect"),
        ChangeKind::Canceled => Some("taken back"),
        ChangeKind::Written | ChangeKind::Unspecified => None,
    };
    html! {
        tr {
            td.when data-label="When" { @if let Some(at) = change.changed_at.as_ref().map(instant) { (time(at, now)) } }
            td data-label="Who" { span { (plain(&change.actor)) @if let Some(kind) = kind { " " (tag(kind)) }
                @if !change.run_id.is_empty() { " " a href=(format!("/runs/{}", change.run_id)) { "run" } } } }
            td data-label="Before" { span { (overrides(change.before.as_ref())) } }
            td data-label="After" { span { (overrides(change.after.as_ref())) } }
            td data-label="Why" { span { (plain(&change.reason)) } }
        }
    }
}

/// `POST /settings/builder/auto-fix`: one setting, saved or reset.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (visitor, fields) = Fields::of_signed_in(&app, request).await?;
    let setting: Setting =
        fields.text("setting").parse().map_err(|e: String| Problem::parameter("setting", e))?;
    let options = WriteOptions {
        if_version: fields.text("if_version").parse().ok(),
        reason: fields.text("reason").trim().to_owned(),
        ..WriteOptions::default()
    };
    let typed = fields.text("value").trim().to_owned();
    let (done, result) = match fields.text("action") {
        "reset" => ("reset", reset(&app, &visitor, setting, options).await),
        _ => ("saved", save(&app, &visitor, setting, &typed, options).await),
    };
    let problem = match result {
        Ok(()) => return Ok(Redirect::to(&back(PATH, done)).into_response()),
        Err(problem) => problem,
    };
    let text = match problem.status {
        StatusCode::BAD_REQUEST => {
            let entry = problem.errors.iter().find(|e| is_about(e.at.as_ref(), setting));
            entry.or(problem.errors.first()).map(|e| sentence(&e.detail)).unwrap_or_default()
        }
        StatusCode::CONFLICT => {
            "Somebody changed the settings since this page was made. Look at the value now, and \
             save again if you still want to."
                .to_owned()
        }
        _ => return Err(problem),
    };
    let refused = Refused { setting, value: typed, problem: text };
    page(&app, &visitor, html! {}, Some(&refused)).await
}

fn is_about(at: Option<&At>, setting: Setting) -> bool {
    matches!(at, Some(At::Pointer(pointer)) if pointer.ends_with(setting.as_str()))
}

async fn save(
    app: &App,
    visitor: &Visitor,
    setting: Setting,
    typed: &str,
    options: WriteOptions,
) -> Result<(), Problem> {
    let overrides = read(setting, typed)?;
    let request = SetOverridesRequest {
        run_id: String::new(),
        overrides: Some(overrides),
        patch: true,
        options: Some(options),
    };
    let caller = &visitor.caller;
    caller.ask(app.peers.flags().set_overrides(caller.message(request))).await?;
    Ok(())
}

async fn reset(
    app: &App,
    visitor: &Visitor,
    setting: Setting,
    options: WriteOptions,
) -> Result<(), Problem> {
    let request = ClearOverridesRequest {
        run_id: String::new(),
        settings: vec![setting.as_str().to_owned()],
        options: Some(options),
    };
    let caller = &visitor.caller;
    caller.ask(app.peers.flags().clear_overrides(caller.message(request))).await?;
    Ok(())
}

/// What somebody typed, as an override of that setting.
fn read(setting: Setting, typed: &str) -> Result<Overrides, Problem> {
    let unfit = |expected: &str| {
        let text = format!("{} is not valid (expected {expected})", crate::problem::shown(typed));
        Problem::bad("invalid_field", text)
    };
    let number = || {
        let (_, _, range) = about(setting);
        typed.parse::<u32>().map_err(|_| unfit(&format!("a whole number from {range}")))
    };
    let mut set = Overrides::default();
    match setting {
        Setting::AutofixEnabled => {
            set.autofix_enabled = Some(typed.parse().map_err(|_| unfit("true or false"))?);
        }
        Setting::MaxTotalAttempts => set.max_total_attempts = Some(number()?),
        Setting::MaxPerStepAttempts => set.max_per_step_attempts = Some(number()?),
        Setting::BackoffCapSeconds => set.backoff_cap_seconds = Some(number()?),
    }
    Ok(set)
}
