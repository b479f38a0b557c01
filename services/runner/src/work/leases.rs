//! The leases that this runner holds, and the heartbeat that keeps them.

use super::{CALL_LIMIT, Orchestrator};
use meta_proto::runner::{HeartbeatRequest, HeartbeatResponse, Lease};
use meta_runtime::auth::machine_call;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The longest and the shortest time between two heartbeats.
const BEAT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

/// Why a task was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was canceled, or its lease is somebody else's.
    Asked,
    /// The runner is stopping.
    Draining,
    /// Nobody answered a heartbeat for as long as the lease held.
    Expired,
}

#[derive(Debug)]
struct Held {
    epoch: u64,
    lease: Duration,
    good_until: Instant,
    stop: CancellationToken,
    why: Arc<OnceLock<Stopped>>,
}

impl Held {
    fn stop(&self, why: Stopped) {
        // the first reason counts
        let _earlier = self.why.set(why);
        self.stop.cancel();
    }
}

/// A task in hand; let go when it is dropped, however that comes.
#[derive(Debug)]
pub struct Hold {
    leases: Leases,
    task_id: String,
    epoch: u64,
    stop: CancellationToken,
    why: Arc<OnceLock<Stopped>>,
}

impl Hold {
    /// The task.
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// The lease's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Canceled when the task is to be stopped.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Why the task was stopped, if it was.
    pub fn stopped(&self) -> Option<Stopped> {
        let asked = || self.stop.is_cancelled().then_some(Stopped::Asked);
        self.why.get().copied().or_else(asked)
    }

    /// Whether the lease may still be valid.
    pub fn is_valid(&self) -> bool {
        let now = Instant::now();
        let held = self.leases.lock();
        held.get(&self.task_id).is_some_and(|h| h.epoch == self.epoch && h.good_until > now)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        if held.get(&self.task_id).is_some_and(|h| h.epoch == self.epoch) {
            held.remove(&self.task_id);
        }
    }
}

/// Every task in hand.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    held: Arc<Mutex<HashMap<String, Held>>>,
}

impl Leases {
    /// Takes a task in hand. An older lease on the same task is stopped.
    pub fn take(&self, task_id: &str, epoch: u64, lease_ms: u64) -> Hold {
        let stop = CancellationToken::new();
        let lease = Duration::from_millis(lease_ms);
        let good_until = Instant::now() + lease;
        let why = Arc::new(OnceLock::new());
        let held = Held { epoch, lease, good_until, stop: stop.clone(), why: Arc::clone(&why) };
        if let Some(old) = self.lock().insert(task_id.to_owned(), held) {
            old.stop(Stopped::Asked);
        }
        Hold { leases: self.clone(), task_id: task_id.to_owned(), epoch, stop, why }
    }

    /// How many tasks are in hand.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Stops every task, because the runner stops.
    pub fn stop_all(&self) {
        self.lock().values().for_each(|h| h.stop(Stopped::Draining));
    }

