//! Orchestrators: each has a memory of its own, and shares the tables with the others. What the
//! shell does with connections and tasks of an executor is done here one after another.

use super::faults::Call;
use super::round::{Batch, Slot, Wish};
use super::runner::Parcel;
use super::world::{Answer, Ask, LEASE_MS, Message, Node, Timer, World, store_failed};
use super::{cases, checks::CLOCK_ERROR_MS};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use orchestrator::core::queue::Task;
use orchestrator::core::ready::{Offer, Ready};
use orchestrator::core::run::Run;
use orchestrator::core::transition::{Input, TaskKind};
use orchestrator::core::work::{Finish, LEASES_MAX, lease_lost};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How often it looks for leases that are over, in milliseconds.
pub const SWEEP_MS: i64 = 1_000;
/// Own tasks at work at once.
const CONCURRENCY: usize = 4;
/// Backoff of a task that a runner could not carry out: this times two to the tries.
const RETRY_BASE_MS: i64 = 500;
/// Wait before one of its own tasks is tried again, in milliseconds.
const PEER_AWAY_MS: i64 = 1_000;
/// How long a poll waits, in milliseconds.
const POLL_MS: i64 = 2_000;

/// A run in memory.
#[derive(Debug, Clone)]
pub struct Cached {
    /// The run.
    pub run: Arc<Run>,
    /// Its revision.
    pub rev: i64,
    /// Its tasks.
    pub tasks: Arc<Vec<Task>>,
}

/// One of its own tasks at work.
#[derive(Debug)]
pub struct Job {
    task: Task,
    input: Result<Option<Input>, Fault>,
    renewed: bool,
}

/// What a caller wants of a run.
#[derive(Debug, Clone)]
pub enum Change {
    /// An input for the state machine.
    Advance(Box<Input>, Finish),
    /// A leased task is given back.
    Release(TaskId, i64, Timestamp, bool),
    /// A task is not wanted any more.
    Forget(TaskId, i64),
    /// Leases may be over.
    Expire,
    /// The process starts, and nobody else is there.
    Restart,
}

/// Where the answer goes.
#[derive(Debug, Clone)]
pub enum After {
    /// Nowhere.
    Nobody,
    /// To a caller who waits for the run.
    Run(Node, u64),
    /// To a runner; a result that fits no more is forgotten.
    Complete(Node, u64, TaskId, i64),
    /// One of its own tasks is over.
    Job(Box<Task>),
}

/// One orchestrator.
#[derive(Debug, Default)]
pub struct Replica {
    /// Which of its processes this is.
    pub boot: u32,
    /// It lives.
    pub alive: bool,
    /// It does nothing before.
    pub paused_until: i64,
    /// How far the clock of its host is off, in milliseconds. Nothing may go by it.
    pub wall_ms: i64,
    /// How far its own clock is from the store's, in milliseconds.
    pub skew_ms: i64,
    pub(super) started: i64,
    pub(super) cache: BTreeMap<RunId, Cached>,
    pub(super) ready: Ready,
    pub(super) held: HashMap<TenantId, u32>,
    pub(super) stale: bool,
    pub(super) inbox: Vec<Wish>,
    pub(super) slots: Vec<Slot>,
    pub(super) returned: Vec<Task>,
    pub(super) batch: Option<Batch>,
    pub(super) sweeps: bool,
    pub(super) swept: bool,
    round_planned: bool,
    jobs: BTreeMap<(TaskId, i64), Job>,
}

impl Replica {
    /// It is gone, with all it knew; its host goes on.
    pub fn dies(&mut self) {
        *self = Self { boot: self.boot + 1, wall_ms: self.wall_ms, ..Self::default() };
    }
}

impl World {
    /// The time as an orchestrator knows it.
    pub(super) fn clock(&self, at: usize) -> Timestamp {
        Timestamp(self.now + self.replicas[at].skew_ms)
    }

    fn follow_the_store(&mut self, at: usize) {
        self.replicas[at].skew_ms = self.random.between(-CLOCK_ERROR_MS / 4, CLOCK_ERROR_MS / 4);
    }

    pub(super) fn replica_starts(&mut self, at: usize) {
        self.trace.say(self.now, format_args!("Replica({at}) starts"));
        self.follow_the_store(at);
        let replica = &mut self.replicas[at];
        replica.alive = true;
        replica.stale = true;
        replica.started = self.now;
        let node = Node::Replica(at);
        self.wake(node, 1, Timer::Sweep);
        self.wake(node, LEASE_MS / 3, Timer::Beat);
        if self.alone {
            self.store.release_overdue_loose(Timestamp(i64::MAX));
            for run in self.store.leased_runs() {
                self.wish(at, Wish::change(run, Change::Restart, After::Nobody));
            }
        }
    }

