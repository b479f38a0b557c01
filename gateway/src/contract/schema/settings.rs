//! Settings, their layers and their history.

use super::{
    Schema, any, count, flag, id, list_of, map_of, named, number, object, or_null, resource,
    some_text, some_time, text, words,
};
use meta_domain::settings::{Layer, Setting};
use serde_json::json;

pub(super) fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("Overrides", overrides()),
        ("Settings", settings()),
        ("SettingsDryRun", resource("settings_dry_run", dry_run(), &[])),
        ("ScheduledChange", resource("scheduled_change", scheduled_answer(), &[])),
        ("SettingsChange", resource("settings_change", change(), &[])),
        ("SettingsValidation", validation()),
        ("PlatformSettings", platform()),
        ("Scheduled", scheduled()),
    ]
}

/// What a setting may be set to.
pub(super) fn value_of(setting: Setting) -> Schema {
    match setting.range() {
        None => flag(),
        Some(range) => {
            let whole = number(i64::from(*range.start()), i64::from(*range.end()));
            if setting == Setting::BackoffCapSeconds {
                json!({ "anyOf": [whole, { "const": 0 }] })
            } else {
                whole
            }
        }
    }
}

fn overrides() -> Schema {
    let fields: Vec<_> =
        Setting::ALL.iter().map(|s| (format!("{}?", s.as_str()), value_of(*s))).collect();
    object(&fields.iter().map(|(n, v)| (n.as_str(), v.clone())).collect::<Vec<_>>())
}

fn layer() -> Schema {
    or_null(words(Layer::ALL))
}

fn settings() -> Schema {
    let of_layer = object(&[
        ("layer", layer()),
        ("value", any()),
        ("author", some_text()),
        ("set_at", some_time()),
        ("reason", some_text()),
        ("percent", or_null(number(0, 100))),
        ("bucket_key", some_text()),
        ("applies", flag()),
        ("problem", some_text()),
    ]);
    let value = object(&[("value", any()), ("layer", layer()), ("layers", list_of(of_layer))]);
    let attributes = object(&[
        ("resolved", map_of(value)),
        ("override", named("Overrides")),
        ("override_version", count()),
        ("scheduled", list_of(named("Scheduled"))),
        ("version", count()),
        ("stale", flag()),
        ("stale_ms", count()),
    ]);
    resource("settings", attributes, &[])
}

fn scheduled() -> Schema {
    object(&[
        ("id", id()),
        ("layer", layer()),
        ("run_id", some_text()),
        ("effective_at", some_time()),
        ("action", words(&["clear", "patch", "replace"])),
        ("overrides", named("Overrides")),
        ("rollouts", map_of(any())),
        ("cleared", list_of(text())),
        ("author", some_text()),
        ("created_at", some_time()),
        ("reason", some_text()),
    ])
}

fn dry_run() -> Schema {
    let affected = object(&[
        ("tenant_id", id()),
        ("run_id", some_text()),
        ("before", named("Overrides")),
        ("after", named("Overrides")),
    ]);
    object(&[
        ("dry_run", json!({ "const": true })),
        ("changed", flag()),
        ("affected", list_of(affected)),
        ("affected_total", count()),
        ("affects_others", flag()),
        ("version", count()),
        ("override_version", count()),
    ])
}

fn scheduled_answer() -> Schema {
    object(&[
        ("status", words(&["scheduled", "canceled"])),
        ("effective_at?", some_time()),
        ("version", count()),
        ("override_version?", count()),
    ])
}

fn change() -> Schema {
    object(&[
        ("kind", words(&["unknown", "written", "scheduled", "applied", "canceled"])),
        ("layer", layer()),
        ("run_id", some_text()),
        ("actor", some_text()),
        ("changed_at", some_time()),
        ("reason", some_text()),
        ("before", named("Overrides")),
        ("after", named("Overrides")),
        ("rollouts_before", map_of(any())),
        ("rollouts_after", map_of(any())),
        ("version", count()),
        ("trace_id", some_text()),
        ("scheduled_id", some_text()),
        ("effective_at", some_time()),
    ])
}

fn validation() -> Schema {
    let problem = object(&[("field", text()), ("problem", text())]);
    let attributes = object(&[("valid", flag()), ("problems", list_of(problem))]);
    resource("settings_validation", attributes, &[])
}

fn platform() -> Schema {
    let layer = object(&[
        ("layer", layer()),
        ("overrides?", named("Overrides")),
        ("rollouts?", map_of(any())),
        ("override_version", count()),
    ]);
    let attributes = object(&[
        ("environment", or_null(map_of(any()))),
        ("layers", map_of(layer)),
        ("scheduled", list_of(named("Scheduled"))),
        ("version", count()),
    ]);
    resource("platform_settings", attributes, &[])
}
