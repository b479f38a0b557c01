//! The queue's shell: runners poll, report, and complete.

use super::{invalid, refuse, store};
use crate::core::event::Execution;
use crate::core::evidence::{Check, Evidence, TestCount, put_back, siblings};
use crate::core::run::{Phase, Run, State, Step};
use crate::core::transition::{Input, TaskKind};
use crate::engine::{Engine, lease_lost, stopping};
use crate::judge::{before_of, context_of, edits_of};
use crate::logs::{Logs, Owned, Record};
use crate::store::{Claimed, Claimer, Finish};
use meta_domain::autofix::{FileEdit, FixerKind, SourceFile, TryVerdict};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId};
use meta_domain::signal::ExitInfo;
use meta_domain::source::SourceListing;
use meta_domain::time::Timestamp;
use meta_proto::convert::{instant, parse, parse_opt, timestamp, word_opt};
use meta_proto::runner as pb;
use meta_proto::runner::work_service_server::WorkService;
use meta_runtime::now;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};

/// How long a lease holds without a heartbeat, in milliseconds.
const LEASE_MS: i64 = 15_000;
/// The longest poll, in milliseconds.
const POLL_MS_MAX: u64 = 30_000;
/// How often a task may be leased before its loss is taken for its own fault.
const LEASES_MAX: i64 = 4;
/// Backoff of a task that its runner could not carry out: this times two to the tries.
const RETRY_BASE_MS: i64 = 500;
/// A runner that did not ask for work for so long is not there, in milliseconds.
const RUNNER_GONE_MS: u64 = 60_000;
/// How long a flake is remembered when patches are verified, in milliseconds.
const FLAKY_MS: i64 = 30 * 24 * 3_600_000;
/// Bytes of a failed attempt's log that a fixer gets.
const FIXER_LOG_BYTES_MAX: usize = 1024 * 1024;

/// The shell.
#[derive(Clone)]
pub struct Work {
    /// The runs.
    pub engine: Engine,
    /// When each runner last asked for work.
    pub seen: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl Work {
    /// Notes that a runner is there; answers whether others are.
    fn others_than(&self, runner: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, at| now().since_ms(*at) <= RUNNER_GONE_MS);
        seen.insert(runner.to_owned(), now());
        seen.len() > 1
    }

    /// Leases the next task and tells the run; a task that no longer fits its run is dropped.
    async fn next(&self, runner: &str, only: Option<RunId>) -> Result<Option<pb::Task>, Fault> {
        let tables = &self.engine.tables;
        let others = self.others_than(runner);
        loop {
            let due = tables.next_due(false, only).await?;
            if due.is_none_or(|d| d > now()) {
                return Ok(None);
            }
            let claimer = Claimer { owner: runner, internal: false, only, others };
            let claimed = tables.claim(claimer, now(), LEASE_MS).await?;
            let Some(claimed) = claimed else { return Ok(None) };
            match self.hand_out(runner, &claimed).await {
                Ok(Some(task)) => return Ok(Some(task)),
                Ok(None) => {}
                Err(fault)
                    if matches!(
                        fault.kind,
                        ErrorKind::FailedPrecondition | ErrorKind::NotFound
                    ) =>
                {
                    tracing::info!(%fault, task = %claimed.id, "dropping a task that is out of date");
                    tables.forget(claimed.id, claimed.epoch).await?;
                }
                Err(fault) => {
                    tables.release(claimed.id, claimed.epoch, now().plus_ms(1_000)).await?;
                    return Err(fault);
                }
            }
        }
    }