    pub(super) fn replica_wakes(&mut self, at: usize, timer: Timer) {
        match timer {
            Timer::Round => {
                self.replicas[at].round_planned = false;
                self.round(at);
            }
            Timer::Commit => self.commit(at),
            Timer::Sweep => {
                self.replicas[at].sweeps = true;
                self.plan_round(at, 0);
                self.wake(Node::Replica(at), SWEEP_MS, Timer::Sweep);
            }
            Timer::Job(task, epoch) => self.job_ends(at, (task, epoch)),
            Timer::Beat => {
                self.renew_own(at);
                self.wake(Node::Replica(at), LEASE_MS / 3, Timer::Beat);
            }
            _ => {}
        }
    }

    pub(super) fn plan_round(&mut self, at: usize, after: i64) {
        if !self.replicas[at].round_planned {
            self.replicas[at].round_planned = true;
            self.wake(Node::Replica(at), after, Timer::Round);
        }
    }

    pub(super) fn wish(&mut self, at: usize, wish: Wish) {
        self.replicas[at].inbox.push(wish);
        let soon = self.random.between(0, 2);
        self.plan_round(at, soon);
    }

    /// A message came.
    pub(super) fn asked(&mut self, at: usize, from: Node, call: u64, ask: Ask) {
        match ask {
            Ask::Create(run, request) => {
                self.wish(at, Wish::create(run, request, After::Run(from, call)));
            }
            Ask::Advance(run, input) => {
                let change = Change::Advance(input, Finish::default());
                self.wish(at, Wish::change(run, change, After::Run(from, call)));
            }
            Ask::Read(run) => {
                let read = self.read(at, run);
                self.answer(at, from, call, Answer::Run(read));
            }
            Ask::Poll(offer, room) => self.slot(at, offer, room, Some((from, call))),
            Ask::Beat(leases) => {
                let until = self.clock(at).plus_ms(LEASE_MS);
                if let Some(lost) = self.renew(&leases, until) {
                    self.answer(at, from, call, Answer::Lost(lost));
                }
            }
            Ask::Complete(parcel) => self.complete(at, from, call, *parcel),
        }
    }

    pub(super) fn answer(&mut self, at: usize, to: Node, call: u64, answer: Answer) {
        self.send(Node::Replica(at), to, Message::Answer(call, answer));
    }

    pub(super) fn slot(&mut self, at: usize, offer: Offer, room: usize, to: Option<(Node, u64)>) {
        let id = self.number();
        let until = self.now + if to.is_some() { POLL_MS } else { i64::MAX / 4 };
        let gathered = Vec::new();
        self.replicas[at].slots.push(Slot { id, offer, room, until, to, gathered });
        self.plan_round(at, 0);
    }

    /// Its own tasks are polled for like a runner's.
    pub(super) fn poll_own(&mut self, at: usize) {
        let replica = &self.replicas[at];
        let room = CONCURRENCY.saturating_sub(replica.jobs.len());
        if room == 0 || replica.slots.iter().any(|s| s.to.is_none()) {
            return;
        }
        let owner = format!("orchestrator-{at}-{}", replica.boot);
        let offer = Offer { owner, internal: true, only: None, labels: Vec::new(), others: false };
        self.slot(at, offer, room, None);
    }

    fn renew(&mut self, leases: &[(TaskId, i64)], until: Timestamp) -> Option<Vec<(TaskId, i64)>> {
        let fate = self.call_store();
        if fate == Call::FailsBefore {
            return None;
        }
        let lost = self.store.renew(leases, until);
        for (task, epoch) in leases.iter().filter(|lease| !lost.contains(lease)) {
            self.checks.leased(*task, *epoch, self.now, LEASE_MS);
        }
        (fate == Call::Fine).then_some(lost)
    }

    fn renew_own(&mut self, at: usize) {
        let jobs = self.replicas[at].jobs.iter().filter(|(_, job)| job.renewed);
        let leases: Vec<_> = jobs.map(|(key, _)| *key).collect();
        let until = self.clock(at).plus_ms(LEASE_MS);
        // Each by itself, as each task does.
        for key in leases {
            let lost = self.renew(&[key], until).is_some_and(|lost| !lost.is_empty());
            if let Some(job) = self.replicas[at].jobs.get_mut(&key).filter(|_| lost) {
                job.input = Err(lease_lost());
            }
        }
    }

    /// A run as it is now.
    fn read(&mut self, at: usize, id: RunId) -> Result<Arc<Run>, Fault> {
        let cached = self.replicas[at].cache.get(&id);
        if let Some(cached) = cached
            && (self.alone || self.store.rev(id) == Some(cached.rev))
        {
            return Ok(Arc::clone(&cached.run));
        }
        if self.call_store() != Call::Fine {
            return Err(store_failed());
        }
        let loaded = self.store.load(id);
        loaded.map(|l| Arc::new(l.run)).ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", id))
    }

