//! The four settings, their layers and their ranges (BEHAVIOUR.md section 3).

use crate::fault::InvalidField;
use crate::status::words;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
        /// Environment defaults and variables.
        Platform = "platform",
        /// The tenant's override.
        Tenant = "tenant",
        /// The run's override.
        Run = "run",
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

/// Settings with the layer each value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The values in force.
    pub settings: Settings,
    /// Where `autofix_enabled` came from.
    pub autofix_enabled_layer: Layer,
    /// Where `max_total_attempts` came from.
    pub max_total_attempts_layer: Layer,
    /// Where `max_per_step_attempts` came from.
    pub max_per_step_attempts_layer: Layer,
    /// Where `backoff_cap_seconds` came from.
    pub backoff_cap_seconds_layer: Layer,
}

/// Resolves the layers, field by field; the later layer wins.
pub fn resolve(platform: Settings, tenant: &Overrides, run: &Overrides) -> Resolved {
    let layer = |in_tenant: bool, in_run: bool| match (in_tenant, in_run) {
        (_, true) => Layer::Run,
        (true, false) => Layer::Tenant,
        (false, false) => Layer::Platform,
    };
    Resolved {
        settings: platform.with(tenant).with(run),
        autofix_enabled_layer: layer(
            tenant.autofix_enabled.is_some(),
            run.autofix_enabled.is_some(),
        ),
        max_total_attempts_layer: layer(
            tenant.max_total_attempts.is_some(),
            run.max_total_attempts.is_some(),
        ),
        max_per_step_attempts_layer: layer(
            tenant.max_per_step_attempts.is_some(),
            run.max_per_step_attempts.is_some(),
        ),
        backoff_cap_seconds_layer: layer(
            tenant.backoff_cap_seconds.is_some(),
            run.backoff_cap_seconds.is_some(),
        ),
    }
}

/// The platform layer from the process's environment variables.
///
/// # Errors
/// Names every variable that does not parse, its value, and what was expected.
pub fn platform_from_env(
    vars: &BTreeMap<String, String>,
) -> Result<(Environment, Settings), Vec<InvalidField>> {
    let mut faults = Vec::new();
    let mut environment = Environment::Development;
    if let Some(text) = vars.get("META_BUILDER_ENV") {
        match text.parse() {
            Ok(v) => environment = v,
            Err(problem) => faults.push(InvalidField::new("META_BUILDER_ENV", problem)),
        }
    }
    let mut over = Overrides::default();
    if let Some(text) = vars.get("FEATURE_META_V3_AUTOFIX") {
        match parse_bool(text) {
            Ok(v) => over.autofix_enabled = Some(v),
            Err(problem) => faults.push(InvalidField::new("FEATURE_META_V3_AUTOFIX", problem)),
        }
    }
    let mut number = |name: &str, range: std::ops::RangeInclusive<u32>, zero: bool| {
        let text = vars.get(name)?;
        match text.trim().parse::<u32>() {
            Ok(v) if range.contains(&v) || (zero && v == 0) => Some(v),
            _ => {
                faults.push(InvalidField::new(
                    name,
                    format!(
                        "{text:?} is not valid (expected a whole number from {} to {})",
                        range.start(),
                        range.end()
                    ),
                ));
                None
            }
        }
    };
    over.max_total_attempts = number("META_V3_MAX_TOTAL_ATTEMPTS", TOTAL_ATTEMPTS, false);
    over.max_per_step_attempts = number("META_V3_MAX_PER_STEP_ATTEMPTS", PER_STEP_ATTEMPTS, false);
    over.backoff_cap_seconds = number("META_V3_BACKOFF_CAP_SECONDS", BACKOFF_CAP_SECONDS, true);
    if faults.is_empty() {
        Ok((environment, Settings::default_of(environment).with(&over)))
    } else {
        Err(faults)
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(format!("{text:?} is not a boolean (expected true or false)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn production_starts_with_auto_fix_off() {
        let (env, s) = platform_from_env(&vars(&[("META_BUILDER_ENV", "production")])).unwrap();
        assert_eq!(env, Environment::Production);
        assert_eq!(
            (s.autofix_enabled, s.max_total_attempts, s.max_per_step_attempts),
            (false, 6, 3)
        );
    }

    #[test]
    fn development_is_generous() {
        let (_, s) = platform_from_env(&vars(&[])).unwrap();
        assert_eq!(
            (s.autofix_enabled, s.max_total_attempts, s.max_per_step_attempts),
            (true, 10, 5)
        );
        assert_eq!(s.backoff_cap_seconds, 60);
    }

    #[test]
    fn variables_beat_the_environment_defaults() {
        let (_, s) = platform_from_env(&vars(&[
            ("META_BUILDER_ENV", "production"),
            ("FEATURE_META_V3_AUTOFIX", "true"),
            ("META_V3_BACKOFF_CAP_SECONDS", "0"),
        ]))
        .unwrap();
        assert!(s.autofix_enabled);
        assert_eq!(s.backoff_cap_seconds, 0);
    }

    #[test]
    fn every_bad_variable_is_named_at_once() {
        let faults = platform_from_env(&vars(&[
            ("META_BUILDER_ENV", "prod"),
            ("FEATURE_META_V3_AUTOFIX", "maybe"),
            ("META_V3_MAX_TOTAL_ATTEMPTS", "21"),
            ("META_V3_MAX_PER_STEP_ATTEMPTS", "-1"),
            ("META_V3_BACKOFF_CAP_SECONDS", "9"),
        ]))
        .unwrap_err();
        assert_eq!(faults.len(), 5);
        assert!(
            faults
                .iter()
                .any(|f| f.to_string().contains("\"21\"") && f.to_string().contains("1 to 20"))
        );
    }

    #[test]
    fn the_later_layer_wins_field_by_field() {
        let platform = Settings::default_of(Environment::Staging);
        let tenant = Overrides {
            max_total_attempts: Some(8),
            backoff_cap_seconds: Some(30),
            ..Overrides::default()
        };
        let run = Overrides { max_total_attempts: Some(2), ..Overrides::default() };
        let r = resolve(platform, &tenant, &run);
        assert_eq!((r.settings.max_total_attempts, r.max_total_attempts_layer), (2, Layer::Run));
        assert_eq!(
            (r.settings.backoff_cap_seconds, r.backoff_cap_seconds_layer),
            (30, Layer::Tenant)
        );
        assert_eq!(r.autofix_enabled_layer, Layer::Platform);
    }

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
