//! Who waits for news of a run.

use crate::store::StoredEvent;
use meta_domain::id::RunId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A run's last events that its watchers find in memory.
const RECENT_MAX: usize = 64;

/// A run's last events, as far as this process stored them while somebody watched.
#[derive(Debug, Clone, Default)]
pub struct Recent(VecDeque<StoredEvent>);

/// Watchers of runs, by run; and of what belongs to no run.
#[derive(Debug, Clone)]
pub struct Hub {
    runs: Arc<Mutex<HashMap<RunId, watch::Sender<Recent>>>>,
    loose: Arc<watch::Sender<()>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { runs: Arc::default(), loose: Arc::new(watch::Sender::new(())) }
    }
}

impl Recent {
    /// The events after a number, up to the first gap; nothing where the next one is not here.
    pub fn after(&self, seq: u64) -> Vec<StoredEvent> {
        let (mut next, mut found) = (seq + 1, Vec::new());
        for event in self.0.iter().filter(|e| e.seq > seq) {
            if event.seq != next {
                break;
            }
            next += 1;
            found.push(event.clone());
        }
        found
    }

    fn push(&mut self, events: impl IntoIterator<Item = StoredEvent>) {
        self.0.extend(events);
        let over = self.0.len().saturating_sub(RECENT_MAX);
        self.0.drain(..over);
    }
}

impl Hub {
    /// Sees every change of a run from now on.
    pub fn watch(&self, run: RunId) -> watch::Receiver<Recent> {
        let mut runs = self.locked();
        // nothing happens any more to most runs whose watchers have gone
        runs.retain(|_, sender| sender.receiver_count() > 0);
        runs.entry(run).or_default().subscribe()
    }

    /// Sees every result of what belongs to no run.
    pub fn watch_loose(&self) -> watch::Receiver<()> {
        self.loose.subscribe()
    }

    /// A run changed elsewhere, or is gone.
    pub fn changed(&self, run: RunId) {
        self.happened(run, Vec::new);
    }

    /// Events of a run were stored here; they are asked for only where somebody watches.
    pub fn happened(&self, run: RunId, events: impl FnOnce() -> Vec<StoredEvent>) {
        let mut runs = self.locked();
        let Some(sender) = runs.get(&run) else { return };
        if sender.receiver_count() == 0 {
            runs.remove(&run);
        } else {
            sender.send_modify(|recent| recent.push(events()));
        }
    }

    /// Something that belongs to no run changed.
    pub fn loose_changed(&self) {
        self.loose.send_replace(());
    }

    /// Every watcher looks again: what changed is not known.
    pub fn all_changed(&self) {
        self.locked().retain(|_, sender| {
            sender.send_modify(|_| {});
            sender.receiver_count() > 0
        });
        self.loose_changed();
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<Recent>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::time::Timestamp;

    fn event(seq: u64) -> StoredEvent {
        StoredEvent {
            seq,
            event_type: "step.queued".into(),
            step: "a".into(),
            at: Timestamp(1),
            body: "{}".into(),
        }
    }

    fn after(recent: &Recent, seq: u64) -> Vec<u64> {
        recent.after(seq).iter().map(|e| e.seq).collect()
    }

    #[test]
    fn events_are_given_without_a_gap_or_not_at_all() {
        let mut recent = Recent::default();
        recent.push([event(5), event(6), event(8)]);
        assert_eq!(after(&recent, 4), [5, 6]);
        assert_eq!(after(&recent, 5), [6]);
        assert!(after(&recent, 3).is_empty(), "4 is not here");
        assert!(after(&recent, 6).is_empty(), "7 happened elsewhere");
        assert!(after(&recent, 8).is_empty());
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let mut recent = Recent::default();
        (1..=200).for_each(|n| recent.push([event(n)]));
        let first = 200 - RECENT_MAX as u64;
        assert_eq!(after(&recent, first).len(), RECENT_MAX);
        assert!(after(&recent, first - 1).is_empty());
    }

    #[test]
    fn nothing_is_kept_of_runs_that_nobody_watches() {
        let (hub, run) = (Hub::default(), RunId(uuid::Uuid::nil()));
        hub.happened(run, || panic!("nobody asked"));
        drop(hub.watch(run));
        hub.happened(run, || panic!("nobody asks any more"));
        assert!(hub.locked().is_empty());
        drop(hub.watch(run));
        let other = hub.watch(RunId(uuid::Uuid::max()));
        assert_eq!(hub.locked().len(), 1, "a run that is over has no further event");
        drop(other);
        let mut watching = hub.watch(run);
        hub.happened(run, || vec![event(1)]);
        assert!(watching.has_changed().unwrap());
        assert_eq!(after(&watching.borrow_and_update(), 0), [1]);
        hub.changed(run);
        assert!(watching.has_changed().unwrap(), "another process may know more");
    }
}
