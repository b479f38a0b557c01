//! The orchestrator's own tasks: classify a failure and decide, ask a model, let the guard look at a
//! patch, tell what came of a fixer, end the time of a gate. The adapter to the services stands here.

mod decide;
mod draft;
mod record;
mod review;

pub use draft::{context_of, edits_of};
pub use review::before_of;

use crate::core::queue::Task;
use crate::core::ready::Offer;
use crate::core::run::Run;
use crate::core::transition::{Input, TaskKind};
use crate::settings::RunSettings;
use crate::shell::{Engine, Finish, Leased};
use meta_domain::autofix::{Decision, TryVerdict};
use meta_domain::failure::FailureType;
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::id::RunId;
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_domain::role::{Principal, Role};
use meta_domain::signal::{Signal, UnknownReason};
use meta_proto::autofixer::autofixer_service_client::AutofixerServiceClient;
use meta_proto::classifier::classifier_service_client::ClassifierServiceClient;
use meta_proto::convert::Field;
use meta_proto::status::from_status;
use meta_runtime::Transport;
use meta_telemetry::trace::{KeyValue, Kind, Span};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a peer may take.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// Own tasks at work at once.
const CONCURRENCY: usize = 4;
/// How often a peer may refuse a failure before a human is asked.
const REFUSALS_MAX: i64 = 5;
/// Wait before a task whose peer was away is tried again, in milliseconds.
const PEER_AWAY_MS: i64 = 1_000;
/// How often a lease is renewed while its task is at work, within its time.
const RENEWALS: i64 = 3;
/// How often a busy model is asked again before its fixer counts as broken.
const BUSY_MAX: i64 = 10;
/// The longest wait for a busy model, in milliseconds.
const BUSY_MS_MAX: i64 = 600_000;
/// How often the auto-fixer is told something that it refuses.
const TELL_MAX: i64 = 10;

/// Carries out the orchestrator's own tasks.
#[derive(Clone)]
pub struct Judge {
    engine: Engine,
    classifier: ClassifierServiceClient<Transport>,
    autofixer: AutofixerServiceClient<Transport>,
    settings: RunSettings,
    only: Option<RunId>,
}

impl Judge {
    /// Over an engine and the three services.
    pub fn new(
        engine: Engine,
        classifier: Transport,
        autofixer: Transport,
        settings: RunSettings,
        only: Option<RunId>,
    ) -> Self {
        let classifier = ClassifierServiceClient::new(classifier)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let autofixer = AutofixerServiceClient::new(autofixer)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { engine, classifier, autofixer, settings, only }
    }

    /// Works until stopped.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.settings.known() => {}
            () = stop.cancelled() => return,
        }
        let owner = format!("orchestrator:{}", meta_runtime::new_id());
        let offer =
            Offer { owner, internal: true, only: self.only, labels: Vec::new(), others: false };
        let mut tasks = JoinSet::new();
        while !stop.is_cancelled() {
            while tasks.try_join_next().is_some() {}
            let room = CONCURRENCY - tasks.len();
            if room == 0 {
                tasks.join_next().await;
                continue;
            }
            let Ok(answer) = self.engine.poll(offer.clone(), room).await else { break };
            tokio::select! {
                () = stop.cancelled() => break,
                leased = answer => for leased in leased.unwrap_or_default() {
                    let (judge, span) = (self.clone(), traced(&leased));
                    tasks.spawn(async move {
                        let work = Box::pin(judge.carry_out(leased.task));
                        span.carry(work).await;
                    });
                },
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn carry_out(mut self, task: Task) {
        let Err(fault) = self.work_on_a_lease(&task).await else { return };
        let gone = fault.kind == ErrorKind::FailedPrecondition || fault.kind == ErrorKind::NotFound;
        let at = self.engine.clock.now();
        let refused = fault.reason == "PEER_REFUSED";
        let result = if gone {
            tracing::debug!(%fault, task = %task.id, "the task is out of date");
            self.engine.forget(task.id, task.epoch, task.run).await
        } else if fault.kind == ErrorKind::Conflict {
            tracing::debug!(%fault, task = %task.id, "deciding again");
            self.engine.release(&task, at, false).await
        } else if task.kind == TaskKind::Record && refused && task.tries >= TELL_MAX {
            tracing::error!(%fault, task = %task.id, "the auto-fixer does not want to know");
            self.engine.forget(task.id, task.epoch, task.run).await
        } else if fault.reason == draft::BUSY && task.tries >= BUSY_MAX {
            return self.model_stays_busy(&task, &fault).await;
        } else if refused && task.kind != TaskKind::Record && task.tries >= REFUSALS_MAX {
            tracing::error!(%fault, task = %task.id, "asking a human");
            return self.ask_a_human(&task, &fault).await;
        } else {
            let wait = wait_ms(&task, &fault);
            tracing::warn!(%fault, task = %task.id, kind = %task.kind, wait, "trying again");
            self.engine.release(&task, at.plus_ms(wait), false).await
        };
        if let Err(fault) = result {
            // The lease runs out by itself, and the task is carried out again.
            tracing::warn!(%fault, task = %task.id, "cannot give a task back");
        }
    }

    /// Works, and renews the lease meanwhile: a model may take minutes.
    async fn work_on_a_lease(&mut self, task: &Task) -> Result<(), Fault> {
        let engine = self.engine.clone();
        let every = u64::try_from(engine.lease_ms() / RENEWALS).unwrap_or(1);
        let mut work = std::pin::pin!(self.work(task));
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(every)) => {
                    if !engine.renew(&[(task.id, task.epoch)]).await?.is_empty() {
                        return Err(crate::shell::lease_lost());
                    }
                }
            }
        }
    }

    /// The model's endpoint did not answer for long: its fixer counts as broken, the step goes on.
    async fn model_stays_busy(&self, task: &Task, fault: &Fault) {
        let Some(run) = task.run else { return };
        let input = Input::Drafted {
            step: task.step.clone(),
            result: Err((TryVerdict::FixerError, fault.message.clone())),
            tokens: 0,
        };
        let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
        if let Err(fault) = self.engine.advance(run, input, finish).await {
            tracing::warn!(%fault, task = %task.id, "cannot go on without the model; its lease runs out");
        }
    }

    /// A peer refuses this failure for good (a log that breaks it, versions that do not fit): the run
    /// must not hang on that.
    async fn ask_a_human(&self, task: &Task, fault: &Fault) {
        let Some(run) = task.run else { return };
        let asked = async {
            let loaded = self.engine.load(run).await?;
            let known = loaded.step(&task.step).and_then(|s| s.signal.clone());
            let reason = format!("a service refuses to look at this failure: {fault}");
            let input = Input::Judged {
                step: task.step.clone(),
                signal: known.unwrap_or_else(|| unreadable(&reason)),
                decision: Decision::ManualIntervention {
                    gate: GateType::Unknown,
                    effect: GateEffect::Retry,
                    reason,
                },
                paid: loaded.paid_attempts().count(),
            };
            let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
            self.engine.advance(run, input, finish).await
        };
        if let Err(fault) = asked.await {
            tracing::error!(%fault, task = %task.id, "could not ask a human; its lease runs out");
        }
    }

    async fn work(&mut self, task: &Task) -> Result<(), Fault> {
        if task.kind == TaskKind::Record {
            self.record(task).await?;
            return self.engine.forget(task.id, task.epoch, None).await;
        }
        let id = task.run.ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", "(none)"))?;
        let mut finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
        if task.kind == TaskKind::Deadline {
            return self.engine.advance(id, Input::TimedOut, finish).await.map(drop);
        }
        let run = self.engine.load(id).await?;
        let step = run
            .step(&task.step)
            .ok_or_else(|| Fault::not_found("STEP_NOT_FOUND", "step", &task.step))?;
        let input = match task.kind {
            TaskKind::Judge => self.judge(&run, step).await?,
            TaskKind::Review => self.review(&run, step).await?,
            TaskKind::Draft => {
                let (input, artifacts) = self.draft(&run, step).await?;
                finish.artifacts = artifacts;
                input
            }
            TaskKind::Expire => Input::GateExpired { step: task.step.clone() },
            _ => return Err(Fault::not_found("TASK_NOT_FOUND", "task", task.id)),
        };
        self.engine.advance(id, input, finish).await.map(|_| ())
    }
}

