//! All settings of an installation at one version, as a service keeps them in its memory: a
//! decision reads it and calls nobody.

use super::rollout::reaching;
use super::{Layer, Layers, Overrides, Resolved, Rollouts, Setting, Settings, Value};
use super::{evaluate, resolve};
use crate::id::{RunId, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How long after the last word from the flag-resolver a snapshot counts as fresh, in
/// milliseconds. The flag-resolver says something every second.
const FRESH_MS_MAX: u64 = 3_000;
/// How long a snapshot serves after that word, in milliseconds; then auto-fix is off.
pub const STALE_MS_MAX: u64 = 5 * 60 * 1000;

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The tenant.
    pub tenant: TenantId,
    /// One of its runs; `None` for the tenant itself.
    pub run: Option<RunId>,
}

impl Owner {
    /// A tenant itself.
    pub fn tenant(tenant: TenantId) -> Self {
        Self { tenant, run: None }
    }
}

/// How far a snapshot can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The flag-resolver was heard a moment ago.
    Fresh,
    /// It was not, but not for long enough to stop.
    Stale {
        /// Milliseconds since its last word.
        age_ms: u64,
    },
    /// It was not heard for [`STALE_MS_MAX`]: auto-fix is off.
    Expired {
        /// Milliseconds since its last word.
        age_ms: u64,
    },
}

impl Freshness {
    /// The freshness of what was last confirmed at `heard_at`. A word from the future, after the
    /// clock was set back, is fresh.
    pub fn of(heard_at: Timestamp, now: Timestamp) -> Self {
        match now.since_ms(heard_at) {
            0..=FRESH_MS_MAX => Self::Fresh,
            age_ms if age_ms <= STALE_MS_MAX => Self::Stale { age_ms },
            age_ms => Self::Expired { age_ms },
        }
    }

    /// Whether it is not fresh.
    pub fn is_stale(self) -> bool {
        self != Self::Fresh
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows with every change.
    pub version: u64,
    /// The platform layer: the environment's defaults and variables with the stored values on top.
    pub platform: Settings,
    /// What holds for everybody.
    pub kill_switch: Overrides,
    /// Values for a share of the tenants.
    pub rollouts: Rollouts,
    overrides: HashMap<Owner, Overrides>,
}

/// A snapshot, or what changed since an earlier one. Layers of the whole platform are always in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChange {
    /// The version after it.
    pub version: u64,
    /// Nothing from before stays.
    pub reset: bool,
    /// See [`Snapshot::platform`].
    pub platform: Settings,
    /// See [`Snapshot::kill_switch`].
    pub kill_switch: Overrides,
    /// See [`Snapshot::rollouts`].
    pub rollouts: Rollouts,
    /// The overrides that are new or changed; an empty one is gone.
    pub overrides: Vec<(Owner, Overrides)>,
}

impl Snapshot {
    /// The platform alone, at version 0.
    pub fn of(platform: Settings) -> Self {
        Self {
            version: 0,
            platform,
            kill_switch: Overrides::default(),
            rollouts: Rollouts::new(),
            overrides: HashMap::new(),
        }
    }

    /// Takes in a change.
    pub fn take(&mut self, change: SnapshotChange) {
        if change.reset {
            self.overrides.clear();
        }
        self.version = change.version;
        self.platform = change.platform;
        self.kill_switch = change.kill_switch;
        self.rollouts = change.rollouts;
        for (owner, over) in change.overrides {
            if over.is_empty() {
                self.overrides.remove(&owner);
            } else {
                self.overrides.insert(owner, over);
            }
        }
    }

    /// The whole snapshot as a change, its overrides in the order of their owners.
    pub fn whole(&self) -> SnapshotChange {
        let mut overrides: Vec<_> = self.overrides.iter().map(|(o, v)| (*o, *v)).collect();
        overrides.sort_unstable_by_key(|(owner, _)| *owner);
        SnapshotChange {
            version: self.version,
            reset: true,
            platform: self.platform,
            kill_switch: self.kill_switch,
            rollouts: self.rollouts.clone(),
            overrides,
        }
    }

    /// What each layer says for an owner; the platform's layers alone for nobody.
    pub fn layers(&self, owner: Option<Owner>) -> Layers {
        let mut layers = self.layers_without_rollouts(owner);
        if let Some(owner) = owner.filter(|_| !self.rollouts.is_empty()) {
            layers.rollout = reaching(&self.rollouts, owner.tenant);
        }
        layers
    }

    fn layers_without_rollouts(&self, owner: Option<Owner>) -> Layers {
        let mut layers = Layers { kill_switch: self.kill_switch, ..Layers::of(self.platform) };
        let Some(owner) = owner else { return layers };
        let of = |owner: &Owner| self.overrides.get(owner).copied().unwrap_or_default();
        layers.tenant = of(&Owner::tenant(owner.tenant));
        if owner.run.is_some() {
            layers.run = of(&owner);
        }
        layers
    }

    /// The settings in force for an owner.
    pub fn resolve(&self, owner: Option<Owner>, freshness: Freshness) -> Resolved {
        let resolved = resolve(&self.layers(owner));
        match freshness {
            Freshness::Fresh | Freshness::Stale { .. } => resolved,
            Freshness::Expired { .. } => resolved.fail_closed(),
        }
    }

