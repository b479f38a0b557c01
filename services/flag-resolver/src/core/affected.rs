//! Who would get another value by a change.

use meta_domain::id::TenantId;
use meta_domain::settings::{Freshness, Overrides, Owner, Setting, Snapshot};
use std::collections::BTreeSet;

/// An owner that would get another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affected {
    /// Whose.
    pub owner: Owner,
    /// The settings that would change, as they are.
    pub before: Overrides,
    /// The same as they would be.
    pub after: Overrides,
}

/// Who would get another value: of the tenants that have overrides, and of `others`.
pub fn affected(before: &Snapshot, after: &Snapshot, others: &[TenantId]) -> Vec<Affected> {
    let mut owners: BTreeSet<Owner> = others.iter().map(|t| Owner::tenant(*t)).collect();
    for (owner, _) in before.whole().overrides.iter().chain(&after.whole().overrides) {
        owners.insert(*owner);
        owners.insert(Owner::tenant(owner.tenant));
    }
    owners.into_iter().filter_map(|owner| compare(before, after, owner)).collect()
}

/// Whether tenants without any override would get another value, those that are not known here
/// included. Of rollouts nobody knows whom they reach, so a difference is enough.
pub fn affects_others(before: &Snapshot, after: &Snapshot) -> bool {
    let fresh = Freshness::Fresh;
    before.resolve(None, fresh) != after.resolve(None, fresh) || before.rollouts != after.rollouts
}

fn compare(before: &Snapshot, after: &Snapshot, owner: Owner) -> Option<Affected> {
    let resolved = |snapshot: &Snapshot| snapshot.resolve(Some(owner), Freshness::Fresh).settings;
    let (old, new) = (resolved(before), resolved(after));
    let differs = |s: &&Setting| old.get(**s) != new.get(**s);
    let values = |of: &meta_domain::settings::Settings| {
        Setting::ALL.iter().filter(differs).map(|s| (*s, of.get(*s))).collect::<Overrides>()
    };
    (old != new).then(|| Affected { owner, before: values(&old), after: values(&new) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::settings::{Environment, Settings, SnapshotChange};
    use uuid::Uuid;

    fn total(n: u32) -> Overrides {
        Overrides { max_total_attempts: Some(n), ..Overrides::default() }
    }

    #[test]
    fn shadowed_owners_are_not_affected() {
        let tenant = |n| TenantId(Uuid::from_u128(n));
        let mut before = Snapshot::of(Settings::default_of(Environment::Staging));
        let whole = before.whole();
        let off = Overrides { autofix_enabled: Some(false), ..Overrides::default() };
        let overrides = vec![(Owner::tenant(tenant(1)), total(9)), (Owner::tenant(tenant(2)), off)];
        before.take(SnapshotChange { overrides, ..whole });
        let mut after = before.clone();
        after.platform.max_total_attempts = 4;
        let got = affected(&before, &after, &[tenant(3)]);
        let who: Vec<_> = got.iter().map(|a| a.owner.tenant).collect();
        assert_eq!(who, [tenant(2), tenant(3)]);
        assert_eq!((got[0].before, got[0].after), (total(6), total(4)));
        assert!(affects_others(&before, &after) && !affects_others(&before, &before));
    }
}
