//! Resolves, explains and changes settings: the store, its copy in memory, and the pure core.

use crate::core::change::{Write, change, repair};
use crate::core::document::Document;
use crate::core::explain::{Explanation, explain};
use crate::held::{Held, Layers, Marks, Owner, corrupt};
use crate::store::{Audited, FlagStore};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::settings::{Resolved, Settings, resolve};
use meta_domain::time::Timestamp;
use meta_storage::Error;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Changes in one answer when the caller names no number.
pub(crate) const CHANGES_DEFAULT: u32 = 50;
/// Changes in one answer at most.
pub(crate) const CHANGES_MAX: u32 = 200;
/// How often watchers look for changes that other processes made to the same file.
pub(crate) const RECHECK: Duration = Duration::from_millis(250);

/// The settings of an owner at one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The values with their layers.
    pub resolved: Resolved,
    /// The version of the snapshot.
    pub version: u64,
    /// What the answer was made of.
    pub marks: Marks,
}

/// See the module.
pub(crate) struct Resolver {
    platform: Settings,
    store: FlagStore,
    held: Held,
    /// Tells watchers the version in memory.
    versions: watch::Sender<u64>,
    /// When watchers last looked at the store; whoever holds it is looking.
    rechecked: Mutex<Instant>,
    ending: CancellationToken,
}

impl Resolver {
    /// Reads all overrides into memory.
    pub(crate) async fn load(platform: Settings, store: FlagStore) -> Result<Self, Error> {
        let held = Held::default();
        let version = held.take(store.all().await?);
        Ok(Self {
            platform,
            store,
            held,
            versions: watch::Sender::new(version),
            rechecked: Mutex::new(Instant::now()),
            ending: CancellationToken::new(),
        })
    }

    /// The settings in force. Reads one number from the store, so that a change by another process
    /// on the same file is in force at once, and rows only after such a change.
    pub(crate) async fn resolve(&self, owner: Owner) -> Result<Answer, Fault> {
        self.refresh().await?;
        self.peek(owner)
    }

    /// The settings as they are in memory.
    pub(crate) fn peek(&self, owner: Owner) -> Result<Answer, Fault> {
        let layers = self.held.layers(owner);
        let (tenant, run) = layers.documents()?;
        Ok(Answer {
            resolved: resolve(self.platform, &tenant.overrides(), &run.overrides()),
            version: layers.version,
            marks: layers.marks(),
        })
    }

    /// How every setting came to its value, and the version of the snapshot.
    pub(crate) async fn explain(&self, owner: Owner) -> Result<(Vec<Explanation>, u64), Fault> {
        self.refresh().await?;
        let layers: Layers = self.held.layers(owner);
        let (tenant, run) = layers.documents()?;
        Ok((explain(self.platform, tenant, run), layers.version))
    }

    /// Writes an override and resolves it.
    pub(crate) async fn write(
        &self,
        owner: Owner,
        write: Write,
        actor: &str,
        now: Timestamp,
    ) -> Result<Answer, Fault> {
        write.check()?;
        let decide = |before: Result<Document, String>| match before {
            Ok(before) => Ok(change(&before, &write, actor, now)),
            Err(_) => repair(&write, actor, now).map(Some).ok_or_else(corrupt),
        };
        self.store.change(owner, decide).await?;
        self.resolve(owner).await
    }

    /// The audited changes of an override, newest first; 0 means the default number.
    pub(crate) async fn changes(&self, owner: Owner, size: u32) -> Result<Vec<Audited>, Fault> {
        if size > CHANGES_MAX {
            let problem = format!("{size} is out of range (expected 0 to {CHANGES_MAX})");
            return Err(InvalidField::new("page_size", problem).into());
        }
        let limit = if size == 0 { CHANGES_DEFAULT } else { size };
        Ok(self.store.changes(owner, limit).await?)
    }

    /// Brings the memory up to the store's version and wakes the watchers.
    async fn refresh(&self) -> Result<(), Fault> {
        let held = self.held.version();
        if self.store.version().await? > held {
            let version = self.held.take(self.store.since(held).await?);
            self.versions.send_if_modified(|seen| {
                let newer = version > *seen;
                *seen = version.max(*seen);
                newer
            });
        }
        Ok(())
    }

    /// Like a refresh, but one for all watchers and not more often than [`RECHECK`].
    pub(crate) async fn recheck(&self) -> Result<(), Fault> {
        match self.rechecked.try_lock() {
            Ok(mut last) if last.elapsed() >= RECHECK => {
                *last = Instant::now();
                self.refresh().await
            }
            _ => Ok(()),
        }
    }

    /// Sees the version whenever it grows.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Ends every watch, now and from now on, so that the process can drain.
    pub(crate) fn end_watches(&self) {
        self.ending.cancel();
    }

    /// Resolves when watches have to end.
    pub(crate) async fn ending(&self) {
        self.ending.cancelled().await;
    }
}

/// What a watcher is told when the service stops.
pub(crate) fn stopping() -> Fault {
    let text = "the flag-resolver is stopping; watch again";
    Fault::new(ErrorKind::Unavailable, "STOPPING", text).retry_after(Duration::from_secs(1))
}
