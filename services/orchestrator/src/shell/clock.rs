//! The time that leases and backoffs go by: steady within the process, and the database's where
//! several processes share one.

use meta_domain::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A clock that no change of the host's clock moves.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    base: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { start: Instant::now(), base: Arc::new(AtomicI64::new(now.0)) }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.base.load(Ordering::Relaxed)).plus_ms(self.elapsed_ms(self.start))
    }

    /// The instant at which this clock shows a time.
    pub fn instant(&self, at: Timestamp) -> Instant {
        let since_start = at.since_ms(Timestamp(self.base.load(Ordering::Relaxed)));
        self.start + Duration::from_millis(since_start)
    }

    /// Goes by another clock from now on, which showed `shown` between `asked` and this instant.
    pub fn follow(&self, asked: Instant, shown: Timestamp) {
        let half = self.elapsed_ms(asked) / 2;
        let base = shown.0 + half - self.elapsed_ms(self.start);
        self.base.store(base, Ordering::Relaxed);
    }

    /// Milliseconds since the process began to work.
    pub fn uptime_ms(&self) -> i64 {
        self.elapsed_ms(self.start)
    }

    #[expect(clippy::unused_self, reason = "time is asked of the clock")]
    fn elapsed_ms(&self, since: Instant) -> i64 {
        i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
