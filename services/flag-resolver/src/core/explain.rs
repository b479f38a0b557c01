//! How each setting came to its value.

use super::document::{Authored, Document};
use meta_domain::settings::{Layer, Settings};
use meta_domain::time::Timestamp;
use std::fmt::Display;

/// How one setting came to its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The setting.
    pub name: &'static str,
    /// The layers that set it, lowest first; the last one wins, the others are shadowed. The
    /// platform is always there.
    pub layers: Vec<LayerValue>,
}

/// What a layer says of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerValue {
    /// The layer.
    pub layer: Layer,
    /// The value as text.
    pub value: String,
    /// Who set it and when; `None` for the platform.
    pub set: Option<(String, Timestamp)>,
}

/// Explains all four settings, in the order of [`Settings`].
pub fn explain(platform: Settings, tenant: &Document, run: &Document) -> Vec<Explanation> {
    vec![
        setting(
            "autofix_enabled",
            platform.autofix_enabled,
            tenant.autofix_enabled.as_ref(),
            run.autofix_enabled.as_ref(),
        ),
        setting(
            "max_total_attempts",
            platform.max_total_attempts,
            tenant.max_total_attempts.as_ref(),
            run.max_total_attempts.as_ref(),
        ),
        setting(
            "max_per_step_attempts",
            platform.max_per_step_attempts,
            tenant.max_per_step_attempts.as_ref(),
            run.max_per_step_attempts.as_ref(),
        ),
        setting(
            "backoff_cap_seconds",
            platform.backoff_cap_seconds,
            tenant.backoff_cap_seconds.as_ref(),
            run.backoff_cap_seconds.as_ref(),
        ),
    ]
}

fn setting<T: Display>(
    name: &'static str,
    platform: T,
    tenant: Option<&Authored<T>>,
    run: Option<&Authored<T>>,
) -> Explanation {
    let mut layers =
        vec![LayerValue { layer: Layer::Platform, value: platform.to_string(), set: None }];
    for (layer, authored) in [(Layer::Tenant, tenant), (Layer::Run, run)] {
        layers.extend(authored.map(|a| LayerValue {
            layer,
            value: a.value.to_string(),
            set: Some((a.author.clone(), a.set_at)),
        }));
    }
    Explanation { name, layers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::settings::{Environment, Overrides, resolve};

    /// The last layer of every explanation is what resolution says, for each field set in none,
    /// one or both of the layers above the platform.
    #[test]
    fn the_last_layer_is_the_one_that_resolution_picks() {
        let platform = Settings::default_of(Environment::Staging);
        let values = |bits: u32, n: u32| Overrides {
            autofix_enabled: (bits & 1 != 0).then_some(n == 2),
            max_total_attempts: (bits & 2 != 0).then_some(n),
            max_per_step_attempts: (bits & 4 != 0).then_some(n + 2),
            backoff_cap_seconds: (bits & 8 != 0).then_some(n + 20),
        };
        for (tenant, run) in (0..16).flat_map(|t| (0..16).map(move |r| (t, r))) {
            let (tenant, run) = (values(tenant, 1), values(run, 2));
            let resolved = resolve(platform, &tenant, &run);
            let document = |v| Document::default().rewritten(v, "ann", Timestamp(7));
            let got: Vec<_> = explain(platform, &document(&tenant), &document(&run))
                .into_iter()
                .map(|e| e.layers.last().map(|l| (e.name, l.layer, l.value.clone())).unwrap())
                .collect();
            let (s, r) = (resolved.settings, resolved);
            let text = |v: u32| v.to_string();
            let expected = [
                ("autofix_enabled", r.autofix_enabled_layer, s.autofix_enabled.to_string()),
                ("max_total_attempts", r.max_total_attempts_layer, text(s.max_total_attempts)),
                (
                    "max_per_step_attempts",
                    r.max_per_step_attempts_layer,
                    text(s.max_per_step_attempts),
                ),
                ("backoff_cap_seconds", r.backoff_cap_seconds_layer, text(s.backoff_cap_seconds)),
            ];
            assert_eq!(got, expected);
        }
    }
}
