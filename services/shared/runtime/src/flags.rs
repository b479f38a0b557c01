//! The settings of the installation in this process's memory. It follows the flag-resolver's
//! stream, so a decision asks nobody; while the flag-resolver is away its last word serves, and
//! after five minutes auto-fix is off (BEHAVIOUR.md section 3).

mod file;
mod follow;

pub use file::{Keeper, Kept};

use crate::clock::now;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::settings::{
    Environment, Freshness, Layer, Owner, Resolved, Setting, Settings, Snapshot, SnapshotChange,
    Value,
};
use meta_domain::time::Timestamp;
use meta_telemetry::catalogue::FLAGS_AGE;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The greatest age that is told.
const AGE_MAX: Duration = Duration::from_hours(24);

/// How often the age is shown.
const AGE_SHOWN_EVERY: Duration = Duration::from_secs(5);

/// The settings of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The values with their layers.
    pub resolved: Resolved,
    /// The version of the snapshot.
    pub version: u64,
    /// How far it can be trusted.
    pub freshness: Freshness,
}

/// One setting of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluated {
    /// The value.
    pub value: Value,
    /// The layer it came from.
    pub layer: Layer,
    /// The version of the snapshot.
    pub version: u64,
    /// How far it can be trusted.
    pub freshness: Freshness,
}

/// See the module. Clones share one memory.
#[derive(Clone)]
pub struct Flags(Arc<Shared>);

struct Shared {
    snapshot: RwLock<Snapshot>,
    /// When the flag-resolver's store was last heard, in milliseconds since the epoch.
    heard_at: AtomicI64,
    versions: watch::Sender<u64>,
    ready: watch::Sender<bool>,
}

impl Default for Flags {
    /// Nothing is known: auto-fix is off.
    fn default() -> Self {
        Self(Arc::new(Shared {
            snapshot: RwLock::new(Snapshot::of(Settings::default_of(Environment::Production))),
            heard_at: AtomicI64::new(i64::MIN),
            versions: watch::Sender::new(0),
            ready: watch::Sender::new(false),
        }))
    }
}

impl Flags {
    /// The settings in force for an owner; the platform's for nobody.
    pub fn resolve(&self, owner: Option<Owner>) -> Answer {
        let freshness = self.freshness();
        let snapshot = self.snapshot();
        Answer {
            resolved: snapshot.resolve(owner, freshness),
            version: snapshot.version,
            freshness,
        }
    }

    /// One setting in force for an owner.
    pub fn evaluate(&self, setting: Setting, owner: Option<Owner>) -> Evaluated {
        let freshness = self.freshness();
        let snapshot = self.snapshot();
        let (value, layer) = snapshot.evaluate(setting, owner, freshness);
        Evaluated { value, layer, version: snapshot.version, freshness }
    }

    /// How far the memory can be trusted now. After the clock was set back its age counts from the
    /// moment in which that is noticed.
    pub fn freshness(&self) -> Freshness {
        let (heard_at, now) = (self.heard_at(), now());
        if heard_at > now {
            // an error only says that it was heard again meanwhile
            let (ahead, noticed, order) = (heard_at.0, now.0, Ordering::AcqRel);
            let _ = self.0.heard_at.compare_exchange(ahead, noticed, order, Ordering::Acquire);
        }
        Freshness::of(heard_at, now)
    }

