//! A model of the tables, with the promises that the SQL store makes: revisions, all of a batch or
//! nothing, unique keys, leases that only their holder renews.

use meta_domain::id::{GateId, RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use orchestrator::core::apply::apply;
use orchestrator::core::event::RunEvent;
use orchestrator::core::queue::{Task, TaskState};
use orchestrator::core::ready::Candidate;
use orchestrator::core::run::Run;
use orchestrator::store::{Loaded, RunRow, Writes};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Why a batch is not stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// A run changed since it was read, or another process made one for the same request.
    Conflict,
    /// A row of that number is there already, or one is left out.
    Sequence(String),
}

#[derive(Debug)]
struct Row {
    rev: i64,
    seq: u64,
    body: Option<Arc<Run>>,
    events: Vec<(Timestamp, RunEvent)>,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Store {
    runs: BTreeMap<RunId, Row>,
    requests: BTreeMap<(TenantId, String), RunId>,
    tasks: BTreeMap<TaskId, Task>,
}

impl Store {
    /// A run's revision.
    pub fn rev(&self, run: RunId) -> Option<i64> {
        self.runs.get(&run).map(|row| row.rev)
    }

    /// The run that a request made.
    pub fn of_request(&self, tenant: TenantId, request: &str) -> Option<RunId> {
        self.requests.get(&(tenant, request.to_owned())).copied()
    }

    /// Every run.
    pub fn runs(&self) -> impl Iterator<Item = RunId> {
        self.runs.keys().copied()
    }

    /// Every task.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// The tasks of a run.
    pub fn tasks_of(&self, run: RunId) -> Vec<Task> {
        self.tasks.values().filter(|t| t.run == Some(run)).cloned().collect()
    }

    /// A task.
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// A run's log.
    pub fn events(&self, run: RunId) -> &[(Timestamp, RunEvent)] {
        self.runs.get(&run).map(|row| row.events.as_slice()).unwrap_or_default()
    }

    /// A run with its tasks: what was kept of it, and the events after that.
    pub fn load(&self, id: RunId) -> Option<Loaded> {
        let row = self.runs.get(&id)?;
        let mut run = match (&row.body, row.events.first()) {
            (Some(body), _) => (**body).clone(),
            (None, Some((_, RunEvent::Created { run }))) => (**run).clone(),
            (None, _) => return None,
        };
        let after = usize::try_from(run.seq).expect("logs are short");
        for (at, event) in &row.events[after..] {
            apply(&mut run, event, *at);
        }
        Some(Loaded { run, rev: row.rev, tasks: self.tasks_of(id) })
    }

    /// Stores a batch, or nothing.
    pub fn commit(&mut self, writes: &Writes) -> Result<(), Refused> {
        for row in &writes.runs {
            if self.rev(row.run.id).unwrap_or(0) != row.rev || self.is_taken(row) {
                return Err(Refused::Conflict);
            }
        }
        self.in_sequence(writes)?;
        for row in &writes.runs {
            let stored = self.runs.entry(row.run.id).or_insert_with(|| Row {
                rev: 0,
                seq: 0,
                body: None,
                events: Vec::new(),
            });
            (stored.rev, stored.seq) = (row.rev + 1, row.run.seq);
            if row.keep {
                stored.body = Some(Arc::clone(&row.run));
            }
            if let Some(request) = &row.request_id {
                self.requests.insert((row.run.tenant, request.clone()), row.run.id);
            }
        }
        for event in &writes.events {
            let row = self.runs.get_mut(&event.run.id).expect("its run is in the batch");
            row.events.push((event.at, event.event.clone()));
        }
        for task in &writes.gone {
            self.tasks.remove(task);
        }
        for task in &writes.tasks {
            self.put(task);
        }
        Ok(())
    }

    fn is_taken(&self, row: &RunRow) -> bool {
        let Some(request) = &row.request_id else { return false };
        self.of_request(row.run.tenant, request).is_some_and(|first| first != row.run.id)
    }

    /// The log's numbers are its key: they follow each other, and the run's row knows the last.
    fn in_sequence(&self, writes: &Writes) -> Result<(), Refused> {
        let mut last: BTreeMap<RunId, u64> = BTreeMap::new();
        for event in &writes.events {
            let id = event.run.id;
            let stored = self.runs.get(&id).map_or(0, |row| row.events.len() as u64);
            let last = last.entry(id).or_insert(stored);
            if event.seq != *last + 1 {
                let text = format!("event {} of run {id} follows {last}", event.seq);
                return Err(Refused::Sequence(text));
            }
            *last = event.seq;
        }
        for row in &writes.runs {
            let stored = self.runs.get(&row.run.id).map_or(0, |row| row.seq);
            let last = last.get(&row.run.id).copied().unwrap_or(stored);
            if row.run.seq != last {
                let text = format!("run {} is at {}, its log at {last}", row.run.id, row.run.seq);
                return Err(Refused::Sequence(text));
            }
        }
        Ok(())
    }

