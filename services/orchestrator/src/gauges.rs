//! How things are, looked up now and then: the queue, the runners, the settings, the audit.

use crate::core::transition::TaskKind;
use crate::shell::Engine;
use crate::store::Tables;
use meta_domain::fault::Fault;
use meta_domain::time::Timestamp;
use meta_runtime::Flags;
use meta_telemetry::catalogue as metric;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the queue is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// How often the audit's chains are verified: they are read as a whole.
const AUDIT_EVERY: Duration = Duration::from_hours(1);
/// When they are verified for the second time after a start.
const AUDIT_SOON: Duration = Duration::from_mins(1);
/// A runner that said nothing for so long is away, in milliseconds.
const RUNNER_AWAY_MS: u64 = 60_000;
/// A runner that said nothing for so long is forgotten, in milliseconds.
const RUNNER_FORGOTTEN_MS: u64 = 15 * 60_000;

/// When each runner was last heard here. Clones share one memory.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<Mutex<HashMap<String, Timestamp>>>);

impl Roster {
    /// A runner polled or sent a sign of life.
    pub fn hear(&self, runner: &str, at: Timestamp) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get_mut(runner) {
            Some(last) => *last = at,
            None => {
                heard.insert(runner.to_owned(), at);
            }
        }
    }

    /// How many are available, busy and offline; who was not heard for long is forgotten.
    pub fn states(&self, busy: &BTreeSet<String>, now: Timestamp) -> [u32; 3] {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|_, last| now.since_ms(*last) <= RUNNER_FORGOTTEN_MS);
        let mut states = [0; 3];
        for (runner, last) in heard.iter() {
            let state = match (now.since_ms(*last) <= RUNNER_AWAY_MS, busy.contains(runner)) {
                (true, false) => 0,
                (true, true) => 1,
                (false, _) => 2,
            };
            states[state] += 1;
        }
        states
    }
}

/// Tasks of one kind and state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// What they do.
    pub kind: String,
    /// Whether the orchestrator itself carries them out.
    pub internal: bool,
    /// Where they stand.
    pub state: String,
    /// How many of them are due.
    pub due: i64,
    /// How many are not.
    pub later: i64,
    /// Since when the first one of them is due.
    pub oldest: Option<i64>,
}

/// Looks until stopped.
#[derive(Clone)]
pub struct Gauges {
    /// The runs.
    pub engine: Engine,
    /// The runners.
    pub roster: Roster,
    /// The settings.
    pub flags: Flags,
}

impl Gauges {
    /// Works until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let (mut audit_at, mut next) = (Instant::now(), AUDIT_SOON);
        loop {
            if let Err(fault) = self.look().await {
                tracing::debug!(%fault, "cannot look at the queue");
            }
            if Instant::now() >= audit_at {
                audit_at = Instant::now() + std::mem::replace(&mut next, AUDIT_EVERY);
                tokio::select! {
                    () = stop.cancelled() => return,
                    verified = verify(&self.engine.tables) => if let Err(fault) = verified {
                        tracing::warn!(%fault, "cannot verify the audit");
                    },
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn look(&self) -> Result<(), Fault> {
        let now = self.engine.clock.now();
        show_flags(&self.flags);
        show_queue(&self.engine.tables.queue_state(now).await?, now);
        let busy = self.engine.tables.busy_runners().await?;
        let [available, busy, offline] = self.roster.states(&busy, now);
        for (state, count) in [("available", available), ("busy", busy), ("offline", offline)] {
            metric::RUNNERS.set(&[state], f64::from(count));
        }
        let open = self.engine.tables.open_runs().await?;
        for status in metric::OPEN_STATUSES {
            let count = open.iter().find(|(s, _)| s == status).map_or(0, |(_, n)| *n);
            metric::RUNS_OPEN.set(&[status], whole(count));
        }
        Ok(())
    }
}

fn show_flags(flags: &Flags) {
    metric::FLAGS_AGE.set(&[], flags.age().as_secs_f64());
}

fn show_queue(rows: &[QueueRow], now: Timestamp) {
    for (worker, internal) in [("runner", false), ("orchestrator", true)] {
        let of = |state: &'static str| {
            rows.iter().filter(move |r| r.internal == internal && r.state == state)
        };
        let all = |state| of(state).map(|r| r.due + r.later).sum::<i64>();
        let ready: i64 = of("ready").map(|r| r.due).sum();
        let delayed: i64 = of("ready").map(|r| r.later).sum();
        let states = [
            ("ready", ready),
            ("delayed", delayed),
            ("blocked", all("waiting")),
            ("leased", all("leased") + all("dropped")),
        ];
        for (state, count) in states {
            metric::QUEUE_TASKS.set(&[worker, state], whole(count));
        }
        let oldest = of("ready").filter(|r| r.due > 0).filter_map(|r| r.oldest).min();
        let age = oldest.map_or(0, |at| now.since_ms(Timestamp(at)));
        metric::QUEUE_OLDEST.set(&[worker], Duration::from_millis(age).as_secs_f64());
    }
    let steps = [TaskKind::Step.as_str(), TaskKind::Verify.as_str()];
    let running = rows.iter().filter(|r| r.state == "leased" && steps.contains(&r.kind.as_str()));
    metric::STEPS_IN_FLIGHT.set(&[], whole(running.map(|r| r.due + r.later).sum()));
}

/// Counts stay far below what a float can hold.
fn whole(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Reads every chain of the audit.
async fn verify(tables: &Tables) -> Result<(), Fault> {
    let (mut sound, mut broken) = (0, 0);
    for tenant in tables.audited_tenants().await? {
        let verified = tables.verify_audit(tenant, None).await?;
        if verified.problems.is_empty() {
            sound += 1;
        } else {
            broken += 1;
            tracing::error!(%tenant, problems = ?verified.problems, "the audit's chain is broken");
        }
    }
    metric::AUDIT_CHAINS.set(&["whole"], whole(sound));
    metric::AUDIT_CHAINS.set(&["broken"], whole(broken));
    let seconds = u64::try_from(meta_runtime::now().0).unwrap_or(0);
    metric::AUDIT_VERIFIED_AT.set(&[], Duration::from_millis(seconds).as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runners_are_known_by_what_was_heard_of_them() {
        let roster = Roster::default();
        let at = |ms: i64| Timestamp(1_000_000 + ms);
        for (name, ms) in [("a", 0), ("b", 30_000), ("c", 59_000)] {
            roster.hear(name, at(ms));
        }
        let busy = BTreeSet::from(["c".to_owned(), "elsewhere".to_owned()]);
        assert_eq!(roster.states(&busy, at(60_000)), [2, 1, 0]);
        assert_eq!(roster.states(&busy, at(61_000)), [1, 1, 1]);
        roster.hear("a", at(62_000));
        assert_eq!(roster.states(&BTreeSet::new(), at(62_000)), [3, 0, 0]);
        assert_eq!(roster.states(&busy, at(20 * 60_000)), [0, 0, 0]);
    }
}
