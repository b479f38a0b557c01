//! Whether this process stood still for a while: a stopped process or a paused machine finds
//! answers that have waited for it.

use std::time::{Duration, Instant};

/// How often a waiter notes that it runs.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Since when what comes in may have waited here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awake {
    ticked: Instant,
    running: Instant,
}

impl Awake {
    /// Nothing came before this.
    pub(super) fn since(now: Instant) -> Self {
        Self { ticked: now, running: now }
    }

    /// Notes that the process runs. After a tick that came late it takes one in time: until then
    /// there may be something that waited and was not read yet.
    pub(super) fn tick(&mut self, now: Instant) {
        if now.duration_since(self.ticked) < 2 * TICK {
            self.running = now;
        }
        self.ticked = now;
    }

    /// How long at most what is read now has waited.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.duration_since(self.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_while_the_process_stood_still_is_told_from_what_came_since() {
        let began = Instant::now();
        let mut awake = Awake::since(began);
        let mut now = began;
        for _ in 0..80 {
            now += TICK;
            awake.tick(now);
            assert!(awake.waited(now + TICK) <= TICK, "a long poll alone is no reason");
        }
        now += 20 * TICK;
        assert_eq!(awake.waited(now), 20 * TICK, "read before the next tick");
        awake.tick(now);
        assert_eq!(awake.waited(now), 20 * TICK, "read after it");
        now += TICK;
        awake.tick(now);
        assert_eq!(awake.waited(now), Duration::ZERO);
    }
}
