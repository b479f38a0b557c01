//! How long runners keep the workspaces of runs that have ended.
//!
//! A run that failed goes on from the step that failed, on the files that are there. So a workspace
//! outlives its run for a while; it goes only when that time, and a margin, have passed, and nothing
//! can need it any more: what is asked of the run later is refused before it reaches a runner.

use super::run::Run;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::time::Timestamp;

/// Between the last time a run may go on and the first time its workspace may go, in milliseconds:
/// what was asked for in time has come to its tasks by then.
const MARGIN_MS: u64 = 10 * 60_000;
/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// What is known of a run whose workspace a runner has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is no such run, or not any more.
    Unknown,
    /// It goes on, or some task of it is in the queue.
    Needed,
    /// It ended then, and nothing of it is in the queue.
    Ended(Timestamp),
}

/// What an installation keeps.
#[derive(Debug, Clone, Copy)]
pub struct Workspaces {
    /// How long after the end of its run, in milliseconds.
    keep_ms: u64,
    /// Commits are in an object store: a workspace that is gone is made again.
    travel: bool,
}

impl Workspaces {
    /// Workspaces are kept for so many hours; `travel`: an object store has their commits.
    pub fn new(hours: u32, travel: bool) -> Self {
        Self { keep_ms: u64::from(hours) * HOUR_MS, travel }
    }

    /// Whether a runner may remove a workspace that nothing has touched for `idle_ms`.
    pub fn may_go(&self, standing: Standing, idle_ms: u64, now: Timestamp) -> bool {
        let over = self.keep_ms + MARGIN_MS;
        match standing {
            Standing::Needed => false,
            Standing::Unknown => idle_ms > over,
            Standing::Ended(at) => now.since_ms(at) > over,
        }
    }

    /// Refuses to go on with a run whose workspace may be gone.
    ///
    /// # Errors
    /// `WORKSPACE_GONE`, when it ended too long ago.
    pub fn require(&self, run: &Run, now: Timestamp) -> Result<(), Fault> {
        let Some(at) = run.finished_at.filter(|_| !self.travel) else { return Ok(()) };
        if now.since_ms(at) <= self.keep_ms {
            return Ok(());
        }
        let text = format!(
            "run {} ended more than {} h ago and its workspace is not kept longer; start a new run",
            run.id,
            self.keep_ms / HOUR_MS
        );
        Err(Fault::new(ErrorKind::FailedPrecondition, "WORKSPACE_GONE", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000 * 3_600_000);

    fn ended(hours: i64) -> Standing {
        Standing::Ended(NOW.plus_ms(-hours * 3_600_000))
    }

    #[test]
    fn a_workspace_goes_when_its_run_ended_long_ago_and_nothing_needs_it() {
        let day = Workspaces::new(24, false);
        assert!(day.may_go(ended(25), 0, NOW));
        assert!(!day.may_go(ended(23), u64::MAX, NOW));
        assert!(!day.may_go(Standing::Needed, u64::MAX, NOW));
        assert!(!day.may_go(Standing::Unknown, 60_000, NOW), "it may be of another installation");
        assert!(day.may_go(Standing::Unknown, 25 * 3_600_000, NOW));
        assert!(!day.may_go(ended(24), 0, NOW), "what was asked for in time comes to its end");
    }
}
