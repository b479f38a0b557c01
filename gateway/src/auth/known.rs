//! Credentials that were checked a moment ago.

use meta_domain::role::Identity;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Credentials that are remembered at most.
const KEYS_MAX: usize = 10_000;

/// The hash of a credential: what is remembered of it.
pub(crate) type KeyHash = [u8; 32];

/// Credentials that were checked a moment ago, by their hash.
pub(crate) struct KeyCache {
    believed: Mutex<HashMap<KeyHash, (Identity, Instant)>>,
    lifetime: Duration,
}

impl KeyCache {
    /// A cache that believes a credential for this long.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { believed: Mutex::default(), lifetime }
    }

    /// Whose it is, when that was checked lately and it has not ended meanwhile.
    pub(super) fn get(&self, hash: &KeyHash, now: Instant) -> Option<Identity> {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let (credential, since) = believed.get(hash)?;
        let over = credential.expires.is_some_and(|end| end <= meta_runtime::now());
        (!over && now.duration_since(*since) < self.lifetime).then(|| credential.clone())
    }

    /// Remembers whose it is.
    pub(super) fn put(&self, hash: KeyHash, credential: Identity, now: Instant) {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= KEYS_MAX {
            believed.retain(|_, (_, since)| now.duration_since(*since) < self.lifetime);
        }
        if believed.len() >= KEYS_MAX {
            believed.clear();
        }
        believed.insert(hash, (credential, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::id::TenantId;
    use meta_domain::role::{Principal, Role};

    #[test]
    fn a_key_is_believed_only_for_a_while() {
        let cache = KeyCache::new(Duration::from_secs(5));
        let tenant = TenantId(meta_runtime::new_id());
        let principal =
            Identity::from(Principal { tenant, role: Role::Viewer, actor: "key".into() });
        let then = Instant::now();
        cache.put([7; 32], principal.clone(), then);
        assert_eq!(cache.get(&[7; 32], then), Some(principal.clone()));
        assert_eq!(cache.get(&[8; 32], then), None);
        assert_eq!(cache.get(&[7; 32], then + Duration::from_secs(5)), None);
        let over = Identity { expires: Some(meta_runtime::now().plus_ms(-1)), ..principal };
        cache.put([7; 32], over, then);
        assert_eq!(cache.get(&[7; 32], then), None);
    }
}