    async fn hand_out(&self, runner: &str, task: &Claimed) -> Result<Option<pb::Task>, Fault> {
        let Some(id) = task.run else {
            if task.tries > LEASES_MAX {
                let lost: Result<SourceListing, String> =
                    Err(format!("{} runners were lost over reading it", task.tries - 1));
                let text = serde_json::to_string(&lost).unwrap_or_default();
                self.engine.tables.finish_inspection(task.id, task.epoch, &text).await?;
                self.engine.notify();
                return Ok(None);
            }
            let work = inspect_work(&task.payload)?;
            return Ok(Some(wire(task, work)));
        };
        let run = self.engine.load(id).await?;
        if task.tries > LEASES_MAX {
            self.lost_too_often(&run, task).await?;
            return Ok(None);
        }
        let run = match task.kind {
            TaskKind::Step => {
                let log = Logs::name(task.id, task.epoch);
                let input =
                    Input::StepStarted { step: task.step.clone(), log, runner: runner.to_owned() };
                self.engine.advance(id, input, held(task)).await?
            }
            TaskKind::Verify => {
                let log = Logs::name(task.id, task.epoch);
                let input = Input::VerificationStarted { step: task.step.clone(), log };
                self.engine.advance(id, input, held(task)).await?
            }
            _ => run,
        };
        let work = self.work_of(&run, task).await?;
        Ok(Some(wire(task, work)))
    }

    /// Each lease of the task ended with its runner: the step itself may be what kills runners.
    async fn lost_too_often(&self, run: &Run, task: &Claimed) -> Result<(), Fault> {
        let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
        let executing = run.step(&task.step).is_some_and(|s| s.state == State::Executing);
        let input = if task.kind == TaskKind::Step && executing {
            let exit = ExitInfo { runner_lost: true, ..ExitInfo::default() };
            Input::StepFinished {
                step: task.step.clone(),
                execution: Execution { exit, ..Execution::default() },
                commit: String::new(),
            }
        } else {
            Input::TaskFailed {
                kind: task.kind,
                step: task.step.clone(),
                message: format!("{} runners were lost over it", task.tries - 1),
            }
        };
        self.engine.advance(run.id, input, finish).await.map(|_| ())
    }

    async fn work_of(&self, run: &Run, task: &Claimed) -> Result<pb::task::Work, Fault> {
        let step = run.step(&task.step);
        let needed = || step.ok_or_else(|| Fault::not_found("STEP_NOT_FOUND", "step", &task.step));
        Ok(match task.kind {
            TaskKind::Prepare => {
                pb::task::Work::Prepare(pb::PrepareWork { source: Some(run.source.clone().into()) })
            }
            TaskKind::Step => {
                let step = needed()?;
                pb::task::Work::Step(pb::StepWork {
                    step: Some(step.planned.clone().into()),
                    attempt: step.executions,
                    restore: step.executions > 1,
                    cache_key: run.cache_key.clone(),
                    mount: run.mount.clone(),
                    head: run.head.clone(),
                })
            }
            TaskKind::Propose => self.propose_work(run, needed()?).await?,
            TaskKind::Verify => self.verify_work(run, needed()?).await?,
            TaskKind::Collect => {
                let State::Healing(healing) = &needed()?.state else { return Err(lease_lost()) };
                let plan = healing.fixer().map(|f| f.context.clone().into());
                pb::task::Work::Collect(pb::CollectWork { plan, head: run.head.clone() })
            }
            TaskKind::Commit => commit_work(run, needed()?)?,
            TaskKind::Rollback => {
                pb::task::Work::Rollback(pb::RollbackWork { head: run.head.clone() })
            }
            TaskKind::Inspect
            | TaskKind::Judge
            | TaskKind::Review
            | TaskKind::Draft
            | TaskKind::Record
            | TaskKind::Expire => {
                return Err(Fault::not_found("TASK_NOT_FOUND", "task", task.id));
            }
        })
    }

