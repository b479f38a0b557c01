//! The queue's shell: runners poll, report, and complete.

mod orders;
mod results;
mod sweep;

use super::inspect::archived;
use super::{invalid, refuse};
use crate::core::queue::Task;
use crate::core::ready::Offer;
use crate::core::work::{LEASES_MAX, log_name};
use crate::gauges::Roster;
use crate::logs::{Owned, Record};
use crate::shell::{Engine, Finish, Leased, lease_lost, stopping};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::id::{RunId, TaskId};
use meta_domain::project;
use meta_domain::source::SourceListing;
use meta_domain::time::Timestamp;
use meta_proto::convert::{instant, parse, parse_opt, timestamp};
use meta_proto::runner as pb;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::work_service_server::WorkService;
use meta_runtime::now;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// The longest poll.
const POLL_MAX: Duration = Duration::from_secs(30);
/// Tasks that one poll answers at most.
const POLL_TASKS_MAX: u32 = 256;
/// Backoff of a task that its runner could not carry out: this times two to the tries.
const RETRY_BASE_MS: i64 = 500;
/// A runner that did not ask for work for so long is not there, in milliseconds.
const RUNNER_GONE_MS: u64 = 60_000;
/// Wait before a task whose order could not be written is leased again, in milliseconds.
const ORDER_PAUSE_MS: i64 = 1_000;

/// The shell.
#[derive(Clone)]
pub struct Work {
    /// The runs.
    pub engine: Engine,
    /// When each runner last asked for work.
    pub seen: Arc<Mutex<HashMap<String, Timestamp>>>,
    /// When each runner was last heard at all, for the metrics.
    pub roster: Roster,
}

impl Work {
    /// Notes that a runner is there; answers whether others are.
    fn others_than(&self, runner: &str) -> bool {
        let at = self.engine.clock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = seen.get_mut(runner) {
            *last = at;
        } else {
            seen.retain(|_, last| at.since_ms(*last) <= RUNNER_GONE_MS);
            seen.insert(runner.to_owned(), at);
        }
        seen.iter().any(|(name, last)| name != runner && at.since_ms(*last) <= RUNNER_GONE_MS)
    }

