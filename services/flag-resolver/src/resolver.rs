//! Resolves, explains and changes settings: the store, its copy in memory, and the pure core.

use crate::core::affected::{Affected, affected, affects_others};
use crate::core::document::{By, Document, Origin};
use crate::core::explain::{Documents, Explanation, explain};
use crate::core::scope::Scope;
use crate::core::write::{Write, change, unchanged};
use crate::held::{Held, News};
use crate::store::{Audited, Filter, FlagStore, Scheduled, Scheduling, Stored};
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::id::TenantId;
use meta_domain::settings::{Overrides, Owner, Settings, SnapshotChange};
use meta_domain::time::Timestamp;
use meta_runtime::flags::Answer;
use meta_runtime::{Flags, new_id, now};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Changes that somebody who follows may lag behind before they get a whole snapshot instead.
const NEWS_MAX: usize = 256;
/// How far ahead a change may be scheduled, in milliseconds: a year.
const SCHEDULE_AHEAD_MS_MAX: u64 = 366 * 24 * 60 * 60 * 1000;

/// See the module.
pub(crate) struct Resolver {
    store: OnceLock<FlagStore>,
    held: RwLock<Held>,
    /// The snapshot that everything is decided from.
    pub(crate) flags: Flags,
    news: broadcast::Sender<Arc<News>>,
    ending: CancellationToken,
}

/// A write and how it is carried out.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub scope: Scope,
    pub write: Write,
    pub by: By,
    pub origin: Origin,
    pub if_version: Option<u64>,
    pub dry_run: bool,
    pub effective_at: Option<Timestamp>,
    /// With `dry_run`: tenants to be looked at beside those that have overrides.
    pub others: Vec<TenantId>,
}

/// What a write did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub version: u64,
    pub override_version: u64,
    pub changed: bool,
    pub scheduled: Option<Uuid>,
    pub affected: Vec<Affected>,
    pub affects_others: bool,
}

/// How every setting of an owner came to its value.
#[derive(Debug)]
pub(crate) struct Explained {
    pub settings: Vec<Explanation>,
    /// What is in force, of the same moment.
    pub answer: Answer,
    pub override_version: u64,
    pub scheduled: Vec<Scheduled>,
}

/// What is written down for a start while the store is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    /// When the store was last heard.
    pub heard_at: Timestamp,
    /// What was set for the whole platform: the environment may be another at the next start.
    pub platform: Overrides,
    /// The whole snapshot.
    pub snapshot: SnapshotChange,
}

impl Resolver {
    /// Knows nothing but the environment, and has no store yet.
    pub(crate) fn new(environment: Settings) -> Self {
        Self {
            store: OnceLock::new(),
            held: RwLock::new(Held::new(environment)),
            flags: Flags::default(),
            news: broadcast::Sender::new(NEWS_MAX),
            ending: CancellationToken::new(),
        }
    }

    /// Reads a store whole, and works on it from now on.
    pub(crate) async fn adopt(&self, store: FlagStore) -> Result<(), Fault> {
        self.read_whole(&store).await?;
        // it is set once: only one task opens it
        let _ = self.store.set(store);
        Ok(())
    }

    /// Forgets what is in memory for what the store holds, and tells those who follow.
    async fn read_whole(&self, store: &FlagStore) -> Result<(), Fault> {
        let (asked, batch) = (now(), store.since(0).await?);
        let mut held = self.held_to_change();
        *held = Held::new(held.environment());
        held.take(batch);
        let (change, touched) = (held.snapshot().whole(), Vec::new());
        self.flags.take(change.clone(), asked);
        self.tell(News { change, touched });
        Ok(())
    }

    /// Serves what was written down, until there is a store.
    pub(crate) fn recall(&self, kept: Kept) {
        let Kept { heard_at, platform, mut snapshot } = kept;
        snapshot.platform = self.held().environment().with(&platform);
        self.flags.take(snapshot, heard_at);
    }

    /// What is to be written down; `None` before the store was read.
    pub(crate) fn kept(&self) -> Option<Kept> {
        let held = self.held();
        self.store.get()?;
        let platform = held.layer(Scope::Platform).document.overrides();
        Some(Kept { heard_at: self.flags.heard_at(), platform, snapshot: self.flags.whole() })
    }

    /// The store.
    ///
    /// # Errors
    /// `STORE_UNREACHABLE` until it could be opened.
    pub(crate) fn store(&self) -> Result<&FlagStore, Fault> {
        self.store.get().ok_or_else(away)
    }

    /// Whether there is a store yet.
    pub(crate) fn is_open(&self) -> bool {
        self.store.get().is_some()
    }

