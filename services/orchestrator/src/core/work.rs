//! A run with its tasks, being changed: what a batch decides before it is stored.

use super::audit::By;
use super::event::{Execution, RunEvent};
use super::invariants;
use super::queue::{Task, TaskState, expire, settle};
use super::run::{Run, State};
use super::transition::{Context, Effect, Input, Sharing, TaskKind, transition};
use crate::core::apply::apply;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::TaskId;
use meta_domain::signal::ExitInfo;
use meta_domain::time::Timestamp;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// How often a task may be leased before its loss is taken for its own fault.
pub const LEASES_MAX: i64 = 4;
/// Wait before a task is leased again whose holder took it for out of date: this times two to the
/// tries, in milliseconds.
const UNWANTED_PAUSE_MS: i64 = 500;
/// How long before its time a task may be leased, in milliseconds: storing that takes about so long,
/// and the task is handed out when its time has come.
pub const AHEAD_MS: i64 = 3;
/// Events after which the run itself is kept again, so that it is soon read.
const KEEP_EVERY: u64 = 64;

/// The task that a change finishes, with what it left behind.
#[derive(Debug, Clone, Default)]
pub struct Finish {
    /// The task and the epoch of its lease.
    pub task: Option<(TaskId, i64)>,
    /// Artifacts to put, by name.
    pub artifacts: Vec<(String, Vec<u8>)>,
}

/// What deciding may not make up by itself.
pub struct Given<'a> {
    /// The time.
    pub now: Timestamp,
    /// Fresh ids.
    pub ids: &'a mut (dyn FnMut() -> Uuid + Send),
    /// How long a lease holds without a heartbeat, in milliseconds.
    pub lease_ms: i64,
}

/// A run with its tasks.
#[derive(Debug, Clone)]
pub struct Work {
    /// The run, with everything below applied.
    pub run: Arc<Run>,
    /// The revision that it was read at; 0 for a new one.
    pub rev: i64,
    /// Its tasks, with everything applied.
    pub tasks: Vec<Task>,
    /// What happened, with the time.
    pub events: Vec<(Timestamp, RunEvent)>,
    /// Artifacts to put, by name.
    pub artifacts: Vec<(String, Vec<u8>)>,
    /// New tasks that belong to no run.
    pub loose: Vec<Task>,
    /// The caller's id of the request that made it, when it is new.
    pub request_id: Option<String>,
    /// Which events somebody asked for, and how.
    asked: Vec<(Range<usize>, Arc<By>)>,
    /// What the tasks do whose holders were lost.
    pub lost: Vec<TaskKind>,
    /// The run before the events.
    pub was: Arc<Run>,
    /// Its tasks before that.
    pub before: Arc<Vec<Task>>,
}

impl Work {
    /// A run as it was read.
    pub fn new(run: Arc<Run>, rev: i64, tasks: Arc<Vec<Task>>) -> Self {
        Self {
            was: Arc::clone(&run),
            run,
            rev,
            tasks: tasks.to_vec(),
            events: Vec::new(),
            artifacts: Vec::new(),
            loose: Vec::new(),
            request_id: None,
            asked: Vec::new(),
            lost: Vec::new(),
            before: tasks,
        }
    }

