//! Calls of the store that fail where a test says so (feature `faults`, off in what is shipped).

use meta_storage::{Error, sqlx};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before it is done: a read, the start of a transaction, or a commit.
    Before,
    /// A commit that is done, and whose answer is lost.
    AfterCommit,
    /// A batch whose statements the database refuses.
    Statement,
}

#[derive(Debug, Default)]
struct Counter {
    seen: AtomicU64,
    fails: AtomicU64,
}

impl Counter {
    fn is_now(&self) -> bool {
        self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.fails.load(Ordering::Relaxed)
    }
}

/// Which call of the tables fails; shared by all that use them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<[Counter; 3]>);

impl Faults {
    /// The n-th call from now on fails in this way, and no other.
    pub fn fail(&self, nth: u64, when: When) {
        self.stop();
        let counter = self.of(when);
        let seen = counter.seen.load(Ordering::Relaxed);
        counter.fails.store(seen.saturating_add(nth), Ordering::Relaxed);
    }

    /// No call fails any more.
    pub fn stop(&self) {
        for counter in self.0.iter() {
            counter.fails.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the call that was to fail has come.
    pub fn has_failed(&self, when: When) -> bool {
        let counter = self.of(when);
        let fails = counter.fails.load(Ordering::Relaxed);
        fails > 0 && counter.seen.load(Ordering::Relaxed) >= fails
    }

    fn of(&self, when: When) -> &Counter {
        match when {
            When::Before => &self.0[0],
            When::AfterCommit => &self.0[1],
            When::Statement => &self.0[2],
        }
    }

    fn happens(&self, when: When, error: impl FnOnce() -> sqlx::Error) -> Result<(), Error> {
        if self.of(when).is_now() { Err(Error::from(error())) } else { Ok(()) }
    }

    pub(super) fn call(&self) -> Result<(), Error> {
        self.happens(When::Before, lost)
    }

    pub(super) fn committed(&self) -> Result<(), Error> {
        self.happens(When::AfterCommit, lost)
    }

    pub(super) fn statement(&self) -> Result<(), Error> {
        let refused = || sqlx::Error::Protocol("a test wants this statement refused".to_owned());
        self.happens(When::Statement, refused)
    }
}

fn lost() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionReset, "a test wants this call lost"))
}