/// A task as a part of its run's trace, if that has one.
fn traced(leased: &Leased) -> Span {
    let task = &leased.task;
    let Some(place) = leased.run.as_ref().and_then(|run| run.place_of(&task.step)) else {
        return Span::none();
    };
    Span::under(place, Kind::Consumer, format_args!("{} {}", task.kind, task.step), || {
        vec![
            KeyValue::new("metabuilder.task.kind", task.kind.as_str()),
            KeyValue::new("cicd.pipeline.task.name", task.step.clone()),
        ]
    })
}

/// Measures what the loop spends time on.
fn spent(operation: &'static str, began: Instant) {
    meta_telemetry::catalogue::AUTOFIX_PROCESSING.record(&[operation], began.elapsed());
}

/// How long a task waits before it is tried again: as long as a busy model asked for, else longer
/// each time.
fn wait_ms(task: &Task, fault: &Fault) -> i64 {
    let growing = PEER_AWAY_MS << task.tries.clamp(0, 6);
    if fault.reason != draft::BUSY {
        return growing;
    }
    let asked = fault.retry_after.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
    asked.max(growing).min(BUSY_MS_MAX)
}

/// The orchestrator itself, acting for a run's tenant.
pub fn machine(run: &Run) -> Principal {
    Principal { tenant: run.tenant, role: Role::Admin, actor: "orchestrator".to_owned() }
}

fn peer(name: &'static str) -> impl Fn(tonic::Status) -> Fault {
    move |status| {
        let got = from_status(&status);
        // Credentials that are not taken say nothing of the failure that is asked about: a clock is
        // off, or a secret is being changed.
        let passing = got.kind.is_transient()
            || matches!(
                got.kind,
                ErrorKind::DeadlineExceeded
                    | ErrorKind::Unauthenticated
                    | ErrorKind::PermissionDenied
            );
        let reason = if passing { "PEER_UNAVAILABLE" } else { "PEER_REFUSED" };
        let text = format!("{name}: {} ({})", got.message, got.reason);
        Fault::new(ErrorKind::Unavailable, reason, text).retry_after(Duration::from_secs(1))
    }
}

/// The signal of a failure that no classifier would look at.
fn unreadable(reason: &str) -> Signal {
    Signal {
        failure_type: FailureType::Unknown,
        source: "classifier_refused".to_owned(),
        message: reason.to_owned(),
        severity: FailureType::Unknown.policy().severity,
        can_retry: false,
        requires_replan: false,
        confidence: 0.0,
        evidence: Vec::new(),
        locations: Vec::new(),
        tool: String::new(),
        fingerprint: "classifier_refused".to_owned(),
        retry_after_ms: None,
        runner_up: None,
        unknown_reason: Some(UnknownReason::NoRule),
    }
}

fn garbled(name: &'static str) -> impl Fn(InvalidField) -> Fault {
    move |field| {
        let field: Result<(), _> = Err(field).field(name);
        let text = field.err().map(|f| f.to_string()).unwrap_or_default();
        Fault::new(ErrorKind::Internal, "PEER_REFUSED", text)
    }
}
