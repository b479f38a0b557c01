//! Removes the logs of runs that ended long ago, and their commits where those are objects too.
//!
//! Only runs that this installation knows to have ended are looked at: an object store may hold
//! what somebody else put there.

use super::Logs;
use crate::shell::Engine;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::RunId;
use meta_domain::time::Timestamp;
use meta_runtime::now;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked for logs that are old.
const SWEEP_EVERY: Duration = Duration::from_hours(6);
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// The task that removes old logs.
pub struct Retention {
    /// The runs.
    pub engine: Engine,
    /// Days that logs are kept after the end of their run; 0 means for ever.
    pub days: u32,
}

impl Retention {
    /// Looks from time to time, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if self.days > 0 {
                match self.sweep(now()).await {
                    Ok(0) => {}
                    Ok(runs) => tracing::info!(runs, "removed old logs"),
                    Err(error) => tracing::warn!(%error, "cannot look for old logs"),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
        }
    }

    /// Removes what is too old at `now`; answers of how many runs.
    ///
    /// # Errors
    /// When the logs or a run cannot be read.
    pub async fn sweep(&self, now: Timestamp) -> Result<u32, Fault> {
        let before = Timestamp(now.0.saturating_sub(i64::from(self.days).saturating_mul(DAY_MS)));
        let logs: &Logs = &self.engine.logs;
        let mut removed = 0;
        for id in logs.runs().await? {
            if made_at(id).is_some_and(|made| made >= before) {
                continue;
            }
            let run = match self.engine.load(id).await {
                Ok(run) => run,
                Err(fault) if fault.kind == ErrorKind::NotFound => continue,
                Err(fault) => return Err(fault),
            };
            if run.status.is_terminal() && run.finished_at.is_some_and(|end| end < before) {
                logs.forget((run.tenant, id)).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// When a run was made, as its id tells: one that is young needs no look at its row.
fn made_at(id: RunId) -> Option<Timestamp> {
    let (seconds, nanos) = id.0.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Some(Timestamp(seconds.saturating_mul(1000) + i64::from(nanos / 1_000_000)))
}