    /// Turns true with the first snapshot, and stays so.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Whether there was a first snapshot.
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Sees the version whenever it changes.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.0.versions.subscribe()
    }

    /// Waits until a version has arrived here.
    ///
    /// # Errors
    /// `FLAGS_BEHIND` when it does not in time.
    pub async fn reach(&self, version: u64, limit: Duration) -> Result<(), Fault> {
        let mut versions = self.versions();
        let arrived = tokio::time::timeout(limit, versions.wait_for(|v| *v >= version)).await;
        if matches!(arrived, Ok(Ok(_))) {
            return Ok(());
        }
        let text = format!("the settings of version {version} have not arrived here yet");
        Err(Fault::new(ErrorKind::Unavailable, "FLAGS_BEHIND", text)
            .retry_after(Duration::from_secs(1)))
    }

    /// The snapshot, while nothing is awaited.
    pub fn snapshot(&self) -> RwLockReadGuard<'_, Snapshot> {
        self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole snapshot.
    pub fn whole(&self) -> SnapshotChange {
        self.snapshot().whole()
    }

    /// How long ago the flag-resolver's store was last heard; with nothing known since the process
    /// started, the longest time that is told.
    pub fn age(&self) -> Duration {
        let since = now().since_ms(self.heard_at());
        Duration::from_millis(since).min(AGE_MAX)
    }

    /// Shows the age of the settings in the metrics, until told to stop.
    pub async fn show_age(self, stop: CancellationToken) {
        loop {
            FLAGS_AGE.set(&[], self.age().as_secs_f64());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(AGE_SHOWN_EVERY) => {}
            }
        }
    }

    /// When the flag-resolver's store was last heard.
    pub fn heard_at(&self) -> Timestamp {
        Timestamp(self.0.heard_at.load(Ordering::Acquire))
    }

    /// Everything, to be written down.
    pub fn kept(&self) -> Kept {
        Kept { heard_at: self.heard_at(), snapshot: self.whole() }
    }

    /// Takes in what somebody who hears the store says of it. [`Flags::follow`] calls it, and the
    /// flag-resolver itself. A whole snapshot is as old as it says, whatever was heard before.
    pub fn take(&self, change: SnapshotChange, heard_at: Timestamp) {
        let (version, reset) = (change.version, change.reset);
        self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner).take(change);
        if reset {
            self.0.heard_at.store(heard_at.0, Ordering::Release);
        } else {
            self.hear(heard_at);
        }
        self.0.versions.send_replace(version);
        self.0.ready.send_replace(true);
    }

    /// Notes that the store was heard, and nothing is new. What was asked earlier and answered
    /// later takes nothing back, unless the clock was set back meanwhile.
    pub fn hear(&self, at: Timestamp) {
        let now = now();
        let later = |known: i64| (known < at.0 || known > now.0).then_some(at.0);
        // an error only says that nothing had to be noted
        let _ = self.0.heard_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_nothing_known_auto_fix_is_off() {
        let answer = Flags::default().resolve(None);
        assert!(!answer.resolved.settings.autofix_enabled);
        assert_eq!(answer.resolved.autofix_enabled_layer, Layer::FailClosed);
        assert!(answer.freshness.is_stale());
    }

    #[test]
    fn an_answer_that_comes_late_takes_nothing_back() {
        let flags = Flags::default();
        let at = now();
        for (heard, expected) in
            [(at.plus_ms(-2_000), at.plus_ms(-2_000)), (at, at), (at.plus_ms(-1_000), at)]
        {
            flags.hear(heard);
            assert_eq!(flags.heard_at(), expected);
        }
        let ahead = at.plus_ms(3_600_000);
        flags.hear(ahead);
        flags.hear(at);
        assert_eq!(flags.heard_at(), at, "the clock was set back");
        flags.hear(ahead);
        assert_eq!(flags.freshness(), Freshness::Fresh);
        assert!(flags.heard_at() < ahead, "its age counts from now on");
        let old = at.plus_ms(-60_000);
        flags.take(Snapshot::of(Settings::default_of(Environment::Staging)).whole(), old);
        assert_eq!(flags.heard_at(), old, "a whole snapshot is as old as it says");
    }

    #[tokio::test]
    async fn a_version_is_waited_for() {
        let flags = Flags::default();
        let change = SnapshotChange {
            version: 3,
            ..Snapshot::of(Settings::default_of(Environment::Staging)).whole()
        };
        let waiting = flags.reach(3, Duration::from_secs(10));
        let taking = async { flags.take(change, now()) };
        let (reached, ()) = tokio::join!(waiting, taking);
        assert_eq!(reached, Ok(()));
        assert!(*flags.ready().borrow());
        assert!(flags.resolve(None).resolved.settings.autofix_enabled);
        let late = flags.reach(4, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(late.reason, "FLAGS_BEHIND");
    }
}
