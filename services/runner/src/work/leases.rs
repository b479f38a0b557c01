//! The leases that this runner holds, and the heartbeat that keeps them.

use super::{CALL_LIMIT, Orchestrator};
use meta_proto::runner::{HeartbeatRequest, Lease};
use meta_runtime::auth::machine_call;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The longest and the shortest time between two heartbeats.
const BEAT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));

#[derive(Debug)]
struct Held {
    epoch: u64,
    lease: Duration,
    good_until: Instant,
    stop: CancellationToken,
}

/// Every task in hand.
#[derive(Debug, Clone, Default)]
pub struct Leases {
    held: Arc<Mutex<HashMap<String, Held>>>,
}

impl Leases {
    /// Takes a task in hand; the token is canceled when it is to be stopped. An older lease on the
    /// same task is stopped.
    pub fn take(&self, task_id: &str, epoch: u64, lease_ms: u64) -> CancellationToken {
        let stop = CancellationToken::new();
        let lease = Duration::from_millis(lease_ms);
        let good_until = Instant::now() + lease;
        let held = Held { epoch, lease, good_until, stop: stop.clone() };
        if let Some(old) = self.lock().insert(task_id.to_owned(), held) {
            old.stop.cancel();
        }
        stop
    }

    /// Lets a task go.
    pub fn drop_task(&self, task_id: &str, epoch: u64) {
        let mut held = self.lock();
        if held.get(task_id).is_some_and(|h| h.epoch == epoch) {
            held.remove(task_id);
        }
    }

    /// Whether the lease may still be valid.
    pub fn may_hold(&self, task_id: &str, epoch: u64) -> bool {
        self.lock().get(task_id).is_some_and(|h| h.epoch == epoch && h.good_until > Instant::now())
    }

    /// How many tasks are in hand.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Stops every task.
    pub fn stop_all(&self) {
        self.lock().values().for_each(|h| h.stop.cancel());
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
                    self.stop(&answer.into_inner().stop_task_ids);
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

    fn snapshot(&self) -> Vec<Lease> {
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

    fn stop(&self, task_ids: &[String]) {
        let held = self.lock();
        for id in task_ids {
            if let Some(h) = held.get(id) {
                tracing::info!(task_id = %id, "stopping a task on request");
                h.stop.cancel();
            }
        }
    }

    fn stop_expired(&self) {
        let now = Instant::now();
        for (id, h) in self.lock().iter().filter(|(_, h)| h.good_until <= now) {
            if !h.stop.is_cancelled() {
                tracing::warn!(task_id = %id, "a lease ran out, stopping its task");
            }
            h.stop.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_lease_stops_its_task() {
        let leases = Leases::default();
        let (long, short) = (leases.take("a", 1, 60_000), leases.take("b", 1, 0));
        leases.stop_expired();
        assert!(short.is_cancelled() && !long.is_cancelled());
        assert!(leases.may_hold("a", 1) && !leases.may_hold("a", 2) && !leases.may_hold("b", 1));
    }

    #[test]
    fn a_new_lease_on_a_task_stops_the_old_one() {
        let leases = Leases::default();
        let old = leases.take("a", 1, 60_000);
        let new = leases.take("a", 2, 60_000);
        leases.drop_task("a", 1);
        assert!(old.is_cancelled() && !new.is_cancelled());
        assert_eq!(leases.count(), 1);
    }
}