    /// Keeps the leases until `end`, and stops the tasks whose lease is lost or run out: somebody
    /// else may be working on them.
    pub async fn keep(&self, mut client: Orchestrator, runner_id: &str, end: CancellationToken) {
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(self.pause()) => {}
            }
            let leases = self.snapshot();
            if leases.is_empty() {
                continue;
            }
            let limit = self.pause().max(Duration::from_millis(200)).min(CALL_LIMIT);
            let sent = Instant::now();
            let runner_id = runner_id.to_owned();
            let request = HeartbeatRequest { runner_id, leases: leases.clone() };
            let call = client.heartbeat(machine_call(limit, request));
            match tokio::time::timeout(limit, call).await {
                Ok(Ok(answer)) => {
                    self.renew(&leases, sent);
                    self.stop(&to_stop(answer.into_inner(), &leases));
                }
                Ok(Err(status)) => tracing::debug!(%status, "no answer to a heartbeat"),
                Err(_) => tracing::debug!("no answer to a heartbeat in time"),
            }
            self.stop_expired();
        }
    }

    /// A third of the shortest lease.
    fn pause(&self) -> Duration {
        let shortest =
            self.lock().values().map(|h| h.lease).min().unwrap_or(Duration::from_secs(1));
        (shortest / 3).clamp(BEAT.0, BEAT.1)
    }

    /// Every lease that is held.
    pub(super) fn snapshot(&self) -> Vec<Lease> {
        let lease = |(id, h): (&String, &Held)| Lease { task_id: id.clone(), lease_epoch: h.epoch };
        self.lock().iter().map(lease).collect()
    }

    fn renew(&self, leases: &[Lease], at: Instant) {
        let mut held = self.lock();
        for lease in leases {
            if let Some(h) = held.get_mut(&lease.task_id).filter(|h| h.epoch == lease.lease_epoch) {
                h.good_until = at + h.lease;
            }
        }
    }

    /// Stops the tasks of these leases. One that was leased again since then is another lease.
    fn stop(&self, leases: &[Lease]) {
        let held = self.lock();
        for lease in leases {
            let h = held.get(&lease.task_id).filter(|h| h.epoch == lease.lease_epoch);
            if let Some(h) = h {
                tracing::info!(task_id = %lease.task_id, "stopping a task on request");
                h.stop(Stopped::Asked);
            }
        }
    }

    fn stop_expired(&self) {
        let now = Instant::now();
        for (id, h) in self.lock().iter().filter(|(_, h)| h.good_until <= now) {
            if !h.stop.is_cancelled() {
                tracing::warn!(task_id = %id, "a lease ran out, stopping its task");
            }
            h.stop(Stopped::Expired);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leases that an answer to a heartbeat about `asked` ends. An orchestrator that does not know
/// `stop` names tasks alone: it means the leases that it was asked about.
fn to_stop(answer: HeartbeatResponse, asked: &[Lease]) -> Vec<Lease> {
    if !answer.stop.is_empty() {
        return answer.stop;
    }
    let named = |lease: &&Lease| answer.stop_task_ids.contains(&lease.task_id);
    asked.iter().filter(named).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_lease_stops_its_task() {
        let leases = Leases::default();
        let (long, short) = (leases.take("a", 1, 60_000), leases.take("b", 1, 0));
        leases.stop_expired();
        assert!(short.stop().is_cancelled() && !long.stop().is_cancelled());
        assert!(long.is_valid() && !short.is_valid());
        assert_eq!((long.stopped(), short.stopped()), (None, Some(Stopped::Expired)));
        leases.stop_all();
        assert_eq!(long.stopped(), Some(Stopped::Draining));
        assert_eq!(short.stopped(), Some(Stopped::Expired), "the first reason counts");
    }

    #[test]
    fn a_task_that_panics_lets_its_lease_go() {
        let leases = Leases::default();
        let hold = leases.take("a", 1, 60_000);
        let ended = std::thread::spawn(move || {
            let _hold = hold;
            panic!("a bug");
        });
        assert!(ended.join().is_err());
        assert_eq!(leases.count(), 0);
    }

    #[test]
    fn an_answer_about_an_old_lease_does_not_stop_the_new_one() {
        let leases = Leases::default();
        let _old = leases.take("a", 1, 60_000);
        let asked = leases.snapshot();
        let new = leases.take("a", 2, 60_000);
        let old_style =
            || HeartbeatResponse { stop_task_ids: vec!["a".to_owned()], stop: Vec::new() };
        leases.stop(&to_stop(old_style(), &asked));
        assert!(!new.stop().is_cancelled());
        let by_epoch = |lease_epoch| {
            let stop = vec![Lease { task_id: "a".to_owned(), lease_epoch }];
            HeartbeatResponse { stop, ..old_style() }
        };
        leases.stop(&to_stop(by_epoch(1), &leases.snapshot()));
        assert!(!new.stop().is_cancelled(), "the epoch says which lease is over");
        leases.stop(&to_stop(by_epoch(2), &leases.snapshot()));
        assert!(new.stop().is_cancelled());
        let newest = leases.take("a", 3, 60_000);
        leases.stop(&to_stop(old_style(), &leases.snapshot()));
        assert!(newest.stop().is_cancelled());
    }

    #[test]
    fn a_new_lease_on_a_task_stops_the_old_one() {
        let leases = Leases::default();
        let old = leases.take("a", 1, 60_000);
        let new = leases.take("a", 2, 60_000);
        assert!(old.stop().is_cancelled() && !new.stop().is_cancelled());
        drop(old);
        assert!(new.is_valid() && leases.count() == 1);
    }
}
