//! All layers in memory as they are stored, for explanations and dry runs; and the snapshot that
//! is made of them, from which everything is decided.

use crate::core::document::Document;
use crate::core::scope::Scope;
use crate::store::{Batch, Stored};
use meta_domain::settings::{Owner, Setting, Settings, Snapshot, SnapshotChange};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Held {
    environment: Settings,
    version: u64,
    layers: HashMap<Scope, Arc<Stored>>,
}

/// A change as those who follow are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    /// What changed.
    pub change: SnapshotChange,
    /// Which settings of which layers are different now.
    pub touched: Vec<(Scope, BTreeSet<Setting>)>,
}

impl Held {
    /// Nothing but the environment.
    pub(crate) fn new(environment: Settings) -> Self {
        Self { environment, version: 0, layers: HashMap::new() }
    }

    /// What the environment and its variables say.
    pub(crate) fn environment(&self) -> Settings {
        self.environment
    }

    /// The version in memory.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// A layer and its version; an empty one of version 0 when there never was one.
    pub(crate) fn layer(&self, scope: Scope) -> Arc<Stored> {
        let absent = || Arc::new(Stored { version: 0, document: Document::default() });
        self.layers.get(&scope).cloned().unwrap_or_else(absent)
    }

    /// Takes in what a read of the store found. A batch holds everything since the version that was
    /// in memory when it was read; one that others have overtaken is dropped (`None`), as theirs
    /// holds all of it. So is one that was read for a memory that has been given up.
    pub(crate) fn take(&mut self, batch: Batch) -> Option<News> {
        if batch.version <= self.version || batch.after > self.version {
            return None;
        }
        self.version = batch.version;
        let mut touched = Vec::new();
        let mut overrides = Vec::new();
        for (scope, stored) in batch.rows {
            let before = self.layer(scope);
            touched.push((scope, differing(&before.document, &stored.document)));
            if let Some(owner) = scope.owner() {
                overrides.push((owner, stored.document.overrides()));
            }
            self.layers.insert(scope, Arc::new(stored));
        }
        let document = |scope| self.layer(scope);
        let change = SnapshotChange {
            version: self.version,
            reset: false,
            platform: self.environment.with(&document(Scope::Platform).document.overrides()),
            kill_switch: document(Scope::KillSwitch).document.overrides(),
            rollouts: document(Scope::Rollout).document.rollouts(),
            overrides,
        };
        Some(News { change, touched })
    }

    /// The whole snapshot.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot_with(None)
    }

    /// The whole snapshot, as if a layer were another one.
    pub(crate) fn snapshot_with(&self, other: Option<(Scope, &Document)>) -> Snapshot {
        let none = Document::default();
        let document = |scope: Scope| match other {
            Some((changed, document)) if changed == scope => document,
            _ => self.layers.get(&scope).map_or(&none, |stored| &stored.document),
        };
        let scopes = self.layers.keys().copied().chain(other.map(|(scope, _)| scope));
        let overrides = scopes
            .filter_map(|scope| Some((scope.owner()?, document(scope).overrides())))
            .collect();
        let change = SnapshotChange {
            version: self.version,
            reset: true,
            overrides,
            platform: self.environment.with(&document(Scope::Platform).overrides()),
            kill_switch: document(Scope::KillSwitch).overrides(),
            rollouts: document(Scope::Rollout).rollouts(),
        };
        let mut snapshot = Snapshot::of(self.environment);
        snapshot.take(change);
        snapshot
    }

    /// The layers of an owner, in the order of [`Documents`](crate::core::explain::Documents).
    pub(crate) fn of_owner(&self, owner: Owner) -> [Arc<Stored>; 5] {
        let run = owner.run.map(|run| self.layer(Scope::Run(owner.tenant, run)));
        let none = || Arc::new(Stored { version: 0, document: Document::default() });
        [
            self.layer(Scope::Platform),
            self.layer(Scope::Rollout),
            self.layer(Scope::Tenant(owner.tenant)),
            run.unwrap_or_else(none),
            self.layer(Scope::KillSwitch),
        ]
    }
}

fn differing(before: &Document, after: &Document) -> BTreeSet<Setting> {
    let differs = |s: &Setting| {
        let term = |d: &Document| d.fields.get(s).map(|f| f.term.clone());
        term(before) != term(after) || before.bad.contains_key(s) != after.bad.contains_key(s)
    };
    Setting::ALL.iter().copied().filter(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::document::By;
    use crate::core::write::terms;
    use meta_domain::id::TenantId;
    use meta_domain::settings::{Environment, Freshness, Layer, Overrides};
    use meta_domain::time::Timestamp;
    use uuid::Uuid;

    fn stored(version: u64, n: Option<u32>) -> Stored {
        let values = Overrides { max_total_attempts: n, ..Overrides::default() };
        let by = By { actor: "ann".into(), at: Timestamp(1), reason: "".into() };
        Stored { version, document: Document::default().rewritten(&terms(&values), &by) }
    }

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn batch(version: u64, scope: Scope, n: Option<u32>) -> Batch {
        Batch { after: version - 1, version, rows: vec![(scope, stored(version, n))] }
    }

    fn held() -> Held {
        Held::new(Settings::default_of(Environment::Staging))
    }

    #[test]
    fn an_overtaken_batch_changes_nothing() {
        let mut held = held();
        let scope = Scope::Tenant(TENANT);
        assert!(held.take(batch(1, scope, Some(7))).is_some());
        assert!(held.take(batch(2, scope, Some(9))).is_some());
        assert_eq!(held.take(batch(1, scope, Some(8))), None);
        assert_eq!(held.take(batch(9, scope, Some(8))), None, "read for another memory");
        assert_eq!(held.layer(scope).version, 2);
        assert!(held.take(batch(3, scope, None)).is_some());
        assert_eq!(held.layer(scope).version, 3);
        assert_eq!(held.snapshot().of_tenant(TENANT), []);
    }

    #[test]
    fn following_every_change_comes_to_the_whole_snapshot() {
        let mut held = held();
        let mut followed = held.snapshot();
        let run = Scope::Run(TENANT, Uuid::from_u128(2).into());
        let steps = [
            (Scope::Tenant(TENANT), Some(9)),
            (run, Some(2)),
            (Scope::Platform, Some(5)),
            (Scope::KillSwitch, Some(1)),
            (Scope::Tenant(TENANT), None),
            (Scope::KillSwitch, None),
        ];
        for (version, (scope, n)) in (1..).zip(steps) {
            let news = held.take(batch(version, scope, n)).unwrap();
            assert_eq!(news.touched, [(scope, BTreeSet::from([Setting::MaxTotalAttempts]))]);
            followed.take(news.change);
            assert_eq!(followed, held.snapshot());
        }
    }

    #[test]
    fn a_snapshot_can_be_asked_what_if() {
        let mut held = held();
        held.take(batch(1, Scope::Platform, Some(5)));
        let document = stored(2, Some(3)).document;
        let after = held.snapshot_with(Some((Scope::Tenant(TENANT), &document)));
        let total = |s: &Snapshot| {
            s.evaluate(Setting::MaxTotalAttempts, Some(Owner::tenant(TENANT)), Freshness::Fresh).1
        };
        assert_eq!((total(&held.snapshot()), total(&after)), (Layer::Platform, Layer::Tenant));
    }
}
