//! Starting a run, and waiting for it when the caller wants to.

use super::App;
use crate::auth::{Caller, ask_within};
use crate::body::Payload;
use crate::document::{Answer, Document};
use crate::idempotency::{Creation, Key, once, reused};
use crate::params::id;
use crate::problem::Problem;
use crate::view;
use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use meta_domain::fault::InvalidField;
use meta_domain::id::{PlanId, SpecId};
use meta_domain::settings::Overrides;
use meta_domain::status::RunStatus;
use meta_proto::convert::word_opt;
use meta_proto::orchestrator as pb;
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Range of `max_iterations`.
const ITERATIONS: RangeInclusive<u32> = 1..=20;
/// How often at most a waiting request looks at its run.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRun {
    plan_id: Option<String>,
    max_iterations: Option<u32>,
    #[serde(default = "yes", rename = "async")]
    in_background: bool,
    settings: Option<Overrides>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    timeout_seconds: u64,
    gates: Option<GatePolicy>,
}

/// How the run's gates are decided; what is not named comes from the service's configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatePolicy {
    expires_after_seconds: Option<u64>,
    on_expiry: Option<OnExpiry>,
    four_eyes: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnExpiry {
    Fail,
    Cancel,
}

impl From<&GatePolicy> for pb::GatePolicy {
    fn from(policy: &GatePolicy) -> Self {
        let on_expiry = match policy.on_expiry {
            None => pb::ExpiryAction::Unspecified,
            Some(OnExpiry::Fail) => pb::ExpiryAction::Fail,
            Some(OnExpiry::Cancel) => pb::ExpiryAction::Cancel,
        };
        Self {
            expires_after_seconds: policy.expires_after_seconds,
            on_expiry: on_expiry.into(),
            four_eyes: policy.four_eyes,
        }
    }
}

fn yes() -> bool {
    true
}

/// `POST /specs/{spec_id}/runs`: answers at once, or with `async: false` when the run has ended or
/// waits for a human, at the latest after the configured time.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(spec_id): Path<String>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let spec_id: SpecId = id("spec_id", &spec_id)?;
    let new: NewRun = payload.read_or_empty()?;
    let wait = !new.in_background;
    let mut request = message(spec_id, &new).map_err(|f| Problem::fields("invalid_field", &f))?;
    let key = Key::read(&headers)?;
    if let Some(key) = &key {
        request.request_id = key.request_id(caller.principal.tenant).to_string();
    }
    let creation = Creation {
        caller: &caller,
        headers: &headers,
        route: format!("POST /specs/{spec_id}/runs"),
        body: payload.bytes(),
        takes: Duration::from_millis(app.config.run_wait_ms),
    };
    let (peers, asking) = (app.peers.clone(), caller.clone());
    let work = async move {
        let mut runs = app.peers.runs();
        let answer = runs.create_run(asking.message(request));
        let (made, quota) = asking.ask_counted(asking.timeout(), answer).await?;
        let mut run = made.run.unwrap_or_default();
        if run.spec_id != spec_id.to_string() {
            return Err(reused("a run of another spec"));
        }
        if wait {
            run = settled(&app, &asking, run).await?;
        }
        let location = format!("/runs/{}", run.id);
        Ok(Answer::created(Document::of(view::run::run(&run))).found_at(&location).counted(quota))
    };
    once(&peers, creation, Box::pin(work)).await
}

fn message(spec_id: SpecId, new: &NewRun) -> Result<pb::CreateRunRequest, Vec<InvalidField>> {
    let mut faults = Vec::new();
    let plan_id = new.plan_id.as_deref().map(str::parse::<PlanId>).transpose();
    let plan_id = plan_id.unwrap_or_else(|e| {
        faults.push(InvalidField::new("plan_id", e.to_string()));
        None
    });
    if let Some(n) = new.max_iterations.filter(|n| !ITERATIONS.contains(n)) {
        let (low, high) = (ITERATIONS.start(), ITERATIONS.end());
        let problem = format!("{n} is out of range (expected {low} to {high})");
        faults.push(InvalidField::new("max_iterations", problem));
    }
    if let Some(Err(more)) = new.settings.as_ref().map(Overrides::check) {
        faults.extend(more.into_iter().map(|f| f.within("settings")));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(pb::CreateRunRequest {
        spec_id: spec_id.to_string(),
        plan_id: plan_id.map(|id| id.to_string()).unwrap_or_default(),
        max_iterations: new.max_iterations.unwrap_or(0),
        overrides: new.settings.map(Into::into),
        priority: new.priority,
        timeout_seconds: new.timeout_seconds,
        gates: new.gates.as_ref().map(Into::into),
        ..pb::CreateRunRequest::default()
    })
}

/// Follows a run until it has ended, waits for a human, or the time is over; then says how it is.
async fn settled(app: &App, caller: &Caller, run: pb::Run) -> Result<pb::Run, Problem> {
    let limit = Duration::from_millis(app.config.run_wait_ms);
    let until = Instant::now() + limit;
    let follow = pb::StreamEventsRequest { run_id: run.id.clone(), after_seq: 0, follow: true };
    let message = caller.message_within(limit, follow);
    let open = app.config.request_timeout();
    let mut events = ask_within(open, app.peers.runs().stream_events(message)).await?;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed = true;
    loop {
        tokio::select! {
            event = events.message() => match event? {
                Some(_) => changed = true,
                None => break,
            },
            _ = look.tick(), if changed => {
                changed = false;
                let run = current(app, caller, &run.id).await?;
                if is_settled(&run) {
                    return Ok(run);
                }
            }
            () = tokio::time::sleep_until(until) => break,
            () = app.stopping.cancelled() => break,
        }
    }
    current(app, caller, &run.id).await
}

async fn current(app: &App, caller: &Caller, run_id: &str) -> Result<pb::Run, Problem> {
    let message = caller.message(pb::GetRunRequest { run_id: run_id.to_owned() });
    Ok(caller.ask(app.peers.runs().get_run(message)).await?.run.unwrap_or_default())
}

fn is_settled(run: &pb::Run) -> bool {
    let status = word_opt::<RunStatus>("status", run.status).ok().flatten();
    status.is_some_and(|s| s.is_terminal() || s == RunStatus::PausedAwaitingApproval)
}
