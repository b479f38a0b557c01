//! The loop that takes tasks and reports their results.

use super::awake::{Awake, TICK};
use super::report::Report;
use super::traced::Traced;
use super::{CALL_LIMIT, Leases, Orchestrator, Retry, Stopped, log};
use crate::error::Error;
use crate::tasks::Workshop;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::{PollTaskRequest, Task, TaskError};
use meta_runtime::auth::machine_call;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

/// How long the orchestrator may hold a poll.
const POLL_WAIT: Duration = Duration::from_secs(20);
/// How long tasks in hand may take to end once the runner is to stop.
const DRAIN: Duration = Duration::from_secs(7);
/// How long killed tasks may take to disappear and to be given back.
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
    /// What it offers to steps that ask for it.
    pub labels: Arc<[String]>,
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
        // The answer to a poll that failed may have held tasks.
        let mut lost = true;
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => return,
                permit = Arc::clone(&room).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let mut permits = vec![permit];
            while let Ok(more) = Arc::clone(&room).try_acquire_owned() {
                permits.push(more);
            }
            while let Some(ended) = tasks.try_join_next() {
                told(ended);
            }
            let polled = tokio::select! {
                () = stop.cancelled() => return,
                polled = self.poll_in_time(permits.len(), lost) => polled,
            };
            lost = polled.is_err();
            match polled {
                Ok(work) => {
                    retry = Retry::new();
                    for task in work {
                        let (puller, permit) = (self.clone(), permits.pop());
                        tasks.spawn(async move { puller.carry_out(task, permit).await });
                    }
                }
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

    /// Polls, and takes an answer for lost that may have waited here for longer than a heartbeat: its
    /// tasks may be canceled or somebody else's by now.
    async fn poll_in_time(&self, room: usize, recovering: bool) -> Result<Vec<Task>, Status> {
        let mut awake = Awake::since(Instant::now());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let poll = self.poll(room, recovering);
        tokio::pin!(poll);
        let work = loop {
            tokio::select! {
                biased;
                answer = &mut poll => break answer?,
                _ = tick.tick() => awake.tick(Instant::now()),
            }
        };
        let waited = awake.waited(Instant::now());
        if work.iter().any(|task| waited > Duration::from_millis(task.lease_ms) / 3) {
            tracing::warn!(
                ?waited,
                tasks = work.len(),
                "an answer waited while this process stood still"
            );
            return Err(Status::deadline_exceeded("the answer to a poll came too late"));
        }
        Ok(work)
    }

    async fn poll(&self, room: usize, recovering: bool) -> Result<Vec<Task>, Status> {
        let request = PollTaskRequest {
            runner_id: self.runner_id.to_string(),
            wait_ms: u64::try_from(POLL_WAIT.as_millis()).unwrap_or(u64::MAX),
            run_id: self.only_run.to_string(),
            sandbox: self.workshop.sandbox.level().to_string(),
            max_tasks: u32::try_from(room).unwrap_or(u32::MAX),
            labels: self.labels.to_vec(),
            recovering,
            held: if recovering { self.leases.snapshot() } else { Vec::new() },
        };
        let mut client = self.client.clone();
        let answer = client.poll_task(machine_call(POLL_WAIT + CALL_LIMIT, request)).await?;
        Ok(answer.into_inner().tasks)
    }

    /// Carries a task out and reports what came of it, whatever comes of it.
    async fn carry_out(&self, task: Task, permit: Option<OwnedSemaphorePermit>) {
        let (task_id, epoch) = (task.task_id.clone(), task.lease_epoch);
        let hold = self.leases.take(&task_id, epoch, task.lease_ms);
        let (log, sender) = log::channel();
        let sending = sender.run(self.client.clone(), task_id.clone(), epoch, hold.stop().clone());
        let (workshop, stop) = (Arc::clone(&self.workshop), hold.stop().clone());
        let traced = Arc::new(Traced::begin(&task, &self.runner_id));
        let within = Arc::clone(&traced);
        // A task of its own, so that a panic ends the work and not its report.
        let work = tokio::spawn(async move {
            let work = Box::pin(workshop.perform(task, stop, log));
            within.carry(work).await
        });
        let work = AbortOnDropHandle::new(work);
        // The writer goes with the work, and the sender ends when it has sent the rest.
        let (ended, ()) = tokio::join!(work, sending);
        // The next task may come while this one is reported.
        drop(permit);
        let report =
            Report { client: self.client.clone(), runner_id: &self.runner_id, hold: &hold };
        let outcome = outcome(&task_id, ended, hold.stopped());
        traced.end(&outcome);
        drop(traced);
        report.send(outcome).await;
    }
}

/// What is reported of work that has ended.
fn outcome(
    task_id: &str,
    ended: Result<Result<Outcome, Error>, JoinError>,
    stopped: Option<Stopped>,
) -> Outcome {
    let (message, retryable) = match (stopped, ended) {
        (Some(Stopped::Asked), _) => ("stopped".to_owned(), false),
        (Some(Stopped::Draining), _) => ("the runner is stopping".to_owned(), true),
        (Some(Stopped::Expired), _) => ("the lease ran out".to_owned(), true),
        (None, Ok(Ok(outcome))) => return outcome,
        (None, Ok(Err(error))) => {
            tracing::warn!(%task_id, %error, "a task could not be carried out");
            (error.to_string(), matches!(error, Error::Failed(_)))
        }
        (None, Err(error)) => {
            tracing::error!(%task_id, %error, "a task panicked");
            ("the runner failed in an unexpected way; its log says how".to_owned(), true)
        }
    };
    Outcome::Error(TaskError { message, retryable })
}

async fn wait_for(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        told(ended);
    }
}

fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task's report panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(outcome: Outcome) -> (String, bool) {
        match outcome {
            Outcome::Error(error) => (error.message, error.retryable),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_panic_is_reported_as_worth_another_try() {
        let ended = tokio::spawn(async { panic!("a bug") }).await;
        let (message, retryable) = error(outcome("t", ended, None));
        assert!(retryable && message.contains("unexpected"), "{message}");
    }

    #[test]
    fn why_a_task_was_stopped_decides_whether_it_is_tried_again() {
        let stopped = |why| error(outcome("t", Ok(Err(Error::Stopped)), Some(why)));
        assert_eq!(stopped(Stopped::Asked), ("stopped".to_owned(), false));
        assert_eq!(stopped(Stopped::Draining), ("the runner is stopping".to_owned(), true));
        assert!(stopped(Stopped::Expired).1);
        assert!(!error(outcome("t", Ok(Err(Error::refused("no"))), None)).1);
        assert!(error(outcome("t", Ok(Err(Error::failed("disk"))), None)).1);
    }
}
