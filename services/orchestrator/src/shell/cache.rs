//! Runs in memory, each as of the revision that this process stored or read last.

use crate::core::queue::Task;
use crate::core::run::Run;
use meta_domain::id::{RunId, TaskId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs kept; above it the ones used least recently are forgotten.
const RUNS_MAX: usize = 2_000;

/// A run with its tasks.
#[derive(Debug, Clone)]
pub struct Cached {
    /// The run.
    pub run: Arc<Run>,
    /// Its revision.
    pub rev: i64,
    /// Its tasks.
    pub tasks: Arc<Vec<Task>>,
}

#[derive(Debug, Default)]
struct Inner {
    runs: HashMap<RunId, (Cached, u64)>,
    of_task: HashMap<TaskId, RunId>,
    turn: u64,
}

/// The runs in memory.
#[derive(Debug, Clone, Default)]
pub struct Cache(Arc<Mutex<Inner>>);

impl Cache {
    /// A run, if it is here.
    pub fn get(&self, id: RunId) -> Option<Cached> {
        let mut inner = self.locked();
        inner.turn += 1;
        let turn = inner.turn;
        let (cached, used) = inner.runs.get_mut(&id)?;
        *used = turn;
        Some(cached.clone())
    }

    /// A task of a run that is here.
    pub fn task(&self, id: TaskId) -> Option<Task> {
        let inner = self.locked();
        let run = inner.of_task.get(&id)?;
        let (cached, _) = inner.runs.get(run)?;
        cached.tasks.iter().find(|t| t.id == id).cloned()
    }

    /// Keeps a run in place of what is known of it.
    pub fn put(&self, cached: Cached) {
        let mut inner = self.locked();
        let id = cached.run.id;
        inner.forget(id);
        if inner.runs.len() >= RUNS_MAX {
            inner.make_room();
        }
        for task in cached.tasks.iter() {
            inner.of_task.insert(task.id, id);
        }
        inner.turn += 1;
        let turn = inner.turn;
        inner.runs.insert(id, (cached, turn));
    }

    /// Forgets a run.
    pub fn forget(&self, id: RunId) {
        self.locked().forget(id);
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, id: RunId) {
        if let Some((old, _)) = self.runs.remove(&id) {
            for task in old.tasks.iter() {
                self.of_task.remove(&task.id);
            }
        }
    }

    /// Forgets the quarter that was used least recently.
    fn make_room(&mut self) {
        let mut turns: Vec<(u64, RunId)> =
            self.runs.iter().map(|(id, (_, used))| (*used, *id)).collect();
        turns.sort_unstable();
        for (_, id) in turns.into_iter().take(RUNS_MAX / 4) {
            self.forget(id);
        }
    }
}
