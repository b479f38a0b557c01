//! What goes wrong, and how often: drawn for each seed, so that seeds differ in kind.

use super::random::Random;

/// How a call of the store goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It is done, and its answer arrives.
    Fine,
    /// It is not done.
    FailsBefore,
    /// It is done; its answer is lost.
    FailsAfter,
}

/// How a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after so many milliseconds.
    Arrives(i64),
    /// It arrives twice.
    Doubled(i64, i64),
    /// It never arrives.
    Lost,
}

/// Chances in a thousand.
#[derive(Debug)]
pub struct Faults {
    /// Faults happen at all.
    pub on: bool,
    message_lost: u32,
    message_doubled: u32,
    message_late: u32,
    store_before: u32,
    store_after: u32,
    /// A process dies at a commit: before it, or after it and before the answers.
    pub dies_at_commit: u32,
    /// The commit comes later than the decision.
    pub slow_commit: u32,
    /// A waiter is gone when its tasks are handed out.
    pub waiter_gone: u32,
    /// Between one blow and the next, in milliseconds.
    pub blow_every: i64,
}

impl Faults {
    /// Drawn.
    pub fn new(random: &mut Random) -> Self {
        let mut up_to = |max: u32| {
            let most = i64::from(max);
            if random.chance(300) { 0 } else { u32::try_from(random.between(0, most)).unwrap_or(0) }
        };
        Self {
            on: true,
            message_lost: up_to(120),
            message_doubled: up_to(80),
            message_late: up_to(100),
            store_before: up_to(50),
            store_after: up_to(50),
            dies_at_commit: up_to(8),
            slow_commit: up_to(300),
            waiter_gone: up_to(60),
            blow_every: 300 + i64::from(up_to(4_000)),
        }
    }

    /// What becomes of a message.
    pub fn message(&self, random: &mut Random) -> Fate {
        let soon = random.between(0, 2);
        if !self.on {
            return Fate::Arrives(soon);
        }
        if random.chance(self.message_lost) {
            Fate::Lost
        } else if random.chance(self.message_doubled) {
            Fate::Doubled(soon, random.between(0, 8_000))
        } else if random.chance(self.message_late) {
            Fate::Arrives(random.between(3, 3_000))
        } else {
            Fate::Arrives(soon)
        }
    }

    /// What becomes of a call of the store.
    pub fn call(&self, random: &mut Random) -> Call {
        if !self.on {
            Call::Fine
        } else if random.chance(self.store_before) {
            Call::FailsBefore
        } else if random.chance(self.store_after) {
            Call::FailsAfter
        } else {
            Call::Fine
        }
    }
}