    async fn propose_work(&self, run: &Run, step: &Step) -> Result<pb::task::Work, Fault> {
        let State::Healing(healing) = &step.state else { return Err(lease_lost()) };
        let log = match step.logs.iter().rev().find(|l| !l.verification) {
            Some(log) => self.engine.logs.text((run.tenant, run.id), &log.name).await?,
            None => Vec::new(),
        };
        let from = log.len().saturating_sub(FIXER_LOG_BYTES_MAX);
        let edits: Vec<FileEdit> = if healing.fixer().is_some_and(|f| f.kind == FixerKind::Model) {
            let name = edits_of(&step.planned.name);
            let body = self.engine.tables.artifact(run.id, &name).await?.unwrap_or_default();
            serde_json::from_slice(&body).unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(pb::task::Work::Propose(pb::ProposeWork {
            step: Some(step.planned.clone().into()),
            fixer: healing.fixer().cloned().map(Into::into),
            signal: step.signal.clone().map(Into::into),
            log: log[from..].to_vec(),
            cache_key: run.cache_key.clone(),
            mount: run.mount.clone(),
            edits: edits.into_iter().map(Into::into).collect(),
            head: run.head.clone(),
        }))
    }

    async fn verify_work(&self, run: &Run, step: &Step) -> Result<pb::task::Work, Fault> {
        let State::Healing(healing) = &step.state else { return Err(lease_lost()) };
        let (Some(patch), Some(fixer)) = (&healing.patch, healing.fixer()) else {
            return Err(lease_lost());
        };
        let asks = healing.approval.is_some() || healing.approved_by.is_some();
        let put_back = put_back(step, fixer, asks);
        let since = now().plus_ms(-FLAKY_MS);
        let tables = &self.engine.tables;
        let mut flaky = tables.flaky_steps(run.tenant, &run.cache_key, since).await?;
        flaky.extend(run.steps.iter().filter(|s| s.flaky).map(|s| s.planned.name.clone()));
        let siblings = siblings(run, &step.planned.name);
        Ok(pb::task::Work::Verify(pb::VerifyWork {
            step: Some(step.planned.clone().into()),
            patch: patch.text.clone().into_bytes(),
            cache_key: run.cache_key.clone(),
            mount: run.mount.clone(),
            attempt: step.executions,
            siblings: siblings.into_iter().cloned().map(Into::into).collect(),
            restore_tests: put_back.tests,
            restore_config: put_back.config,
            owned: put_back.owned,
            flaky,
            head: run.head.clone(),
        }))
    }

    async fn complete(&self, body: pb::CompleteTaskRequest) -> Result<(), Status> {
        let id: TaskId = parse("task_id", &body.task_id).map_err(invalid)?;
        let epoch = i64::try_from(body.lease_epoch).unwrap_or(-1);
        let tables = &self.engine.tables;
        let task = tables.leased(id, epoch).await.map_err(store)?;
        let Some(task) = task else {
            // A canceled task that its runner has ended holds the workspace no longer.
            tables.forget(id, epoch).await.map_err(store)?;
            self.engine.notify();
            return Err(refuse(lease_lost()));
        };
        let result = body.result.ok_or_else(|| {
            let field = meta_domain::fault::InvalidField::new("result", "is missing");
            invalid(field)
        })?;
        if let pb::complete_task_request::Result::Error(error) = &result
            && error.retryable
            && task.tries < LEASES_MAX
        {
            let wait = RETRY_BASE_MS << task.tries.clamp(0, 10);
            tracing::warn!(task = %id, error = error.message, wait, "a runner could not carry out a task");
            tables.release(id, epoch, now().plus_ms(wait)).await.map_err(store)?;
            self.engine.notify();
            return Ok(());
        }
        let Some(run) = task.run else {
            return self.complete_inspection(&task, result).await;
        };
        if let pb::complete_task_request::Result::Error(error) = &result {
            let text = format!("the runner could not do it: {}\n", error.message).into_bytes();
            let record = Record { at: now(), stderr: true, text };
            let name = Logs::name(id, epoch);
            let of = (task.tenant, run);
            self.engine.logs.append(of, &name, None, &[record]).await.map_err(refuse)?;
        }
        let (input, artifacts) = input(&task, result).map_err(refuse)?;
        let finish = Finish { task: Some((id, epoch)), artifacts, ..Finish::default() };
        match self.engine.advance(run, input, finish).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.reason == "STALE_INPUT" => {
                tables.forget(id, epoch).await.map_err(store)?;
                Err(refuse(lease_lost()))
            }
            Err(fault) => Err(refuse(fault)),
        }
    }