    /// The settings in force, from memory.
    ///
    /// # Errors
    /// `STORE_UNREACHABLE` before anything is known.
    pub(crate) fn resolve(&self, owner: Owner) -> Result<Answer, Fault> {
        self.known()?;
        Ok(self.flags.resolve(Some(owner)))
    }

    /// Whether anything is known.
    ///
    /// # Errors
    /// `STORE_UNREACHABLE` when not.
    pub(crate) fn known(&self) -> Result<(), Fault> {
        if self.flags.is_ready() { Ok(()) } else { Err(away()) }
    }

    /// How every setting came to its value.
    pub(crate) async fn explain(&self, owner: Owner) -> Result<Explained, Fault> {
        let store = self.store()?;
        let mut scheduled = store.scheduled(Some(owner.tenant)).await?;
        let own = [Scope::of(owner), Scope::Tenant(owner.tenant)];
        scheduled.retain(|s| owner.run.is_none() || own.contains(&s.scope));
        scheduled.extend(store.scheduled(None).await?);
        let held = self.held();
        let [platform, rollout, tenant, run, kill_switch] = held.of_owner(owner);
        let documents = Documents {
            platform: &platform.document,
            rollout: &rollout.document,
            tenant: &tenant.document,
            run: &run.document,
            kill_switch: &kill_switch.document,
        };
        let environment = held.environment();
        let freshness = self.flags.freshness();
        let snapshot = self.flags.snapshot();
        let settings = explain(&environment, &documents, &snapshot, owner, freshness);
        let resolved = snapshot.resolve(Some(owner), freshness);
        let answer = Answer { resolved, version: snapshot.version, freshness };
        let override_version = held.layer(Scope::of(owner)).version;
        Ok(Explained { settings, answer, override_version, scheduled })
    }

    /// What the environment says, and a layer of the whole platform.
    pub(crate) fn platform(&self) -> (Settings, [(Scope, Arc<Stored>); 3]) {
        let held = self.held();
        let layer = |scope| (scope, held.layer(scope));
        let layers = [Scope::Platform, Scope::Rollout, Scope::KillSwitch].map(layer);
        (held.environment(), layers)
    }

    /// Carries out a write, at once, later, or only in thought.
    pub(crate) async fn write(&self, request: Request) -> Result<Outcome, Fault> {
        request.write.check(request.scope)?;
        if let Some(at) = request.effective_at {
            may_wait(&request, at)?;
        }
        self.store()?;
        match request.effective_at {
            _ if request.dry_run => self.imagine(&request).await,
            Some(at) => self.schedule(request, at).await,
            None => self.write_now(request).await,
        }
    }

    async fn write_now(&self, request: Request) -> Result<Outcome, Fault> {
        let Request { scope, write, by, origin, if_version, .. } = request;
        let mut seen = 0;
        let decide = |before: Document, version: u64| {
            seen = version;
            unchanged(version, if_version)?;
            Ok::<_, Fault>(change(&before, &write, &by))
        };
        let written = self.store()?.change(scope, &origin, decide).await?;
        self.refresh().await?;
        // by now the layer may be somebody else's: who writes next has to have read that one
        let override_version = written.unwrap_or(seen);
        Ok(Outcome { changed: written.is_some(), override_version, ..self.now_at(scope) })
    }

    async fn schedule(&self, request: Request, at: Timestamp) -> Result<Outcome, Fault> {
        let Request { scope, write, by, origin, .. } = request;
        let id = new_id();
        let scheduled = Scheduled { id, scope, write, by, origin, effective_at: at };
        match self.store()?.schedule(&scheduled).await? {
            Scheduling::Done(_) => {}
            Scheduling::TooMany => {
                let text = format!(
                    "{} changes are scheduled for this already (expected no more)",
                    crate::store::SCHEDULED_MAX
                );
                return Err(Fault::new(ErrorKind::FailedPrecondition, "TOO_MANY_SCHEDULED", text));
            }
        }
        self.refresh().await?;
        Ok(Outcome { scheduled: Some(id), ..self.now_at(scope) })
    }

    /// Says what a write would do.
    async fn imagine(&self, request: &Request) -> Result<Outcome, Fault> {
        self.refresh().await?;
        let held = self.held();
        let stored = held.layer(request.scope);
        unchanged(stored.version, request.if_version)?;
        let outcome = Outcome {
            version: held.version(),
            override_version: stored.version,
            ..Outcome::default()
        };
        let Some(change) = change(&stored.document, &request.write, &request.by) else {
            return Ok(outcome);
        };
        let before = held.snapshot();
        let after = held.snapshot_with(Some((request.scope, &change.after)));
        let mut affected = affected(&before, &after, &request.others);
        if let Some(owner) = request.scope.owner() {
            affected.retain(|a| a.owner.tenant == owner.tenant);
        }
        let affects_others = affects_others(&before, &after);
        Ok(Outcome { changed: true, affected, affects_others, ..outcome })
    }

