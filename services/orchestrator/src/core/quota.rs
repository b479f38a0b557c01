//! How often a tenant may do something: the generic cell rate algorithm. All that is kept is the
//! instant at which the whole quota is there again, so that a quota refills steadily and a refused
//! request costs nothing.

use meta_domain::status::words;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// What is counted.
    Action {
        /// Specs that are made.
        Specs = "specs",
        /// Plans that are made.
        Plans = "plans",
        /// Runs that are started.
        Runs = "runs",
        /// Gates that are decided.
        Approvals = "approvals",
    }
}

impl Action {
    /// The stable reason of a refusal.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Specs => "SPECS_PER_HOUR",
            Self::Plans => "PLANS_PER_HOUR",
            Self::Runs => "RUNS_PER_HOUR",
            Self::Approvals => "APPROVALS_PER_HOUR",
        }
    }
}

/// The time to which a quota belongs, in milliseconds: one hour.
pub const PERIOD_MS: i64 = 3_600_000;

/// So many times an hour, at once or spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    per_hour: i64,
}

impl Quota {
    /// A quota; 0 means none.
    pub fn per_hour(times: u32) -> Option<Self> {
        (times > 0).then_some(Self { per_hour: i64::from(times) })
    }

    /// Milliseconds in which one more comes.
    pub fn interval_ms(self) -> i64 {
        (PERIOD_MS / self.per_hour).max(1)
    }

    /// How it stands at `now`, when it is whole again at `full_at`.
    pub fn standing(self, full_at: Timestamp, now: Timestamp) -> Standing {
        let owed = i64::try_from(full_at.since_ms(now)).unwrap_or(i64::MAX).min(2 * PERIOD_MS);
        let left = (PERIOD_MS - owed).max(0) / self.interval_ms();
        let next = (owed + self.interval_ms() - PERIOD_MS).max(0);
        let left = u64::try_from(left.min(self.per_hour)).unwrap_or(0);
        Standing { quota: self, left, full_in_ms: owed, next_in_ms: next }
    }
}

/// How a quota stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    quota: Quota,
    /// Times that are left now.
    pub left: u64,
    /// Milliseconds until it is whole again.
    pub full_in_ms: i64,
    /// Milliseconds until one more is there; 0 when there is.
    pub next_in_ms: i64,
}

impl Standing {
    /// The value of `RateLimit-Policy`.
    pub fn policy(&self, action: Action) -> String {
        format!("\"{action}\";q={};w={}", self.quota.per_hour, PERIOD_MS / 1000)
    }

    /// The value of `RateLimit`.
    pub fn now(&self, action: Action) -> String {
        format!("\"{action}\";r={};t={}", self.left, seconds(self.full_in_ms))
    }
}

/// Whole seconds, rounded up.
fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    #[test]
    fn a_quota_that_nobody_used_is_whole() {
        let quota = Quota::per_hour(20).unwrap();
        let standing = quota.standing(Timestamp(0), NOW);
        assert_eq!((standing.left, standing.full_in_ms, standing.next_in_ms), (20, 0, 0));
        assert_eq!(standing.policy(Action::Specs), "\"specs\";q=20;w=3600");
        assert_eq!(standing.now(Action::Specs), "\"specs\";r=20;t=0");
    }

    #[test]
    fn each_use_takes_one_and_each_interval_gives_one_back() {
        let quota = Quota::per_hour(20).unwrap();
        let after = |uses: i64| NOW.plus_ms(uses * quota.interval_ms());
        assert_eq!(quota.standing(after(1), NOW).left, 19);
        let empty = quota.standing(after(20), NOW);
        assert_eq!((empty.left, empty.next_in_ms), (0, 180_000));
        let later = NOW.plus_ms(179_999);
        assert_eq!(quota.standing(after(20), later).next_in_ms, 1);
        assert_eq!(quota.standing(after(20), NOW.plus_ms(180_000)).left, 1);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_nothing() {
        let quota = Quota::per_hour(10).unwrap();
        let standing = quota.standing(NOW.plus_ms(24 * PERIOD_MS), NOW);
        assert_eq!(standing.left, 0);
        assert!(standing.next_in_ms > 0);
    }

    #[test]
    fn no_quota_is_no_limit() {
        assert_eq!(Quota::per_hour(0), None);
    }
}
