//! A value for a share of the tenants.

use super::{Overrides, Setting, Value};
use crate::fault::InvalidField;
use crate::id::TenantId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Characters of a bucket key.
pub const BUCKET_KEY_CHARS_MAX: usize = 64;

/// A value for a share of the tenants. A tenant is in or out by a hash of the bucket key and its
/// id, so it stays where it is while the share does not shrink, and rollouts with the same bucket
/// key reach the same tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The value for the tenants that are in.
    pub value: Value,
    /// How many of a hundred tenants are in, 0 to 100.
    pub percent: u8,
    /// Names the drawing of lots; the setting's name unless somebody chose another.
    pub bucket_key: String,
}

/// The rollouts of the platform, at most one a setting.
pub type Rollouts = BTreeMap<Setting, Rollout>;

impl Rollout {
    /// Whether this is a valid rollout of a setting.
    ///
    /// # Errors
    /// Names each bad field, its value and what was expected.
    pub fn check(&self, setting: Setting) -> Result<(), Vec<InvalidField>> {
        let mut faults: Vec<_> = setting.check(self.value).err().into_iter().collect();
        if self.percent > 100 {
            let problem = format!("{} is out of range (expected 0 to 100)", self.percent);
            faults.push(InvalidField::new("percent", problem));
        }
        let chars = self.bucket_key.chars().count();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if chars == 0 || chars > BUCKET_KEY_CHARS_MAX || !self.bucket_key.chars().all(plain) {
            let problem = format!(
                "is not valid (expected 1 to {BUCKET_KEY_CHARS_MAX} letters, digits, '-', '_' or \
                 '.')"
            );
            faults.push(InvalidField::new("bucket_key", problem));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Whether a tenant is in.
    pub fn reaches(&self, tenant: TenantId) -> bool {
        match self.percent {
            0 => false,
            100.. => true,
            percent => bucket(&self.bucket_key, tenant) < u64::from(percent),
        }
    }
}

/// The bucket of a tenant, 0 to 99: the first eight bytes of
/// `SHA-256("<bucket key>:<tenant id>")`, as a big-endian number, modulo 100.
fn bucket(key: &str, tenant: TenantId) -> u64 {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let hash = Sha256::new()
        .chain_update(key)
        .chain_update(":")
        .chain_update(tenant.0.hyphenated().encode_lower(&mut text).as_bytes())
        .finalize();
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)) % 100
}

/// What the rollouts say for a tenant.
pub(super) fn reaching(rollouts: &Rollouts, tenant: TenantId) -> Overrides {
    rollouts.iter().filter(|(_, r)| r.reaches(tenant)).map(|(s, r)| (*s, r.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn tenants() -> impl Iterator<Item = TenantId> {
        (0..10_000_u128).map(|n| TenantId(Uuid::from_u128(n * 0x9e37_79b9_7f4a_7c15)))
    }

    fn rollout(percent: u8, key: &str) -> Rollout {
        Rollout { value: Value::Int(4), percent, bucket_key: key.to_owned() }
    }

    #[test]
    fn the_bucket_is_what_a_shell_computes() {
        // printf %s 'canary:00000000-0000-7000-8000-000000000001' | sha256sum | cut -c1-16
        let tenant = TenantId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(bucket("canary", tenant), 86);
    }

    #[test]
    fn a_growing_share_keeps_who_was_in_and_is_about_as_large_as_asked() {
        for percent in [1, 10, 50, 99] {
            let (less, more) = (rollout(percent, "a"), rollout(percent + 1, "a"));
            let count = tenants().filter(|t| less.reaches(*t)).count();
            assert!(tenants().all(|t| !less.reaches(t) || more.reaches(t)), "{percent}");
            let wanted = usize::from(percent) * 100;
            assert!(count.abs_diff(wanted) < 200, "{percent}: {count}");
        }
        assert!(tenants().all(|t| !rollout(0, "a").reaches(t) && rollout(100, "a").reaches(t)));
    }

    #[test]
    fn bucket_keys_draw_different_lots() {
        let both = tenants()
            .filter(|t| rollout(50, "a").reaches(*t) && rollout(50, "b").reaches(*t))
            .count();
        assert!(both.abs_diff(2_500) < 300, "{both}");
    }

    #[test]
    fn a_bad_rollout_names_every_field() {
        let bad = Rollout { value: Value::Bool(true), percent: 101, bucket_key: "a b".to_owned() };
        let faults = bad.check(Setting::MaxTotalAttempts).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["max_total_attempts", "percent", "bucket_key"]);
        assert!(rollout(100, "max_total_attempts").check(Setting::MaxTotalAttempts).is_ok());
    }
}