    /// A run that does not exist yet, started.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn create(run: Run, given: &mut Given<'_>) -> Result<Self, Fault> {
        let created = RunEvent::Created { run: Box::new(run.clone()) };
        let mut first = run;
        apply(&mut first, &created, given.now);
        let mut work = Self::new(Arc::new(first), 0, Arc::default());
        work.events.push((given.now, created));
        work.advance(Input::Start, Finish::default(), given)?;
        Ok(work)
    }

    /// Notes that the events from this one on were asked for in this way.
    pub fn note_asked(&mut self, from: usize, by: Option<&Arc<By>>) {
        let events = from..self.events.len();
        if let Some(by) = by.filter(|_| !events.is_empty()) {
            self.asked.push((events, Arc::clone(by)));
        }
    }

    /// How the event of this place was asked for, if somebody did.
    pub fn asked_by(&self, event: usize) -> Option<&By> {
        self.asked.iter().find(|(events, _)| events.contains(&event)).map(|(_, by)| &**by)
    }

    /// Whether anything has to be stored.
    pub fn is_changed(&self) -> bool {
        !self.events.is_empty() || !self.artifacts.is_empty() || self.tasks != *self.before
    }

    /// Tasks that are new or changed.
    pub fn put(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|t| !self.before.contains(t)).chain(&self.loose)
    }

    /// Tasks that are over.
    pub fn gone(&self) -> impl Iterator<Item = TaskId> {
        let left = |t: &&Task| !self.tasks.iter().any(|n| n.id == t.id);
        self.before.iter().filter(left).map(|t| t.id)
    }

    /// Whether the run itself has to be kept, not only its events.
    pub fn is_milestone(&self) -> bool {
        let first = self.run.seq.saturating_sub(self.events.len() as u64);
        let idle = self.run.status.is_terminal() || !self.run.steps.iter().any(|s| s.is_active());
        !self.events.is_empty()
            && (idle && !self.run.base.is_empty()
                || self.run.status.is_terminal()
                || first / KEEP_EVERY != self.run.seq / KEEP_EVERY)
    }

    /// The task of that id, with that epoch of its lease.
    ///
    /// # Errors
    /// When the lease is over.
    pub fn leased(&self, id: TaskId, epoch: i64) -> Result<&Task, Fault> {
        let task = self.tasks.iter().find(|t| t.id == id && t.is_leased(epoch));
        task.ok_or_else(lease_lost)
    }

    /// Changes the run by an input; all of it or nothing.
    ///
    /// # Errors
    /// When the input does not fit the run's state, or the lease is lost.
    pub fn advance(
        &mut self,
        input: Input,
        finish: Finish,
        given: &mut Given<'_>,
    ) -> Result<(), Fault> {
        if let Some((id, epoch)) = finish.task {
            self.leased(id, epoch)?;
        }
        let ids = [(given.ids)(), (given.ids)(), (given.ids)(), (given.ids)()];
        let next = transition(&self.run, input, &Context { now: given.now, ids })?;
        if let Some(name) = invariants::broken(&next.run) {
            let text = format!("a transition of run {} would break {name}", self.run.id);
            return Err(Fault::new(ErrorKind::Internal, "INVARIANT_BROKEN", text));
        }
        if let Some((id, _)) = finish.task {
            self.tasks.retain(|t| t.id != id);
        }
        self.artifacts.extend(finish.artifacts);
        self.run = Arc::new(next.run);
        self.events.extend(next.events.into_iter().map(|e| (given.now, e)));
        for effect in next.effects {
            self.carry_out(effect, given);
        }
        if self.run.status.is_terminal() {
            let timer = |t: &Task| matches!(t.kind, TaskKind::Expire | TaskKind::Deadline);
            self.tasks.retain(|t| !timer(t) || t.state == TaskState::Leased);
        }
        self.settle(given.now);
        Ok(())
    }

    fn settle(&mut self, now: Timestamp) {
        settle(&mut self.tasks, now, !self.run.held_by.is_empty());
    }

    fn carry_out(&mut self, effect: Effect, given: &mut Given<'_>) {
        match effect {
            // What a runner holds keeps the workspace until the runner has ended it.
            Effect::DropTasks => {
                self.tasks.retain(|t| matches!(t.state, TaskState::Leased | TaskState::Dropped));
                for task in &mut self.tasks {
                    task.state = TaskState::Dropped;
                }
            }
            Effect::DropTasksOf { step } => {
                let held = |t: &Task| matches!(t.state, TaskState::Leased | TaskState::Dropped);
                self.tasks.retain(|t| t.step != step || held(t));
                for task in self.tasks.iter_mut().filter(|t| t.step == step) {
                    task.state = TaskState::Dropped;
                }
            }
            Effect::Enqueue { kind, step, due, sharing, avoid } => {
                let id = (given.ids)().into();
                let labels = self.run.labels_of(kind, &step);
                self.tasks.push(Task {
                    run: Some(self.run.id),
                    step,
                    sharing,
                    avoid,
                    labels,
                    priority: self.run.priority,
                    ..Task::new(id, self.run.tenant, kind, due)
                });
            }
            // It belongs to no run: it is told whatever becomes of this one.
            Effect::Tell(told) => {
                let id = (given.ids)().into();
                let payload = serde_json::to_string(&told).unwrap_or_default();
                let task = Task::new(id, self.run.tenant, TaskKind::Record, given.now);
                self.loose.push(Task { payload, sharing: Sharing::None, ..task });
            }
        }
    }

    /// Leases a task, or one whose time comes within [`AHEAD_MS`], and tells the run. Nothing when it cannot be leased now; a task that no longer
    /// fits its run is forgotten, and one that killed too many runners is ended.
    ///
    /// # Errors
    /// When the run cannot take it.
    pub fn claim(
        &mut self,
        id: TaskId,
        owner: &str,
        given: &mut Given<'_>,
    ) -> Result<Option<Task>, Fault> {
        let soon = given.now.plus_ms(AHEAD_MS);
        let ready = |t: &&mut Task| t.id == id && t.state == TaskState::Ready && t.due <= soon;
        self.settle(given.now);
        let Some(task) = self.tasks.iter_mut().find(ready) else { return Ok(None) };
        // nothing starts before its time, whenever that is stored
        let now = given.now.max(task.due);
        let given = &mut Given { now, ids: &mut *given.ids, lease_ms: given.lease_ms };
        task.lease(owner, given.now.plus_ms(given.lease_ms));
        let task = task.clone();
        if task.tries > LEASES_MAX && !task.kind.is_internal() {
            return self.lost_too_often(&task, given).or_else(|f| self.unless_stale(id, f, given));
        }
        let (step, log) = (task.step.clone(), log_name(task.id, task.epoch));
        let input = match task.kind {
            TaskKind::Step => Input::StepStarted { step, log, runner: owner.to_owned() },
            TaskKind::Verify => Input::VerificationStarted { step, log },
            _ => {
                self.settle(given.now);
                return Ok(Some(task));
            }
        };
        match self.advance(input, Finish::default(), given) {
            Ok(()) => Ok(Some(task)),
            Err(fault) => self.unless_stale(id, fault, given),
        }
    }

    /// The run does not take a task: one that fits it no longer goes.
    fn unless_stale(
        &mut self,
        id: TaskId,
        fault: Fault,
        given: &Given<'_>,
    ) -> Result<Option<Task>, Fault> {
        if fault.kind != ErrorKind::FailedPrecondition {
            return Err(fault);
        }
        self.tasks.retain(|t| t.id != id);
        self.settle(given.now);
        Ok(None)
    }

    /// Each lease of the task ended with its runner: the step itself may be what kills runners.
    fn lost_too_often(
        &mut self,
        task: &Task,
        given: &mut Given<'_>,
    ) -> Result<Option<Task>, Fault> {
        let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
        let executing = self.run.step(&task.step).is_some_and(|s| s.state == State::Executing);
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
        self.advance(input, finish, given).map(|()| None)
    }

    /// Gives a leased task back, to be leased again from `due` on. `unused`: nobody began it, so
    /// the lease does not count as a try.
    ///
    /// # Errors
    /// When the lease is over.
    pub fn release(
        &mut self,
        id: TaskId,
        epoch: i64,
        due: Timestamp,
        unused: bool,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let task = self.tasks.iter_mut().find(|t| t.id == id && t.is_leased(epoch));
        let task = task.ok_or_else(lease_lost)?;
        task.release(due);
        task.tries -= i64::from(unused);
        self.settle(now);
        Ok(())
    }

    /// Forgets a task of this epoch that the run wants no more: one that was dropped, and a timer that
    /// came too late. What else is leased the run waits for, whatever its holder believes: it is
    /// given back, since without it the run would stand still for ever.
    pub fn forget(&mut self, id: TaskId, epoch: i64, now: Timestamp) {
        let timer = |t: &Task| matches!(t.kind, TaskKind::Expire | TaskKind::Deadline);
        let this = |t: &Task| t.id == id && t.epoch == epoch;
        self.tasks.retain(|t| {
            let over = t.state == TaskState::Dropped || t.is_leased(epoch) && timer(t);
            !(this(t) && over)
        });
        if let Some(task) = self.tasks.iter_mut().find(|t| this(t) && t.is_leased(epoch)) {
            task.release(now.plus_ms(UNWANTED_PAUSE_MS << task.tries.clamp(0, 6)));
        }
        self.settle(now);
    }

    /// Takes back what is leased for too long; answers whose holders are lost.
    pub fn expire(&mut self, now: Timestamp) -> Vec<TaskId> {
        let lost = expire(&mut self.tasks, now);
        let of_lost = self.tasks.iter().filter(|t| lost.contains(&t.id));
        self.lost.extend(of_lost.map(|t| t.kind));
        self.settle(now);
        lost
    }

    /// A process starts and nobody else works on the tables. The orchestrator's own tasks are free
    /// again. So are the runners' when these are known to be dead (`alone`): it was not the task's
    /// fault. Otherwise they had nobody to renew their leases with, and get the time to do so.
    pub fn restart(&mut self, alone: bool, now: Timestamp, lease_ms: i64) {
        if alone {
            self.tasks.retain(|t| t.state != TaskState::Dropped);
        }
        for task in &mut self.tasks {
            match task.state {
                TaskState::Leased if alone || task.kind.is_internal() => {
                    let exclusive = task.kind == TaskKind::Step;
                    task.release(task.due);
                    task.tries -= 1;
                    task.sharing = if exclusive { Sharing::Exclusive } else { task.sharing };
                }
                TaskState::Leased | TaskState::Dropped => {
                    task.lease_until = task.lease_until.max(now.plus_ms(lease_ms));
                }
                TaskState::Waiting | TaskState::Ready | TaskState::Done => {}
            }
        }
        self.settle(now);
    }

    /// Tasks that could be leased at once.
    pub fn claimable(&self, now: Timestamp) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(move |t| t.state == TaskState::Ready && t.due <= now)
    }
}

/// The name of a lease's log.
pub fn log_name(task: TaskId, epoch: i64) -> String {
    format!("{task}.{epoch}.log")
}

/// The caller's lease is over.
pub fn lease_lost() -> Fault {
    Fault::new(
        ErrorKind::FailedPrecondition,
        "LEASE_LOST",
        "the task was canceled or is leased to somebody else",
    )
}

#[cfg(test)]
mod tests;
