//! The engine: every change of a run goes through here.
//!
//! One writer a process gathers what its callers want, decides it in the pure core, stores many
//! runs' changes in one transaction, and hands out tasks to those who wait for them. Readers take
//! what the writer stored last.

mod alarm;
mod cache;
mod clock;
mod draft;
mod hub;
mod round;
mod telling;
mod writer;

pub use clock::Clock;

use crate::core::audit::By;
use crate::core::queue::Task;
use crate::core::ready::{Candidate, Offer};
use crate::core::run::Run;
use crate::core::transition::Input;
pub use crate::core::work::{Finish, lease_lost};
use crate::core::workspace::Workspaces;
use crate::logs::Logs;
use crate::store::Tables;
use cache::Cache;
use hub::{Hub, Recent};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Callers that wait for the writer to take their wish.
const WAITING_MAX: usize = 4_096;
/// How long leases hold without a store, in milliseconds.
const STORE_AWAY_MS_MAX: i64 = 60_000;
/// How long a waiter sleeps at most before it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What an installation sets.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long a lease holds without a heartbeat, in milliseconds.
    pub lease_ms: i64,
    /// Tasks of one tenant that runners hold at once, at most.
    pub tenant_tasks_max: u32,
    /// Only work on this run.
    pub only: Option<RunId>,
    /// Every other process is known to be dead: what it had leased is given back at once.
    pub own_leases: bool,
    /// How long runners keep the workspaces of runs that ended.
    pub workspaces: Workspaces,
}

/// A leased task, with its run as it was then.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The task.
    pub task: Task,
    /// Its run, if it has one.
    pub run: Option<Arc<Run>>,
}

/// What a caller wants of a run.
#[derive(Debug, Clone)]
enum Change {
    /// An input for the state machine, and how it was asked for if somebody did.
    Advance(Box<Input>, Finish, Option<Arc<By>>),
    /// A leased task is given back, to be leased again from `due` on.
    Release { task: TaskId, epoch: i64, due: Timestamp, unused: bool },
    /// A task is not wanted any more.
    Forget { task: TaskId, epoch: i64 },
    /// Leases may be over.
    Expire,
    /// The process starts: nobody else works on what it holds.
    Restart,
}

type Reply = oneshot::Sender<Result<Arc<Run>, Fault>>;

/// What the writer is asked for.
enum Op {
    Create {
        run: Box<Run>,
        request_id: Option<String>,
        by: Option<Arc<By>>,
        reply: Reply,
    },
    Change {
        run: RunId,
        change: Change,
        reply: Option<Reply>,
    },
    Poll {
        offer: Offer,
        room: usize,
        reply: oneshot::Sender<Vec<Leased>>,
    },
    Note(Candidate),
    /// Another process changed the queue.
    Look,
}

/// The durable runs and what tells of their changes.
#[derive(Clone)]
pub struct Engine {
    /// Tables.
    pub tables: Tables,
    /// Logs.
    pub logs: Logs,
    /// The time that leases go by.
    pub clock: Clock,
    /// Canceled when the process stops: nothing may wait for changes any longer.
    pub stopping: CancellationToken,
    options: Options,
    cache: Cache,
    hub: Hub,
    ops: mpsc::Sender<Op>,
    /// When the store last answered, in milliseconds of the clock's uptime.
    answered_at: Arc<AtomicI64>,
}

impl Engine {
    /// An engine over open tables, and its writer, which ends when the last engine is dropped.
    ///
    /// # Errors
    /// When the store fails, or the system starts no thread.
    pub async fn start(
        tables: Tables,
        logs: Logs,
        options: Options,
    ) -> Result<(Self, JoinHandle<()>), Fault> {
        let asked = Instant::now();
        let shown = tables.clock().await?;
        let clock = Clock::new(shown);
        clock.follow(asked, shown);
        let (ops, inbox) = mpsc::channel(WAITING_MAX);
        let (cache, hub) = (Cache::default(), Hub::default());
        let engine = Self {
            tables,
            logs,
            clock,
            stopping: CancellationToken::new(),
            options,
            cache,
            hub,
            ops,
            answered_at: Arc::default(),
        };
        let writer = writer::Writer::new(&engine, inbox).map_err(|error| {
            let text = format!("the system starts no thread: {error}");
            Fault::new(ErrorKind::Internal, "INTERNAL", text)
        })?;
        writer.hear(engine.ops.downgrade()).await?;
        let writing = tokio::spawn(writer.run());
        engine.take_over().await?;
        Ok((engine, writing))
    }