    async fn complete_inspection(
        &self,
        task: &Claimed,
        result: pb::complete_task_request::Result,
    ) -> Result<(), Status> {
        let listing: Result<SourceListing, String> = match result {
            pb::complete_task_request::Result::Inspect(i) => {
                Ok(i.listing.unwrap_or_default().into())
            }
            pb::complete_task_request::Result::Error(e) => Err(e.message),
            _ => Err("the runner answered something else".to_owned()),
        };
        let text = serde_json::to_string(&listing)
            .map_err(|e| refuse(Fault::new(ErrorKind::Internal, "INTERNAL", e.to_string())))?;
        let tables = &self.engine.tables;
        let done = tables.finish_inspection(task.id, task.epoch, &text).await.map_err(store)?;
        self.engine.notify();
        if done { Ok(()) } else { Err(refuse(lease_lost())) }
    }
}

/// The lease of this task has to hold, and goes on.
fn held(task: &Claimed) -> Finish {
    Finish { lease: Some((task.id, task.epoch)), ..Finish::default() }
}

fn inspect_work(payload: &str) -> Result<pb::task::Work, Fault> {
    let source: meta_domain::source::Source = serde_json::from_str(payload)
        .map_err(|e| Fault::new(ErrorKind::NotFound, "BAD_SOURCE", e.to_string()))?;
    Ok(pb::task::Work::Inspect(pb::InspectWork { source: Some(source.into()) }))
}

fn wire(task: &Claimed, work: pb::task::Work) -> pb::Task {
    pb::Task {
        task_id: task.id.to_string(),
        lease_epoch: u64::try_from(task.epoch).unwrap_or(0),
        lease_ms: u64::try_from(LEASE_MS).unwrap_or(0),
        tenant_id: task.tenant.to_string(),
        run_id: task.run.map(|r| r.to_string()).unwrap_or_default(),
        work: Some(work),
    }
}

fn commit_work(run: &Run, step: &Step) -> Result<pb::task::Work, Fault> {
    let State::Healing(healing) = &step.state else { return Err(lease_lost()) };
    let (Some(patch), Some(fixer), Phase::Committing) =
        (&healing.patch, healing.fixer(), healing.phase)
    else {
        return Err(lease_lost());
    };
    let attempt = run.attempts.iter().filter(|a| a.step == step.planned.name).count() + 1;
    let name = &step.planned.name;
    let mut message = format!(
        "Heal step {name}: {}\n\nMetabuilder-Run: {}\nMetabuilder-Step: {name}\n\
         Metabuilder-Fixer: {}\nMetabuilder-Attempt: {attempt}\nMetabuilder-Patch: sha256:{}\n",
        fixer.title, run.id, fixer.id, patch.sha256
    );
    if let Some(actor) = &healing.approved_by {
        message.push_str(&format!("Metabuilder-Approved-By: {actor}\n"));
    }
    let patch = patch.text.clone().into_bytes();
    Ok(pb::task::Work::Commit(pb::CommitWork { patch, message, head: run.head.clone() }))
}

type Artifacts = Vec<(String, Vec<u8>)>;