    /// One setting in force for an owner.
    pub fn evaluate(
        &self,
        setting: Setting,
        owner: Option<Owner>,
        freshness: Freshness,
    ) -> (Value, Layer) {
        if setting == Setting::AutofixEnabled && matches!(freshness, Freshness::Expired { .. }) {
            return (Value::Bool(false), Layer::FailClosed);
        }
        let mut layers = self.layers_without_rollouts(owner);
        // lots are drawn for this setting alone: that is the dear part
        if let (Some(owner), Some(rollout)) = (owner, self.rollouts.get(&setting))
            && rollout.reaches(owner.tenant)
        {
            layers.rollout = Overrides::default().with(setting, Some(rollout.value));
        }
        evaluate(&layers, setting)
    }

    /// The overrides of a tenant and its runs, in the order of their owners.
    pub fn of_tenant(&self, tenant: TenantId) -> Vec<(Owner, Overrides)> {
        let mut own: Vec<_> = self
            .overrides
            .iter()
            .filter(|(owner, _)| owner.tenant == tenant)
            .map(|(owner, over)| (*owner, *over))
            .collect();
        own.sort_unstable_by_key(|(owner, _)| *owner);
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Environment, Rollout};
    use uuid::Uuid;

    fn tenant(n: u128) -> TenantId {
        TenantId(Uuid::from_u128(n))
    }

    fn total(n: u32) -> Overrides {
        Overrides { max_total_attempts: Some(n), ..Overrides::default() }
    }

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::of(Settings::default_of(Environment::Staging));
        let run = Owner { tenant: tenant(1), run: Some(RunId(Uuid::from_u128(7))) };
        snapshot.take(SnapshotChange {
            version: 4,
            overrides: vec![(Owner::tenant(tenant(1)), total(9)), (run, total(2))],
            ..snapshot.whole()
        });
        snapshot
    }

    #[test]
    fn an_owner_sees_its_own_layers_and_nobody_elses() {
        let snapshot = snapshot();
        let run = Some(RunId(Uuid::from_u128(7)));
        let total = Setting::MaxTotalAttempts;
        for (owner, expected) in [
            (None, (Value::Int(6), Layer::Platform)),
            (Some(Owner::tenant(tenant(1))), (Value::Int(9), Layer::Tenant)),
            (Some(Owner { tenant: tenant(1), run }), (Value::Int(2), Layer::Run)),
            (Some(Owner { tenant: tenant(2), run }), (Value::Int(6), Layer::Platform)),
        ] {
            assert_eq!(snapshot.evaluate(total, owner, Freshness::Fresh), expected, "{owner:?}");
            let resolved = snapshot.resolve(owner, Freshness::Fresh);
            assert_eq!((resolved.settings.get(total), resolved.layer(total)), expected);
        }
    }

    #[test]
    fn a_change_adds_replaces_and_removes_and_a_reset_forgets() {
        let mut snapshot = snapshot();
        let whole = snapshot.whole();
        let gone = (Owner::tenant(tenant(1)), Overrides::default());
        let change =
            SnapshotChange { version: 5, reset: false, overrides: vec![gone], ..whole.clone() };
        snapshot.take(change);
        assert_eq!((snapshot.version, snapshot.of_tenant(tenant(1)).len()), (5, 1));
        snapshot.take(whole.clone());
        assert_eq!(snapshot.whole(), whole);
        snapshot.take(SnapshotChange { overrides: Vec::new(), ..whole });
        assert_eq!(snapshot.of_tenant(tenant(1)), []);
    }

    #[test]
    fn rollouts_reach_tenants_but_not_nobody() {
        let mut snapshot = snapshot();
        let rollout = Rollout { value: Value::Int(4), percent: 100, bucket_key: "a".to_owned() };
        snapshot.rollouts.insert(Setting::MaxTotalAttempts, rollout);
        let layer = |owner| snapshot.resolve(owner, Freshness::Fresh).max_total_attempts_layer;
        assert_eq!(layer(None), Layer::Platform);
        assert_eq!(layer(Some(Owner::tenant(tenant(2)))), Layer::Rollout);
        assert_eq!(layer(Some(Owner::tenant(tenant(1)))), Layer::Tenant);
    }

    #[test]
    fn the_last_word_serves_five_minutes_and_then_auto_fix_is_off() {
        let at = Timestamp(1_000_000);
        let of = |ms: i64| Freshness::of(at, at.plus_ms(ms));
        assert_eq!(of(-5), Freshness::Fresh);
        assert_eq!(of(3_000), Freshness::Fresh);
        assert_eq!(of(3_001), Freshness::Stale { age_ms: 3_001 });
        assert_eq!(of(300_000), Freshness::Stale { age_ms: 300_000 });
        assert_eq!(of(300_001), Freshness::Expired { age_ms: 300_001 });
        let snapshot = snapshot();
        assert!(snapshot.resolve(None, of(300_000)).settings.autofix_enabled);
        let expired = snapshot.resolve(None, of(300_001));
        assert!(!expired.settings.autofix_enabled);
        let one = snapshot.evaluate(Setting::AutofixEnabled, None, of(300_001));
        assert_eq!(one, (Value::Bool(false), Layer::FailClosed));
        assert_eq!(expired.layer(Setting::AutofixEnabled), Layer::FailClosed);
        assert_eq!(expired.settings.max_total_attempts, 6);
    }

    #[test]
    fn a_snapshot_survives_being_written_down() {
        let whole = snapshot().whole();
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<SnapshotChange>(&json).unwrap(), whole);
    }
}