    /// Where nobody else works on the tables, what was leased by earlier processes is free again;
    /// runners that may still be there keep theirs.
    async fn take_over(&self) -> Result<(), Fault> {
        if self.tables.is_shared() {
            return Ok(());
        }
        self.tables.release_overdue_loose(Timestamp(i64::MAX)).await?;
        for run in self.tables.leased_runs(self.options.only).await? {
            self.change(run, Change::Restart).await?;
        }
        Ok(())
    }

    /// How long a lease holds without a heartbeat, in milliseconds.
    pub fn lease_ms(&self) -> i64 {
        self.options.lease_ms
    }

    /// How long runners keep the workspaces of runs that ended.
    pub fn workspaces(&self) -> Workspaces {
        self.options.workspaces
    }

    /// Stores a new run and starts it. A request id that was used before gives the first run.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create(&self, run: Run, request_id: Option<String>) -> Result<Arc<Run>, Fault> {
        self.create_as(run, request_id, None).await
    }

    /// The same, put on record as asked for in this way.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub async fn create_as(
        &self,
        run: Run,
        request_id: Option<String>,
        by: Option<By>,
    ) -> Result<Arc<Run>, Fault> {
        let (reply, answer) = oneshot::channel();
        let (run, by) = (Box::new(run), by.map(Arc::new));
        self.ask(Op::Create { run, request_id, by, reply }, answer).await
    }

    /// Changes a run.
    ///
    /// # Errors
    /// When the input does not fit the run's state, the lease is lost, or the store fails.
    pub async fn advance(
        &self,
        id: RunId,
        input: Input,
        finish: Finish,
    ) -> Result<Arc<Run>, Fault> {
        self.change(id, Change::Advance(Box::new(input), finish, None)).await
    }

    /// Changes a run as somebody asked, and puts it on record so.
    ///
    /// # Errors
    /// As [`Engine::advance`].
    pub async fn advance_as(&self, id: RunId, input: Input, by: By) -> Result<Arc<Run>, Fault> {
        let by = Some(Arc::new(by));
        self.change(id, Change::Advance(Box::new(input), Finish::default(), by)).await
    }

    /// Gives a leased task back, to be leased again from `due` on. `unused`: nobody began it.
    ///
    /// # Errors
    /// When the lease is over, or the store fails.
    pub async fn release(&self, task: &Task, due: Timestamp, unused: bool) -> Result<(), Fault> {
        let (id, epoch) = (task.id, task.epoch);
        let Some(run) = task.run else {
            if self.tables.release_loose(id, epoch, due).await? {
                let note =
                    Task { due, state: crate::core::queue::TaskState::Ready, ..task.clone() };
                self.note(&note).await;
            }
            return Ok(());
        };
        self.change(run, Change::Release { task: id, epoch, due, unused }).await.map(drop)
    }

    /// Forgets a task that its run wants no more, unless somebody else holds it by now. What the run
    /// still waits for is given back instead.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget(&self, task: TaskId, epoch: i64, run: Option<RunId>) -> Result<(), Fault> {
        match run {
            Some(run) => self.change(run, Change::Forget { task, epoch }).await.map(drop),
            None => Ok(self.tables.forget_loose(task, epoch).await?),
        }
    }

    /// Asks for up to `room` tasks; the answer comes when there are some. Whoever waits no longer
    /// drops the receiver.
    ///
    /// # Errors
    /// When the process stops.
    pub async fn poll(
        &self,
        offer: Offer,
        room: usize,
    ) -> Result<oneshot::Receiver<Vec<Leased>>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.send(Op::Poll { offer, room, reply }).await?;
        Ok(answer)
    }

    /// A task that is leased with this epoch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leased(&self, id: TaskId, epoch: i64) -> Result<Option<Task>, Fault> {
        if self.tables.is_shared() {
            return Ok(self.tables.task(id).await?.filter(|t| t.is_leased(epoch)));
        }
        self.leased_lately(id, epoch).await
    }

    /// A task that is leased with this epoch, or was when this process looked last: for a change of
    /// its run, which is refused if that is no longer so.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leased_lately(&self, id: TaskId, epoch: i64) -> Result<Option<Task>, Fault> {
        let holds = |task: &Task| task.is_leased(epoch);
        match self.cache.task(id).filter(holds) {
            Some(task) => Ok(Some(task)),
            None => Ok(self.tables.task(id).await?.filter(holds)),
        }
    }

    /// A task by id, wherever it stands.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, Fault> {
        Ok(self.tables.task(id).await?)
    }

    /// Whether the store answered within the last minute. While it is away no lease ends: nobody
    /// could take it, and when it is back its holders are heard first.
    pub fn store_left_lately(&self) -> bool {
        self.clock.uptime_ms() - self.answered_at.load(Ordering::Relaxed) < STORE_AWAY_MS_MAX
    }

    /// Renews leases; answers those that do not hold any longer.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn renew(&self, leases: &[(TaskId, i64)]) -> Result<Vec<(TaskId, i64)>, Fault> {
        let until = self.clock.now().plus_ms(self.options.lease_ms);
        let lost = self.tables.renew(leases, until).await?;
        self.answered_at.store(self.clock.uptime_ms(), Ordering::Relaxed);
        Ok(lost)
    }

    /// Puts a task that belongs to no run into the queue.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_loose(&self, task: &Task) -> Result<(), Fault> {
        self.tables.insert_loose(task).await?;
        self.note(task).await;
        Ok(())
    }

    /// A run by id.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn load(&self, id: RunId) -> Result<Arc<Run>, Fault> {
        match self.cache.get(id) {
            Some(cached) if !self.tables.is_shared() => Ok(cached.run),
            _ => self.load_stored(id).await,
        }
    }

    /// A run as the tables have it, also where another process changed it: a command on the same
    /// folder may.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn load_stored(&self, id: RunId) -> Result<Arc<Run>, Fault> {
        if let Some(cached) = self.cache.get(id)
            && self.tables.rev(id).await? == Some(cached.rev)
        {
            return Ok(cached.run);
        }
        let run = self.tables.run(id).await?;
        run.map(Arc::new).ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", id))
    }

    /// A tenant's run; another tenant's is not found. Whoever asks for one that is not theirs is
    /// answered from the same question to the tables, whether it is there, in memory, or nowhere:
    /// how long that takes says nothing.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn load_of(&self, tenant: TenantId, id: RunId) -> Result<Arc<Run>, Fault> {
        let unknown = || Fault::not_found("RUN_NOT_FOUND", "run", id);
        match self.cache.get(id).filter(|cached| cached.run.tenant == tenant) {
            Some(cached) if !self.tables.is_shared() => return Ok(cached.run),
            Some(_) => {}
            None if self.tables.has_run(tenant, id).await? => {}
            None => return Err(unknown()),
        }
        let run = self.load_stored(id).await?;
        if run.tenant == tenant { Ok(run) } else { Err(unknown()) }
    }

    /// Forgets what is in memory of a run that was removed.
    pub fn forget_run(&self, id: RunId) {
        self.cache.forget(id);
        self.hub.changed(id);
    }

    /// Sees every change of a run from now on.
    pub fn watch(&self, run: RunId) -> watch::Receiver<Recent> {
        self.hub.watch(run)
    }

    /// Sees every result of what belongs to no run.
    pub fn watch_loose(&self) -> watch::Receiver<()> {
        self.hub.watch_loose()
    }

    /// Tells those who wait for the result of what belongs to no run.
    pub fn loose_changed(&self) {
        self.hub.loose_changed();
    }

    /// Waits for a change, at most `limit` or the time after which a waiter looks again.
    pub async fn wait<T>(changes: &mut watch::Receiver<T>, limit: Duration) {
        // A timeout is as good as a change; a closed channel means the engine is gone, and the
        // caller finds out by its next read.
        let _ = tokio::time::timeout(limit.min(LOOK_AGAIN), changes.changed()).await;
    }

    async fn note(&self, task: &Task) {
        if let Some(candidate) = Candidate::of(task) {
            // A writer that is gone hands nothing out anyway.
            let _ = self.ops.send(Op::Note(candidate)).await;
        }
    }

    async fn change(&self, run: RunId, change: Change) -> Result<Arc<Run>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.ask(Op::Change { run, change, reply: Some(reply) }, answer).await
    }

    async fn ask<T>(
        &self,
        op: Op,
        answer: oneshot::Receiver<Result<T, Fault>>,
    ) -> Result<T, Fault> {
        self.send(op).await?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    async fn send(&self, op: Op) -> Result<(), Fault> {
        self.ops.send(op).await.map_err(|_| stopping())
    }
}

/// Whoever waited is told to ask again, elsewhere or later.
pub fn stopping() -> Fault {
    let text = "the orchestrator is stopping; ask again from where you are";
    Fault::new(ErrorKind::Unavailable, "STOPPING", text)
}