/// What a runner's result is for the run.
fn input(
    task: &Claimed,
    result: pb::complete_task_request::Result,
) -> Result<(Input, Artifacts), Fault> {
    use pb::complete_task_request::Result as R;
    let step = task.step.clone();
    let files =
        |files: &[String]| ("files".to_owned(), serde_json::to_vec(files).unwrap_or_default());
    let patch = |patch: Vec<u8>| ("patch".to_owned(), patch);
    Ok(match (task.kind, result) {
        (TaskKind::Prepare, R::Prepare(p)) => {
            let artifacts = vec![files(&p.files)];
            let (files, bot_commits) = (p.files.len(), p.bot_commits);
            (Input::Prepared { commit: p.commit, files, bot_commits }, artifacts)
        }
        (TaskKind::Step, R::Step(s)) => {
            let artifacts = s.combined_patch.map(patch).into_iter().collect();
            let execution = execution(s.execution.unwrap_or_default());
            (Input::StepFinished { step, execution, commit: s.commit }, artifacts)
        }
        (TaskKind::Collect, R::Collect(c)) => {
            let list: Vec<SourceFile> = c.files.into_iter().map(Into::into).collect();
            let artifact = (context_of(&step), serde_json::to_vec(&list).unwrap_or_default());
            (Input::Collected { step, files: list.len() }, vec![artifact])
        }
        (TaskKind::Propose, R::Propose(mut p)) => {
            let before = std::mem::take(&mut p.before);
            let list: Vec<SourceFile> = before.into_iter().map(Into::into).collect();
            let artifact = (before_of(&step), serde_json::to_vec(&list).unwrap_or_default());
            (proposed(step, p)?, vec![artifact])
        }
        (TaskKind::Verify, R::Verify(v)) => {
            (Input::Verified { step, evidence: Box::new(evidence(v)) }, Vec::new())
        }
        (TaskKind::Commit, R::Commit(c)) => {
            let artifacts = vec![patch(c.combined_patch), files(&c.files)];
            (Input::Committed { step, commit: c.commit }, artifacts)
        }
        (TaskKind::Rollback, R::Rollback(r)) => {
            let artifacts =
                if r.commit.is_empty() { Vec::new() } else { vec![patch(r.combined_patch)] };
            (Input::RolledBack { step, commit: r.commit }, artifacts)
        }
        (kind, R::Error(e)) => (Input::TaskFailed { kind, step, message: e.message }, Vec::new()),
        (kind, _) => {
            let text = format!("a {kind} task was answered with another kind of result");
            return Err(Fault::new(ErrorKind::InvalidArgument, "WRONG_RESULT", text));
        }
    })
}

/// What a verification showed, as far as the runner can say.
fn evidence(v: pb::VerifyResult) -> Evidence {
    Evidence {
        passed: v.passed,
        detail: v.detail,
        checks: v.checks.into_iter().map(check).collect(),
        check_files: v.check_files,
        restored: v.restored,
        ..Evidence::default()
    }
}

fn check(c: pb::Check) -> Check {
    let count = |c: pb::TestCount| TestCount {
        tool: c.tool,
        executed: c.executed,
        failed: c.failed,
        skipped: c.skipped,
    };
    let execution = c.execution.unwrap_or_default();
    Check {
        step: c.step,
        exit: execution.exit.unwrap_or_default().into(),
        duration_ms: execution.duration_ms,
        before: c.before.into_iter().map(count).collect(),
        after: execution.tests.into_iter().map(count).collect(),
        newly_skipped: c.newly_skipped,
        executions: c.executions,
    }
}

fn proposed(step: String, p: pb::ProposeResult) -> Result<Input, Fault> {
    let verdict: Option<TryVerdict> = word_opt("verdict", p.verdict)?;
    let result = match verdict {
        Some(verdict) => Err((verdict, p.detail)),
        None if p.patch.is_empty() => Err((TryVerdict::NoChange, p.detail)),
        None => match String::from_utf8(p.patch) {
            Ok(text) => Ok(text),
            Err(_) => Err((TryVerdict::GuardReject, "the patch is not text in UTF-8".to_owned())),
        },
    };
    Ok(Input::Proposed { step, result })
}

fn execution(e: pb::Execution) -> Execution {
    Execution {
        exit: e.exit.unwrap_or_default().into(),
        duration_ms: e.duration_ms,
        cut_bytes: e.cut_bytes,
        sandbox: e.sandbox,
    }
}