    /// As the upsert does: what names the task stays, and a lease that was renewed meanwhile too.
    fn put(&mut self, task: &Task) {
        let Some(old) = self.tasks.get_mut(&task.id) else {
            self.tasks.insert(task.id, task.clone());
            return;
        };
        let held = matches!(task.state, TaskState::Leased | TaskState::Dropped);
        let renewed = old.epoch == task.epoch && held && old.lease_until > task.lease_until;
        let lease_until = if renewed { old.lease_until } else { task.lease_until };
        *old = Task { lease_until, ..task.clone() };
    }

    /// Renews leases; answers those that do not hold any longer.
    pub fn renew(&mut self, leases: &[(TaskId, i64)], until: Timestamp) -> Vec<(TaskId, i64)> {
        let mut lost = Vec::new();
        for (id, epoch) in leases {
            match self.tasks.get_mut(id).filter(|t| t.is_leased(*epoch)) {
                Some(task) => task.lease_until = until,
                None => lost.push((*id, *epoch)),
            }
        }
        lost
    }

    /// Leases a task that belongs to no run.
    pub fn lease_loose(&mut self, id: TaskId, owner: &str, until: Timestamp) -> Option<Task> {
        let free = |t: &&mut Task| t.state == TaskState::Ready && t.run.is_none();
        let task = self.tasks.get_mut(&id).filter(free)?;
        task.lease(owner, until);
        Some(task.clone())
    }

    /// Gives such a task back.
    pub fn release_loose(&mut self, id: TaskId, epoch: i64, due: Timestamp) {
        if let Some(task) = self.tasks.get_mut(&id).filter(|t| t.is_leased(epoch)) {
            task.release(due);
        }
    }

    /// Forgets such a task.
    pub fn forget_loose(&mut self, id: TaskId, epoch: i64) {
        if self.tasks.get(&id).is_some_and(|t| t.epoch == epoch && t.run.is_none()) {
            self.tasks.remove(&id);
        }
    }

    /// Gives back such tasks whose leases are over.
    pub fn release_overdue_loose(&mut self, now: Timestamp) -> bool {
        let over =
            |t: &&mut Task| t.run.is_none() && t.state == TaskState::Leased && t.lease_until < now;
        let mut any = false;
        for task in self.tasks.values_mut().filter(over) {
            any = true;
            task.release(task.due);
        }
        any
    }

    /// Runs with a lease that is over.
    pub fn overdue(&self, now: Timestamp) -> Vec<RunId> {
        let held = |t: &&Task| matches!(t.state, TaskState::Leased | TaskState::Dropped);
        let mut runs: Vec<RunId> = self
            .tasks
            .values()
            .filter(held)
            .filter(|t| t.lease_until < now)
            .filter_map(|t| t.run)
            .collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    /// Runs of which somebody holds a task.
    pub fn leased_runs(&self) -> Vec<RunId> {
        self.overdue(Timestamp(i64::MAX))
    }

    /// Tasks that nobody holds.
    pub fn candidates(&self, internal: bool) -> Vec<Candidate> {
        let all = self.tasks.values().filter_map(Candidate::of);
        all.filter(|c| c.internal == internal).collect()
    }

    /// How many tasks of each tenant runners hold.
    pub fn held(&self) -> HashMap<TenantId, u32> {
        let mut held = HashMap::new();
        let leased = |t: &&Task| t.state == TaskState::Leased && !t.kind.is_internal();
        for task in self.tasks.values().filter(leased) {
            *held.entry(task.tenant).or_default() += 1;
        }
        held
    }
}

/// The gate of that id, in a run of the store.
pub fn gate_event(event: &RunEvent) -> Option<(GateId, &str)> {
    match event {
        RunEvent::ApprovalGranted { gate, actor, .. }
        | RunEvent::ApprovalRejected { gate, actor, .. } => Some((*gate, actor)),
        RunEvent::GateExpired { gate, .. } | RunEvent::GateSuperseded { gate, .. } => {
            Some((*gate, ""))
        }
        _ => None,
    }
}