    /// What a runner holds beside what it knows of was lost on the way to it: nobody began it.
    async fn take_back(&self, runner: &str, held: &[pb::Lease]) -> Result<(), Fault> {
        let known = |task: &Task| {
            let (id, epoch) = (task.id.to_string(), u64::try_from(task.epoch).unwrap_or(0));
            held.iter().any(|l| l.task_id == id && l.lease_epoch == epoch)
        };
        let now = self.engine.clock.now();
        for task in self.engine.tables.held_by(runner).await?.iter().filter(|t| !known(t)) {
            tracing::info!(task = %task.id, runner, "a task was lost on its way to the runner");
            match self.engine.release(task, now, true).await {
                // It ended, or its lease did, in between.
                Err(fault) if fault.kind == ErrorKind::FailedPrecondition => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Waits for tasks, at most until then. What is leased in the moment in which the wait ends is
    /// taken: whoever polls would not know that it holds it.
    async fn leased(
        &self,
        mut answer: oneshot::Receiver<Vec<Leased>>,
        deadline: Instant,
    ) -> Result<Vec<Leased>, Status> {
        tokio::select! {
            biased;
            leased = &mut answer => return leased.map_err(|_| refuse(stopping())),
            () = tokio::time::sleep_until(deadline) => {}
            () = self.engine.stopping.cancelled() => {}
        }
        answer.close();
        match answer.try_recv() {
            Ok(leased) => Ok(leased),
            Err(_) if self.engine.stopping.is_cancelled() => Err(refuse(stopping())),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Tasks with their orders. One that fits its run no longer is dropped.
    async fn orders(&self, leased: Vec<Leased>) -> Result<Vec<pb::Task>, Fault> {
        let mut orders = Vec::with_capacity(leased.len());
        let mut broken = None;
        for one in leased {
            match self.order_or_end(&one).await {
                Ok(order) => orders.extend(order),
                Err(fault) => {
                    let due = self.engine.clock.now().plus_ms(ORDER_PAUSE_MS);
                    self.engine.release(&one.task, due, true).await?;
                    broken = Some(fault);
                }
            }
        }
        match broken {
            Some(fault) if orders.is_empty() => Err(fault),
            _ => Ok(orders),
        }
    }

    async fn order_or_end(&self, leased: &Leased) -> Result<Option<pb::Task>, Fault> {
        let task = &leased.task;
        if task.run.is_none() && task.tries > LEASES_MAX {
            let text = format!("{} runners were lost over reading it", task.tries - 1);
            self.answered(task, &Err::<SourceListing, _>(text)).await?;
            return Ok(None);
        }
        match self.order(leased).await {
            Ok(order) => Ok(Some(order)),
            Err(fault)
                if matches!(fault.kind, ErrorKind::FailedPrecondition | ErrorKind::NotFound) =>
            {
                tracing::info!(%fault, task = %task.id, "dropping a task that is out of date");
                self.engine.forget(task.id, task.epoch, task.run).await?;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    async fn complete(&self, body: pb::CompleteTaskRequest) -> Result<(), Status> {
        let id: TaskId = parse("task_id", &body.task_id).map_err(invalid)?;
        let epoch = i64::try_from(body.lease_epoch).unwrap_or(-1);
        let missing = || invalid(InvalidField::new("result", "is missing"));
        let result = results::without_secrets(body.result.ok_or_else(missing)?);
        let done = self.complete_leased(id, epoch, result).await;
        if done.as_ref().is_err_and(|fault| fault.reason == lease_lost().reason) {
            self.ended_late(id, epoch).await.map_err(refuse)?;
        }
        done.map_err(refuse)
    }

    async fn complete_leased(&self, id: TaskId, epoch: i64, result: Outcome) -> Result<(), Fault> {
        let task = self.engine.leased_lately(id, epoch).await?.ok_or_else(lease_lost)?;
        if let Outcome::Error(error) = &result
            && error.retryable
            && task.tries < LEASES_MAX
        {
            let wait = RETRY_BASE_MS << task.tries.clamp(0, 10);
            tracing::warn!(task = %id, error = error.message, wait, "a runner could not carry out a task");
            let due = self.engine.clock.now().plus_ms(wait);
            return self.engine.release(&task, due, false).await;
        }
        let Some(run) = task.run else {
            return self.complete_inspection(&task, result).await;
        };
        if let Outcome::Error(error) = &result {
            let text = format!("the runner could not do it: {}\n", error.message).into_bytes();
            let record = Record { at: now(), stderr: true, text };
            let name = log_name(id, epoch);
            self.engine.logs.append((task.tenant, run), &name, None, &[record]).await?;
        }
        let (input, artifacts) = results::input(&task, result)?;
        let finish = Finish { task: Some((id, epoch)), artifacts };
        match self.engine.advance(run, input, finish).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.reason == "STALE_INPUT" => {
                self.engine.forget(id, epoch, Some(run)).await?;
                Err(lease_lost())
            }
            Err(fault) => Err(fault),
        }
    }

    /// A canceled task that its runner has ended holds the workspace no longer.
    async fn ended_late(&self, id: TaskId, epoch: i64) -> Result<(), Fault> {
        match self.engine.task(id).await? {
            Some(task) if task.epoch == epoch => self.engine.forget(id, epoch, task.run).await,
            _ => Ok(()),
        }
    }

    async fn complete_inspection(&self, task: &Task, result: Outcome) -> Result<(), Fault> {
        let inspected: Result<SourceListing, String> = match result {
            Outcome::Archive(archive) => {
                return self.answered(task, &Ok::<_, String>(archived(&archive))).await;
            }
            Outcome::Inspect(i) => Ok(i.listing.unwrap_or_default().into()),
            Outcome::Error(e) => Err(e.message),
            _ => Err("the runner answered something else".to_owned()),
        };
        self.answered(task, &inspected).await
    }

    async fn answered<T: serde::Serialize>(
        &self,
        task: &Task,
        answer: &Result<T, String>,
    ) -> Result<(), Fault> {
        let text = serde_json::to_string(answer)
            .map_err(|e| Fault::new(ErrorKind::Internal, "INTERNAL", e.to_string()))?;
        let done = self.engine.tables.finish_inspection(task.id, task.epoch, &text).await?;
        self.engine.loose_changed();
        if done { Ok(()) } else { Err(lease_lost()) }
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
        let labels = project::labels(&body.labels)
            .map_err(|problem| invalid(InvalidField::new("labels", problem)))?;
        let others = self.others_than(&body.runner_id);
        self.roster.hear(&body.runner_id, self.engine.clock.now());
        let offer = Offer { owner: body.runner_id, internal: false, only, labels, others };
        if body.recovering {
            self.take_back(&offer.owner, &body.held).await.map_err(refuse)?;
        }
        let room = body.max_tasks.clamp(1, POLL_TASKS_MAX) as usize;
        let deadline = Instant::now() + Duration::from_millis(body.wait_ms).min(POLL_MAX);
        loop {
            let answer = self.engine.poll(offer.clone(), room).await.map_err(refuse)?;
            let tasks = self.orders(self.leased(answer, deadline).await?).await.map_err(refuse)?;
            if !tasks.is_empty() || Instant::now() >= deadline {
                return Ok(Response::new(pb::PollTaskResponse { tasks }));
            }
        }
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatResponse>, Status> {
        let mut leases = Vec::new();
        let body = request.into_inner();
        self.roster.hear(&body.runner_id, self.engine.clock.now());
        for lease in body.leases {
            let id: TaskId = parse("task_id", &lease.task_id).map_err(invalid)?;
            leases.push((id, i64::try_from(lease.lease_epoch).unwrap_or(-1)));
        }
        let lost = match self.engine.renew(&leases).await {
            Ok(lost) => lost,
            // Nobody can lease them to somebody else while the store is away.
            Err(fault) if is_outage(&fault) && self.engine.store_left_lately() => Vec::new(),
            Err(fault) => return Err(refuse(fault)),
        };
        let stop_task_ids = lost.iter().map(|(task, _)| task.to_string()).collect();
        let lease = |(task, epoch): (TaskId, i64)| pb::Lease {
            task_id: task.to_string(),
            lease_epoch: u64::try_from(epoch).unwrap_or(0),
        };
        let stop = lost.into_iter().map(lease).collect();
        Ok(Response::new(pb::HeartbeatResponse { stop_task_ids, stop }))
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
                let task = self.engine.leased(id, epoch).await.map_err(refuse)?;
                let run = task.and_then(|t| Some((t.tenant, t.run?)));
                let run = run.ok_or_else(|| refuse(lease_lost()))?;
                lease = Some((part.task_id, part.lease_epoch, run, log_name(id, epoch)));
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

    async fn sweep_runs(
        &self,
        request: Request<pb::SweepRunsRequest>,
    ) -> Result<Response<pb::SweepRunsResponse>, Status> {
        self.unneeded(request.into_inner()).await.map(Response::new)
    }
}

/// The store is away or full.
fn is_outage(fault: &Fault) -> bool {
    fault.kind.is_transient() || fault.kind == ErrorKind::ResourceExhausted
}

fn record(chunk: pb::LogChunk) -> Record {
    let at = chunk.at.unwrap_or_else(|| timestamp(now()));
    Record { at: instant(&at), stderr: chunk.stream() == pb::LogStream::Stderr, text: chunk.text }
}
