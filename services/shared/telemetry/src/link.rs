//! The way of one signal to the collector: how much may wait for it, and when nothing is tried.
//!
//! What cannot be delivered is not made: while a collector is away, nothing is queued, copied or
//! encoded for it. After a failure nothing is tried for a second, after each further one for twice
//! as long, up to half a minute; what is told meanwhile is dropped and counted.

use crate::catalogue::TELEMETRY_DROPPED;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// How long nothing is tried after a failure, in milliseconds; twice as long after each further one.
const FIRST_PAUSE_MS: u64 = 1_000;
/// How long nothing is tried at most, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 30_000;

/// See the module. Its reading is one look at an atomic as long as the collector is there.
#[derive(Debug)]
pub(crate) struct Link {
    signal: &'static str,
    room: usize,
    waiting: AtomicUsize,
    /// Failures since something last arrived.
    failures: AtomicU32,
    /// Nothing is tried before, in milliseconds of this link; 0 while everything arrives.
    closed_until: AtomicU64,
    since: Instant,
}

impl Link {
    /// A link with room for so many spans or lines.
    pub(crate) fn new(signal: &'static str, room: usize) -> Self {
        Self {
            signal,
            room,
            waiting: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
            since: Instant::now(),
        }
    }

    /// The signal that goes this way.
    pub(crate) fn signal(&self) -> &'static str {
        self.signal
    }

    /// How many may wait.
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether something that is made now could be delivered.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open_at(|| self.now_ms())
    }

    fn is_open_at(&self, now_ms: impl FnOnce() -> u64) -> bool {
        match self.closed_until.load(Ordering::Relaxed) {
            0 => true,
            until => now_ms() >= until,
        }
    }

    /// Whether one more may wait. One that may not is counted as dropped.
    pub(crate) fn admit(&self) -> bool {
        let one_more = |waiting: usize| (waiting < self.room).then_some(waiting + 1);
        let admitted = self.is_open()
            && self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if !admitted {
            self.dropped(1);
        }
        admitted
    }

    /// So many wait no longer: they are on their way, or dropped.
    pub(crate) fn taken(&self, items: usize) {
        let fewer = |waiting: usize| Some(waiting.saturating_sub(items));
        // it always changes: the closure never refuses
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
    }

    /// So many were made, or would have been, and reach nobody.
    pub(crate) fn dropped(&self, items: usize) {
        if items == 0 {
            return;
        }
        TELEMETRY_DROPPED.add(&[self.signal], u64::try_from(items).unwrap_or(u64::MAX));
    }

    /// A batch arrived. Says whether the one before it did not.
    pub(crate) fn arrived(&self) -> bool {
        self.closed_until.store(0, Ordering::Relaxed);
        self.failures.swap(0, Ordering::Relaxed) > 0
    }

    /// A batch did not arrive. Says whether the one before it did.
    pub(crate) fn failed(&self) -> bool {
        self.failed_at(self.now_ms())
    }

    fn failed_at(&self, now_ms: u64) -> bool {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        let pause = FIRST_PAUSE_MS.checked_shl(before.min(u64::BITS / 2)).unwrap_or(u64::MAX);
        let until = now_ms.saturating_add(pause.min(LONGEST_PAUSE_MS));
        self.closed_until.store(until.max(1), Ordering::Relaxed);
        before == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a link is closed after a failure at this time.
    fn pause(link: &Link, at: u64) -> u64 {
        link.failed_at(at);
        let closed = (0..=LONGEST_PAUSE_MS).find(|ms| link.is_open_at(|| at + ms));
        closed.expect("it opens again")
    }

    #[test]
    fn each_failure_in_a_row_closes_for_twice_as_long_up_to_half_a_minute() {
        let link = Link::new("traces", 10);
        assert!(link.is_open());
        let mut at = 0;
        let pauses: Vec<u64> = (0..8)
            .map(|_| {
                let pause = pause(&link, at);
                at += pause;
                pause
            })
            .collect();
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        for _ in 0..100 {
            assert_eq!(pause(&link, at), LONGEST_PAUSE_MS, "however often it fails");
        }
    }

    #[test]
    fn what_arrives_opens_it_and_ends_the_row() {
        let link = Link::new("traces", 10);
        assert!(link.failed_at(0), "the first failure is news");
        assert!(!link.failed_at(1_000), "the second is not");
        assert!(link.arrived(), "that it is back is news");
        assert!(!link.arrived());
        assert!(link.is_open_at(|| 0));
        assert_eq!(pause(&link, 5_000), FIRST_PAUSE_MS);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_the_rest_is_counted() {
        let link = Link::new("logs", 3);
        let dropped = || TELEMETRY_DROPPED.value(&["logs"]);
        let before = dropped();
        assert_eq!((0..5).filter(|_| link.admit()).count(), 3);
        assert!(dropped() - before >= 2, "other tests count here too");
        link.taken(2);
        assert_eq!((0..5).filter(|_| link.admit()).count(), 2);
        link.taken(100);
        assert_eq!((0..5).filter(|_| link.admit()).count(), 3, "never more room than there is");
    }

    #[test]
    fn nothing_is_admitted_while_it_is_closed() {
        let link = Link::new("traces", 3);
        let before = TELEMETRY_DROPPED.value(&["traces"]);
        link.failed();
        assert!(!link.is_open() && !link.admit() && !link.admit());
        assert!(TELEMETRY_DROPPED.value(&["traces"]) - before >= 2);
        link.arrived();
        assert!(link.admit());
    }
}