#[tonic::async_trait]
impl WorkService for Work {
    async fn poll_task(
        &self,
        request: Request<pb::PollTaskRequest>,
    ) -> Result<Response<pb::PollTaskResponse>, Status> {
        let body = request.into_inner();
        let only = parse_opt::<RunId>("run_id", &body.run_id).map_err(invalid)?;
        let start = now();
        let wait = body.wait_ms.min(POLL_MS_MAX);
        let mut changes = self.engine.changes();
        loop {
            changes.mark_unchanged();
            let task = self.next(&body.runner_id, only).await.map_err(refuse)?;
            let waited = now().since_ms(start);
            if task.is_some() || waited >= wait {
                return Ok(Response::new(pb::PollTaskResponse { task }));
            }
            let due = self.engine.tables.next_due(false, only).await.map_err(store)?;
            let left = Duration::from_millis(wait - waited);
            // A task that is due but waits for others of its run is looked at on the next change.
            let soon = due.map(|d| d.since_ms(now())).filter(|ms| *ms > 0);
            let limit = soon.map_or(left, |ms| left.min(Duration::from_millis(ms)));
            tokio::select! {
                () = Engine::wait(&mut changes, limit) => {}
                () = self.engine.stopping.cancelled() => return Err(refuse(stopping())),
            }
        }
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let mut stop_task_ids = Vec::new();
        for lease in request.into_inner().leases {
            let id: TaskId = parse("task_id", &lease.task_id).map_err(invalid)?;
            let epoch = i64::try_from(lease.lease_epoch).unwrap_or(-1);
            let until = now().plus_ms(LEASE_MS);
            let holds = self.engine.tables.renew(id, epoch, until).await.map_err(store)?;
            if !holds {
                stop_task_ids.push(lease.task_id);
            }
        }
        Ok(Response::new(pb::HeartbeatResponse { stop_task_ids }))
    }

    async fn append_log(
        &self,
        request: Request<Streaming<pb::AppendLogRequest>>,
    ) -> Result<Response<pb::AppendLogResponse>, Status> {
        let mut parts = request.into_inner();
        let mut bytes = 0;
        let mut lease: Option<(String, u64, Owned, String)> = None;
        while let Some(part) = parts.message().await? {
            let same = lease
                .as_ref()
                .is_some_and(|(id, epoch, ..)| *id == part.task_id && *epoch == part.lease_epoch);
            if !same {
                let id: TaskId = parse("task_id", &part.task_id).map_err(invalid)?;
                let epoch = i64::try_from(part.lease_epoch).unwrap_or(-1);
                let task = self.engine.tables.leased(id, epoch).await.map_err(store)?;
                let run = task.and_then(|t| Some((t.tenant, t.run?)));
                let run = run.ok_or_else(|| refuse(lease_lost()))?;
                lease = Some((part.task_id, part.lease_epoch, run, Logs::name(id, epoch)));
            }
            let Some((_, _, run, name)) = &lease else { continue };
            let records: Vec<Record> = part.chunks.into_iter().map(record).collect();
            let (logs, offset) = (&self.engine.logs, part.offset);
            bytes += logs.append(*run, name, offset, &records).await.map_err(refuse)?;
        }
        Ok(Response::new(pb::AppendLogResponse { bytes }))
    }

    async fn complete_task(
        &self,
        request: Request<pb::CompleteTaskRequest>,
    ) -> Result<Response<pb::CompleteTaskResponse>, Status> {
        self.complete(request.into_inner()).await?;
        Ok(Response::new(pb::CompleteTaskResponse {}))
    }
}

fn record(chunk: pb::LogChunk) -> Record {
    let at = chunk.at.unwrap_or_else(|| timestamp(now()));
    Record { at: instant(&at), stderr: chunk.stream() == pb::LogStream::Stderr, text: chunk.text }
}
