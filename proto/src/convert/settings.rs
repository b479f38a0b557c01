//! Settings, overrides and layers.

use super::{Number, Required, enum_map, word};
use crate::common as pb;
use meta_domain::fault::InvalidField;
use meta_domain::settings::{Layer, Overrides, Resolved, Settings};

enum_map!(Layer, pb::Layer, [Platform, Tenant, Run]);

impl From<Settings> for pb::Settings {
    fn from(s: Settings) -> Self {
        Self {
            autofix_enabled: s.autofix_enabled,
            max_total_attempts: s.max_total_attempts,
            max_per_step_attempts: s.max_per_step_attempts,
            backoff_cap_seconds: s.backoff_cap_seconds,
        }
    }
}

impl From<pb::Settings> for Settings {
    fn from(s: pb::Settings) -> Self {
        Self {
            autofix_enabled: s.autofix_enabled,
            max_total_attempts: s.max_total_attempts,
            max_per_step_attempts: s.max_per_step_attempts,
            backoff_cap_seconds: s.backoff_cap_seconds,
        }
    }
}

impl From<Overrides> for pb::Overrides {
    fn from(o: Overrides) -> Self {
        Self {
            autofix_enabled: o.autofix_enabled,
            max_total_attempts: o.max_total_attempts,
            max_per_step_attempts: o.max_per_step_attempts,
            backoff_cap_seconds: o.backoff_cap_seconds,
        }
    }
}

impl From<pb::Overrides> for Overrides {
    fn from(o: pb::Overrides) -> Self {
        Self {
            autofix_enabled: o.autofix_enabled,
            max_total_attempts: o.max_total_attempts,
            max_per_step_attempts: o.max_per_step_attempts,
            backoff_cap_seconds: o.backoff_cap_seconds,
        }
    }
}

impl From<Resolved> for pb::ResolvedSettings {
    fn from(r: Resolved) -> Self {
        Self {
            settings: Some(r.settings.into()),
            autofix_enabled_layer: r.autofix_enabled_layer.number(),
            max_total_attempts_layer: r.max_total_attempts_layer.number(),
            max_per_step_attempts_layer: r.max_per_step_attempts_layer.number(),
            backoff_cap_seconds_layer: r.backoff_cap_seconds_layer.number(),
        }
    }
}

impl TryFrom<pb::ResolvedSettings> for Resolved {
    type Error = InvalidField;
    fn try_from(r: pb::ResolvedSettings) -> Result<Self, InvalidField> {
        Ok(Self {
            settings: r.settings.required("settings")?.into(),
            autofix_enabled_layer: word("autofix_enabled_layer", r.autofix_enabled_layer)?,
            max_total_attempts_layer: word("max_total_attempts_layer", r.max_total_attempts_layer)?,
            max_per_step_attempts_layer: word(
                "max_per_step_attempts_layer",
                r.max_per_step_attempts_layer,
            )?,
            backoff_cap_seconds_layer: word(
                "backoff_cap_seconds_layer",
                r.backoff_cap_seconds_layer,
            )?,
        })
    }
}