    /// A runner's result.
    fn complete(&mut self, at: usize, from: Node, call: u64, parcel: Parcel) {
        let (id, epoch) = (parcel.task, parcel.epoch);
        if !self.alone && self.call_store() != Call::Fine {
            return self.answer(at, from, call, Answer::Done(Err(store_failed())));
        }
        let cached = self.replicas[at].cache.values().flat_map(|c| c.tasks.iter());
        let known =
            if self.alone { cached.into_iter().find(|t| t.id == id).cloned() } else { None };
        let task = known.or_else(|| self.store.task(id).cloned());
        let Some(task) = task.filter(|t| t.is_leased(epoch)) else {
            if let (Some(task), Some(run)) = (self.store.task(id), parcel.run)
                && task.epoch == epoch
            {
                self.wish(at, Wish::change(run, Change::Forget(id, epoch), After::Nobody));
            }
            return self.answer(at, from, call, Answer::Done(Err(lease_lost())));
        };
        let Some(run) = task.run else { return };
        let after = After::Complete(from, call, id, epoch);
        let change = match parcel.input {
            None if task.tries < LEASES_MAX => {
                let wait = RETRY_BASE_MS << task.tries.clamp(0, 10);
                Change::Release(id, epoch, self.clock(at).plus_ms(wait), false)
            }
            input => {
                let (kind, step) = (task.kind, task.step);
                let failed =
                    || Box::new(Input::TaskFailed { kind, step, message: "it cannot".into() });
                let finish = Finish { task: Some((id, epoch)), ..Finish::default() };
                Change::Advance(input.unwrap_or_else(failed), finish)
            }
        };
        self.wish(at, Wish::change(run, change, after));
    }

    /// One of its own tasks was leased: what comes of it is decided by the run as it is now.
    pub(super) fn job_begins(&mut self, at: usize, task: Task) {
        let input = match task.run {
            None => Ok(None),
            Some(_) if self.is_stormy() && self.random.chance(60) => {
                Err(Fault::new(ErrorKind::Unavailable, "PEER_UNAVAILABLE", "the peer is away"))
            }
            Some(run) => self.read(at, run).and_then(|run| {
                let input = cases::own(&mut self.random, &run, &task);
                let gone = || Fault::not_found("STEP_NOT_FOUND", "step", &task.step);
                input.ok_or_else(gone).map(Some)
            }),
        };
        let (takes, renewed) = if self.is_stormy() && self.random.chance(40) {
            (self.random.between(LEASE_MS / 2, 2 * LEASE_MS), self.random.chance(700))
        } else {
            (self.random.between(1, 60), true)
        };
        let key = (task.id, task.epoch);
        self.wake(Node::Replica(at), takes, Timer::Job(key.0, key.1));
        self.replicas[at].jobs.insert(key, Job { task, input, renewed });
    }

    fn job_ends(&mut self, at: usize, key: (TaskId, i64)) {
        let Some(job) = self.replicas[at].jobs.remove(&key) else { return };
        let task = job.task;
        match (job.input, task.run) {
            (Ok(Some(input)), Some(run)) => {
                let finish = Finish { task: Some(key), ..Finish::default() };
                let change = Change::Advance(Box::new(input), finish);
                self.wish(at, Wish::change(run, change, After::Job(Box::new(task))));
            }
            (Ok(_), _) => {
                debug_assert_eq!(task.kind, TaskKind::Record);
                if self.call_store() != Call::FailsBefore {
                    self.store.forget_loose(key.0, key.1);
                }
            }
            (Err(fault), _) => self.job_failed(at, &task, &fault),
        }
        self.poll_own(at);
    }

    /// As the judge's shell does: out of date, decided by what is old, or to be tried again.
    pub(super) fn job_failed(&mut self, at: usize, task: &Task, fault: &Fault) {
        let Some(run) = task.run else { return };
        let now = self.clock(at);
        let change = match fault.kind {
            ErrorKind::FailedPrecondition | ErrorKind::NotFound => {
                Change::Forget(task.id, task.epoch)
            }
            ErrorKind::Conflict => Change::Release(task.id, task.epoch, now, false),
            _ => {
                let wait = PEER_AWAY_MS << task.tries.clamp(0, 3);
                Change::Release(task.id, task.epoch, now.plus_ms(wait), false)
            }
        };
        self.wish(at, Wish::change(run, change, After::Nobody));
    }

    /// Leases that are over, and what the others did.
    pub(super) fn sweep(&mut self, at: usize) -> Option<Vec<Wish>> {
        if !self.alone || !self.replicas[at].swept {
            if self.call_store() != Call::Fine {
                return None;
            }
            self.replicas[at].held = self.store.held();
            self.replicas[at].swept = true;
        }
        if !self.alone {
            self.follow_the_store(at);
            self.replicas[at].stale = true;
        }
        if self.now - self.replicas[at].started < LEASE_MS {
            return Some(Vec::new());
        }
        let now = self.clock(at);
        let fate = self.call_store();
        if fate != Call::FailsBefore && self.store.release_overdue_loose(now) {
            self.replicas[at].stale = true;
        }
        if fate != Call::Fine {
            return None;
        }
        let overdue = self.store.overdue(now).into_iter();
        Some(overdue.map(|run| Wish::change(run, Change::Expire, After::Nobody)).collect())
    }
}
