//! The four settings, their layers and their ranges (BEHAVIOUR.md section 3).

mod env;
pub mod openfeature;
mod resolve;
mod rollout;
mod snapshot;
mod value;

pub use env::platform_from_env;
pub use resolve::{Layers, Resolved, evaluate, resolve};
pub use rollout::{BUCKET_KEY_CHARS_MAX, Rollout, Rollouts};
pub use snapshot::{Freshness, Owner, STALE_MS_MAX, Snapshot, SnapshotChange};
pub use value::{Setting, Value};

use crate::fault::InvalidField;
use crate::status::words;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// Where the product runs; picks the platform defaults.
    Environment {
        /// On a laptop or in a test.
        Development = "development",
        /// Before production.
        Staging = "staging",
        /// For real: auto-fix is off until somebody turns it on.
        Production = "production",
    }
}

words! {
    /// A layer of settings; the later one wins, field by field.
    Layer {
        /// The environment's defaults and variables, and what was set for the whole platform.
        Platform = "platform",
        /// A value for a share of the tenants.
        Rollout = "rollout",
        /// The tenant's override.
        Tenant = "tenant",
        /// The run's override.
        Run = "run",
        /// What holds for everybody, whatever the others say.
        KillSwitch = "kill_switch",
        /// Nobody has said anything for too long, so auto-fix is off.
        FailClosed = "fail_closed",
    }
}

/// Range of `max_total_attempts`.
pub const TOTAL_ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=20;
/// Range of `max_per_step_attempts`.
pub const PER_STEP_ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=10;
/// Range of `backoff_cap_seconds`; 0 is for tests.
pub const BACKOFF_CAP_SECONDS: std::ops::RangeInclusive<u32> = 10..=300;

/// How far auto-fix may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether failures are healed at all.
    pub autofix_enabled: bool,
    /// Attempts of one run.
    pub max_total_attempts: u32,
    /// Attempts of one step.
    pub max_per_step_attempts: u32,
    /// The longest wait before a retry, in seconds.
    pub backoff_cap_seconds: u32,
}

impl Settings {
    /// The platform default of an environment, before variables.
    pub fn default_of(environment: Environment) -> Self {
        let development = environment == Environment::Development;
        Self {
            autofix_enabled: environment != Environment::Production,
            max_total_attempts: if development { 10 } else { 6 },
            max_per_step_attempts: if development { 5 } else { 3 },
            backoff_cap_seconds: 60,
        }
    }

    /// These settings with an override on top.
    #[must_use]
    pub fn with(mut self, over: &Overrides) -> Self {
        if let Some(v) = over.autofix_enabled {
            self.autofix_enabled = v;
        }
        if let Some(v) = over.max_total_attempts {
            self.max_total_attempts = v;
        }
        if let Some(v) = over.max_per_step_attempts {
            self.max_per_step_attempts = v;
        }
        if let Some(v) = over.backoff_cap_seconds {
            self.backoff_cap_seconds = v;
        }
        self
    }
}

/// An override of a tenant or a run: what is `None` is left to the layer below.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// See [`Settings::autofix_enabled`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autofix_enabled: Option<bool>,
    /// See [`Settings::max_total_attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_attempts: Option<u32>,
    /// See [`Settings::max_per_step_attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_step_attempts: Option<u32>,
    /// See [`Settings::backoff_cap_seconds`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_cap_seconds: Option<u32>,
}

impl Overrides {
    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every value that is out of range.
    ///
    /// # Errors
    /// Names each bad field, its value and its range.
    pub fn check(&self) -> Result<(), Vec<InvalidField>> {
        let mut faults = Vec::new();
        let mut range = |name: &str, value: Option<u32>, range: std::ops::RangeInclusive<u32>| {
            if let Some(v) = value.filter(|v| !range.contains(v)) {
                faults.push(InvalidField::new(
                    name,
                    format!("{v} is out of range (expected {} to {})", range.start(), range.end()),
                ));
            }
        };
        range("max_total_attempts", self.max_total_attempts, TOTAL_ATTEMPTS);
        range("max_per_step_attempts", self.max_per_step_attempts, PER_STEP_ATTEMPTS);
        let cap = self.backoff_cap_seconds.filter(|v| *v != 0);
        range("backoff_cap_seconds", cap, BACKOFF_CAP_SECONDS);
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// These overrides with the fields of a later write on top.
    #[must_use]
    pub fn patched(self, patch: &Self) -> Self {
        Self {
            autofix_enabled: patch.autofix_enabled.or(self.autofix_enabled),
            max_total_attempts: patch.max_total_attempts.or(self.max_total_attempts),
            max_per_step_attempts: patch.max_per_step_attempts.or(self.max_per_step_attempts),
            backoff_cap_seconds: patch.backoff_cap_seconds.or(self.backoff_cap_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_out_of_range_name_each_field() {
        let over = Overrides {
            max_total_attempts: Some(0),
            max_per_step_attempts: Some(11),
            backoff_cap_seconds: Some(301),
            autofix_enabled: None,
        };
        assert_eq!(over.check().unwrap_err().len(), 3);
        assert!(Overrides { backoff_cap_seconds: Some(0), ..Overrides::default() }.check().is_ok());
    }
}
