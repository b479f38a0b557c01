//! The orchestrator's own tasks: classify a failure and decide, and let the guard look at a patch.
//! The adapter to the three services stands here.

use crate::core::run::{Patch, Phase, Run, State, Step};
use crate::core::transition::{Input, TaskKind};
use crate::engine::Engine;
use crate::settings::RunSettings;
use crate::store::{Claimed, Finish};
use meta_domain::autofix::{Case, Decision, GuardVerdict};
use meta_domain::failure::FailureType;
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::gate::{GateEffect, GateType};
use meta_domain::id::RunId;
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_domain::role::{Principal, Role};
use meta_domain::signal::{Signal, UnknownReason};
use meta_proto::autofixer::autofixer_service_client::AutofixerServiceClient;
use meta_proto::classifier::classifier_service_client::ClassifierServiceClient;
use meta_proto::convert::{Field, Number, Required};
use meta_proto::{autofixer as apb, classifier as cpb, status::from_status};
use meta_runtime::{Transport, call, now};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a peer may take.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// Lease of an own task, in milliseconds.
const LEASE_MS: i64 = 120_000;
/// Own tasks at work at once.
const CONCURRENCY: usize = 4;
/// How often a peer may refuse a failure before a human is asked.
const REFUSALS_MAX: i64 = 5;
/// Wait before a task whose peer was away is tried again, in milliseconds.
const PEER_AWAY_MS: i64 = 1_000;

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
        let mut changes = self.engine.changes();
        let mut tasks = JoinSet::new();
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            while tasks.try_join_next().is_some() {}
            let claimed = if tasks.len() < CONCURRENCY {
                let tables = &self.engine.tables;
                tables.claim(&owner, true, self.only, now(), LEASE_MS).await
            } else {
                Ok(None)
            };
            match claimed {
                Ok(Some(task)) => {
                    let judge = self.clone();
                    tasks.spawn(async move { judge.carry_out(task).await });
                }
                Ok(None) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = Engine::wait(&mut changes, Duration::from_secs(1)) => {}
                        Some(_) = tasks.join_next() => {}
                    }
                }
                Err(error) => {
                    let fault = Fault::from(error);
                    tracing::warn!(%fault, "cannot claim a task");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn carry_out(mut self, task: Claimed) {
        let Err(fault) = self.work(&task).await else { return };
        let gone = fault.kind == ErrorKind::FailedPrecondition || fault.kind == ErrorKind::NotFound;
        let tables = self.engine.tables.clone();
        let result = if gone {
            tracing::debug!(%fault, task = %task.id, "the task is out of date");
            tables.forget(task.id, task.epoch).await
        } else if fault.kind == ErrorKind::Conflict {
            tracing::debug!(%fault, task = %task.id, "deciding again");
            tables.release(task.id, task.epoch, now()).await.map(|_| self.engine.notify())
        } else if fault.reason == "PEER_REFUSED" && task.tries >= REFUSALS_MAX {
            tracing::error!(%fault, task = %task.id, "asking a human");
            return self.ask_a_human(&task, &fault).await;
        } else {
            let wait = PEER_AWAY_MS << task.tries.clamp(0, 6);
            tracing::warn!(%fault, task = %task.id, kind = %task.kind, wait, "trying again");
            tables.release(task.id, task.epoch, now().plus_ms(wait)).await.map(|_| ())
        };
        if let Err(error) = result {
            // The lease runs out by itself, and the task is carried out again.
            tracing::warn!(fault = %Fault::from(error), task = %task.id, "cannot give a task back");
        }
    }

    /// A peer refuses this failure for good (a log that breaks it, versions that do not fit): the run
    /// must not hang on that.
    async fn ask_a_human(&self, task: &Claimed, fault: &Fault) {
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

    async fn work(&mut self, task: &Claimed) -> Result<(), Fault> {
        let id = task.run.ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", "(none)"))?;
        let run = self.engine.load(id).await?;
        let step = run
            .step(&task.step)
            .ok_or_else(|| Fault::not_found("STEP_NOT_FOUND", "step", &task.step))?;
        let input = match task.kind {
            TaskKind::Judge => self.judge(&run, step).await?,
            TaskKind::Review => self.review(&run, step).await?,
            _ => return Err(Fault::not_found("TASK_NOT_FOUND", "task", task.id)),
        };
        let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
        self.engine.advance(id, input, finish).await.map(|_| ())
    }

    async fn judge(&mut self, run: &Run, step: &Step) -> Result<Input, Fault> {
        let signal = match &step.signal {
            Some(known) => known.clone(),
            None => self.classify(run, step).await?,
        };
        let mut types = run.failure_types.clone();
        if step.signal.is_none() {
            types.push(signal.failure_type);
        }
        let case = self.case(run, step, signal.clone(), types).await?;
        let request = apb::DecideRequest { case: Some(case.into()) };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer = self.autofixer.decide(request).await.map_err(peer("autofixer"))?.into_inner();
        let decision = answer.decision.required("decision").map_err(garbled("autofixer"))?;
        let decision = Decision::try_from(decision).map_err(garbled("autofixer"))?;
        let paid = run.paid_attempts().count();
        Ok(Input::Judged { step: step.planned.name.clone(), signal, decision, paid })
    }

    async fn classify(&mut self, run: &Run, step: &Step) -> Result<Signal, Fault> {
        let log = match step.logs.iter().rev().find(|l| !l.verification) {
            Some(log) => self.engine.logs.text(run.id, &log.name).await?,
            None => Vec::new(),
        };
        let of_step = run
            .attempts
            .iter()
            .filter(|a| a.step == step.planned.name && a.is_paid())
            .map(|a| a.signal.failure_type.number())
            .collect();
        let context = cpb::ClassifyContext {
            step_name: step.planned.name.clone(),
            command: step.planned.run.to_string(),
            exit: step.exit.map(Into::into),
            previous_types_of_step: of_step,
            types_of_run: run.failure_types.iter().copied().map(Number::number).collect(),
        };
        let request = cpb::ClassifyRequest { context: Some(context), log };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer =
            self.classifier.classify(request).await.map_err(peer("classifier"))?.into_inner();
        let signal = answer.signal.required("signal").map_err(garbled("classifier"))?;
        Signal::try_from(signal).map_err(garbled("classifier"))
    }

    async fn case(
        &mut self,
        run: &Run,
        step: &Step,
        signal: Signal,
        failure_types_of_run: Vec<FailureType>,
    ) -> Result<Case, Fault> {
        let name = &step.planned.name;
        let files = self.engine.tables.artifact(run.id, "files").await?.unwrap_or_default();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Case {
            step: step.planned.clone(),
            exit: step.exit.unwrap_or_default(),
            signal,
            settings: self.settings.of_run(&machine(run), run.id),
            history: run.history(name),
            tried: step.tries.clone(),
            attempts_of_run: count(run.paid_attempts().count()),
            failure_types_of_run,
            parallel_steps: run.graph.beside(name),
            replans_of_run: count(run.deltas.len()),
            files: serde_json::from_slice(&files).unwrap_or_default(),
            patched: run.is_patched(name),
            bot_commits_in_a_row: 0,
            plan: run.graph.steps.clone(),
        })
    }

    async fn review(&mut self, run: &Run, step: &Step) -> Result<Input, Fault> {
        let name = step.planned.name.clone();
        let out_of_date = || Fault::not_found("PATCH_NOT_FOUND", "patch of step", &name);
        let State::Healing(healing) = &step.state else { return Err(out_of_date()) };
        let (Some(fixer), Some(patch), Phase::Reviewing) =
            (healing.fixer(), &healing.patch, healing.phase)
        else {
            return Err(out_of_date());
        };
        let request = apb::ReviewPatchRequest {
            patch: patch.text.clone().into_bytes(),
            fixer: Some(fixer.clone().into()),
            step: Some(step.planned.clone().into()),
            signal: step.signal.clone().map(Into::into),
            case: None,
            before: Vec::new(),
        };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer =
            self.autofixer.review_patch(request).await.map_err(peer("autofixer"))?.into_inner();
        let verdict = match answer.verdict() {
            apb::GuardVerdict::Accept => GuardVerdict::Accept,
            apb::GuardVerdict::NeedsApproval => {
                GuardVerdict::NeedsApproval { reason: answer.reason.clone() }
            }
            apb::GuardVerdict::Reject => GuardVerdict::Reject { reason: answer.reason.clone() },
            apb::GuardVerdict::Unspecified => {
                let field = InvalidField::new("verdict", "is unspecified");
                return Err(garbled("autofixer")(field));
            }
        };
        let patch = Patch {
            text: patch.text.clone(),
            sha256: answer.sha256,
            files: answer.files,
            added: answer.added,
            removed: answer.removed,
        };
        Ok(Input::Reviewed { step: name, verdict, patch })
    }
}

/// The orchestrator itself, acting for a run's tenant.
pub fn machine(run: &Run) -> Principal {
    Principal { tenant: run.tenant, role: Role::Admin, actor: "orchestrator".to_owned() }
}

fn peer(name: &'static str) -> impl Fn(tonic::Status) -> Fault {
    move |status| {
        let got = from_status(&status);
        let passing = got.kind.is_transient() || got.kind == ErrorKind::DeadlineExceeded;
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
