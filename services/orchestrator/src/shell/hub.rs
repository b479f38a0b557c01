//! Who waits for news of a run.

use meta_domain::id::RunId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Watchers of runs, by run; and of what belongs to no run.
#[derive(Debug, Clone)]
pub struct Hub {
    runs: Arc<Mutex<HashMap<RunId, watch::Sender<()>>>>,
    loose: Arc<watch::Sender<()>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { runs: Arc::default(), loose: Arc::new(watch::Sender::new(())) }
    }
}

impl Hub {
    /// Sees every change of a run from now on.
    pub fn watch(&self, run: RunId) -> watch::Receiver<()> {
        self.locked().entry(run).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Sees every result of what belongs to no run.
    pub fn watch_loose(&self) -> watch::Receiver<()> {
        self.loose.subscribe()
    }

    /// A run changed.
    pub fn changed(&self, run: RunId) {
        let mut runs = self.locked();
        if let Some(sender) = runs.get(&run)
            && sender.send(()).is_err()
        {
            runs.remove(&run);
        }
    }

    /// Something that belongs to no run changed.
    pub fn loose_changed(&self) {
        self.loose.send_replace(());
    }

    /// Every watcher looks again: what changed is not known.
    pub fn all_changed(&self) {
        self.locked().retain(|_, sender| sender.send(()).is_ok());
        self.loose_changed();
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<()>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
