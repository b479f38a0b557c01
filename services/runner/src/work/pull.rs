//! The loop that takes tasks and reports their results.

use super::{CALL_LIMIT, Leases, Orchestrator, Retry, is_lost, is_worth_a_retry, log};
use crate::error::Error;
use crate::tasks::Workshop;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::{CompleteTaskRequest, PollTaskRequest, Task, TaskError};
use meta_runtime::auth::machine_call;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long the orchestrator may hold a poll.
const POLL_WAIT: Duration = Duration::from_secs(20);
/// How long tasks in hand may take to end once the runner is to stop.
const DRAIN: Duration = Duration::from_secs(7);
/// How long killed tasks may take to disappear.
const KILL: Duration = Duration::from_secs(2);

/// Takes tasks from the orchestrator, several at a time.
#[derive(Clone)]
pub struct Puller {
    /// What carries tasks out.
    pub workshop: Arc<Workshop>,
    /// Where tasks come from.
    pub client: Orchestrator,
    /// The tasks in hand.
    pub leases: Leases,
    /// This runner's name.
    pub runner_id: Arc<str>,
    /// How many tasks at a time.
    pub capacity: usize,
    /// Only tasks of this run; empty means any.
    pub only_run: Arc<str>,
}

impl Puller {
    /// Works until `stop`, then lets the tasks in hand end, and kills those that do not in time.
    pub async fn run(self, stop: CancellationToken) {
        let heart = CancellationToken::new();
        let beating = {
            let (puller, heart) = (self.clone(), heart.clone());
            tokio::spawn(async move {
                puller.leases.keep(puller.client.clone(), &puller.runner_id, heart).await;
            })
        };
        let mut tasks = JoinSet::new();
        self.pull(&mut tasks, &stop).await;
        if tokio::time::timeout(DRAIN, wait_for(&mut tasks)).await.is_err() {
            tracing::warn!(tasks = self.leases.count(), "stopping the tasks in hand");
            self.leases.stop_all();
            if tokio::time::timeout(KILL, wait_for(&mut tasks)).await.is_err() {
                tracing::error!("some tasks did not stop in time");
            }
        }
        heart.cancel();
        if let Err(error) = beating.await {
            tracing::error!(%error, "the heartbeat failed");
        }
    }

    async fn pull(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let room = Arc::new(Semaphore::new(self.capacity));
        let mut retry = Retry::new();
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => return,
                permit = Arc::clone(&room).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            while tasks.try_join_next().is_some() {}
            let polled = tokio::select! {
                () = stop.cancelled() => return,
                polled = self.poll() => polled,
            };
            match polled {
                Ok(Some(task)) => {
                    retry = Retry::new();
                    let puller = self.clone();
                    tasks.spawn(async move {
                        puller.carry_out(task).await;
                        drop(permit);
                    });
                }
                Ok(None) => retry = Retry::new(),
                Err(status) => {
                    tracing::debug!(%status, "cannot poll for work");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = retry.wait() => {}
                    }
                }
            }
        }
    }

    async fn poll(&self) -> Result<Option<Task>, Status> {
        let request = PollTaskRequest {
            runner_id: self.runner_id.to_string(),
            wait_ms: u64::try_from(POLL_WAIT.as_millis()).unwrap_or(u64::MAX),
            run_id: self.only_run.to_string(),
            sandbox: self.workshop.sandbox.level().to_owned(),
        };
        let mut client = self.client.clone();
        let answer = client.poll_task(machine_call(POLL_WAIT + CALL_LIMIT, request)).await?;
        Ok(answer.into_inner().task)
    }

    async fn carry_out(&self, task: Task) {
        let (task_id, epoch) = (task.task_id.clone(), task.lease_epoch);
        let stop = self.leases.take(&task_id, epoch, task.lease_ms);
        let (log, sender) = log::channel();
        let sending = sender.run(self.client.clone(), task_id.clone(), epoch, stop.clone());
        let work = self.workshop.perform(task, stop.clone(), log);
        // The writer goes with the work, and the sender ends when it has sent the rest.
        let (outcome, ()) = tokio::join!(work, sending);
        let result = match outcome {
            Err(Error::Stopped) => None,
            _ if stop.is_cancelled() => None,
            Ok(outcome) => Some(outcome),
            Err(error) => {
                tracing::warn!(%task_id, %error, "a task could not be carried out");
                let retryable = matches!(error, Error::Failed(_));
                Some(Outcome::Error(TaskError { message: error.to_string(), retryable }))
            }
        };
        if let Some(result) = result {
            self.report(&task_id, epoch, result, &stop).await;
        }
        self.leases.drop_task(&task_id, epoch);
    }

    /// Reports until it is acknowledged, refused, or the lease cannot be valid any more.
    async fn report(&self, task_id: &str, epoch: u64, result: Outcome, stop: &CancellationToken) {
        let request = CompleteTaskRequest {
            task_id: task_id.to_owned(),
            lease_epoch: epoch,
            runner_id: self.runner_id.to_string(),
            result: Some(result),
        };
        let mut client = self.client.clone();
        let mut retry = Retry::new();
        loop {
            match client.complete_task(machine_call(CALL_LIMIT, request.clone())).await {
                Ok(_) => return,
                Err(status) if is_lost(&status) => {
                    tracing::info!(%task_id, %status, "a result came too late");
                    return;
                }
                Err(status) if !is_worth_a_retry(&status) => {
                    tracing::error!(%task_id, %status, "a result was refused");
                    return;
                }
                Err(status) if !self.leases.may_hold(task_id, epoch) => {
                    tracing::warn!(%task_id, %status, "a lease ran out before its result was taken");
                    return;
                }
                Err(status) => tracing::debug!(%task_id, %status, "cannot report a result yet"),
            }
            tokio::select! {
                () = retry.wait() => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

async fn wait_for(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task panicked");
        }
    }
}