    /// Takes a scheduled change back.
    pub(crate) async fn cancel(
        &self,
        id: Uuid,
        tenant: Option<TenantId>,
        by: &By,
        origin: &Origin,
    ) -> Result<u64, Fault> {
        let canceled = self.store()?.cancel(id, tenant, by, origin).await?;
        let gone = || Fault::not_found("SCHEDULED_NOT_FOUND", "scheduled change", id);
        let version = canceled.ok_or_else(gone)?;
        self.refresh().await?;
        Ok(version)
    }

    /// The audited changes, newest first.
    pub(crate) async fn changes(&self, filter: Filter) -> Result<Vec<Audited>, Fault> {
        Ok(self.store()?.changes(filter).await?)
    }

    /// The audited changes of everybody after a version, oldest first.
    pub(crate) async fn changes_after(
        &self,
        version: u64,
        limit: u32,
    ) -> Result<Vec<Audited>, Fault> {
        Ok(self.store()?.changes_after(version, limit).await?)
    }

    /// What is scheduled for the whole platform.
    pub(crate) async fn scheduled_of_platform(&self) -> Result<Vec<Scheduled>, Fault> {
        Ok(self.store()?.scheduled(None).await?)
    }

    /// Hears the store: takes in what changed, and carries out what is due. A store that cannot
    /// be written for a moment is heard all the same.
    pub(crate) async fn hear(&self, now: Timestamp) -> Result<(), Fault> {
        let (store, known) = (self.store()?, self.held().version());
        let pulse = store.pulse().await?;
        match pulse.version.cmp(&known) {
            Ordering::Greater => self.refresh().await?,
            Ordering::Equal => {}
            Ordering::Less => {
                tracing::warn!(
                    known,
                    found = pulse.version,
                    "the store was set back: reading it whole"
                );
                self.read_whole(store).await?;
            }
        }
        self.flags.hear(now);
        if pulse.next_due.is_some_and(|due| due <= now) && store.apply_due(now).await? > 0 {
            self.refresh().await?;
        }
        Ok(())
    }

    /// Brings the memory up to the store and tells those who follow.
    async fn refresh(&self) -> Result<(), Fault> {
        let (asked, version) = (now(), self.held().version());
        let batch = self.store()?.since(version).await?;
        let mut held = self.held_to_change();
        if let Some(news) = held.take(batch) {
            // under the lock, so that changes are told in their order
            self.flags.take(news.change.clone(), asked);
            self.tell(news);
        }
        Ok(())
    }

    fn tell(&self, news: News) {
        // nobody may be following
        let _ = self.news.send(Arc::new(news));
    }

    /// Everything from now on, and the snapshot as it is. What is told may be in the snapshot
    /// already: then its version is not higher.
    pub(crate) fn follow(&self) -> (SnapshotChange, broadcast::Receiver<Arc<News>>) {
        let news = self.news.subscribe();
        (self.flags.whole(), news)
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_to_change(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_at(&self, scope: Scope) -> Outcome {
        let held = self.held();
        Outcome {
            version: held.version(),
            override_version: held.layer(scope).version,
            ..Outcome::default()
        }
    }

    /// Ends every stream, now and from now on, so that the process can drain.
    pub(crate) fn end_streams(&self) {
        self.ending.cancel();
    }

    /// Canceled when streams have to end.
    pub(crate) fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }
}

/// Whether a change may wait until then.
fn may_wait(request: &Request, at: Timestamp) -> Result<(), Fault> {
    let fault = |problem: String| Err(InvalidField::new("options.effective_at", problem).into());
    if request.if_version.is_some() {
        return fault("cannot be given together with if_version".to_owned());
    }
    if at <= request.by.at || at.since_ms(request.by.at) > SCHEDULE_AHEAD_MS_MAX {
        return fault(format!("{at} is out of range (expected within a year from now)"));
    }
    Ok(())
}

/// What is said while there is no store.
fn away() -> Fault {
    let text = "the store cannot be reached";
    Fault::new(ErrorKind::Unavailable, "STORE_UNREACHABLE", text)
        .retry_after(Duration::from_secs(1))
}

/// What somebody who follows is told when the service stops.
pub(crate) fn stopping() -> Fault {
    let text = "the flag-resolver is stopping; follow again";
    Fault::new(ErrorKind::Unavailable, "STOPPING", text).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
