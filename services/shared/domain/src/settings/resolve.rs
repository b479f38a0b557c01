//! Resolution: kill switch over run over tenant over rollout over platform, field by field.

use super::{Layer, Overrides, Setting, Settings, Value};
use serde::{Deserialize, Serialize};

/// What each layer says for one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// A value for every setting.
    pub platform: Settings,
    /// What the rollouts that reach the tenant say.
    pub rollout: Overrides,
    /// The tenant's override.
    pub tenant: Overrides,
    /// The run's override.
    pub run: Overrides,
    /// What holds for everybody.
    pub kill_switch: Overrides,
}

impl Layers {
    /// The platform alone.
    pub fn of(platform: Settings) -> Self {
        let none = Overrides::default();
        Self { platform, rollout: none, tenant: none, run: none, kill_switch: none }
    }

    /// The layers above the platform, strongest first.
    fn above(&self) -> [(Layer, &Overrides); 4] {
        [
            (Layer::KillSwitch, &self.kill_switch),
            (Layer::Run, &self.run),
            (Layer::Tenant, &self.tenant),
            (Layer::Rollout, &self.rollout),
        ]
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

impl Resolved {
    /// The layer a value came from.
    pub fn layer(&self, setting: Setting) -> Layer {
        match setting {
            Setting::AutofixEnabled => self.autofix_enabled_layer,
            Setting::MaxTotalAttempts => self.max_total_attempts_layer,
            Setting::MaxPerStepAttempts => self.max_per_step_attempts_layer,
            Setting::BackoffCapSeconds => self.backoff_cap_seconds_layer,
        }
    }

    /// The same with auto-fix off, because nobody knows whether it may still be on.
    #[must_use]
    pub fn fail_closed(mut self) -> Self {
        self.settings.autofix_enabled = false;
        self.autofix_enabled_layer = Layer::FailClosed;
        self
    }
}

/// Resolves every setting.
pub fn resolve(layers: &Layers) -> Resolved {
    let (autofix_enabled, autofix_enabled_layer) =
        winner(layers, layers.platform.autofix_enabled, |o| o.autofix_enabled);
    let (max_total_attempts, max_total_attempts_layer) =
        winner(layers, layers.platform.max_total_attempts, |o| o.max_total_attempts);
    let (max_per_step_attempts, max_per_step_attempts_layer) =
        winner(layers, layers.platform.max_per_step_attempts, |o| o.max_per_step_attempts);
    let (backoff_cap_seconds, backoff_cap_seconds_layer) =
        winner(layers, layers.platform.backoff_cap_seconds, |o| o.backoff_cap_seconds);
    Resolved {
        settings: Settings {
            autofix_enabled,
            max_total_attempts,
            max_per_step_attempts,
            backoff_cap_seconds,
        },
        autofix_enabled_layer,
        max_total_attempts_layer,
        max_per_step_attempts_layer,
        backoff_cap_seconds_layer,
    }
}

/// Resolves one setting.
pub fn evaluate(layers: &Layers, setting: Setting) -> (Value, Layer) {
    winner(layers, layers.platform.get(setting), |o| o.get(setting))
}

fn winner<T>(layers: &Layers, platform: T, says: impl Fn(&Overrides) -> Option<T>) -> (T, Layer) {
    let above = layers.above().into_iter().find_map(|(layer, over)| Some((says(over)?, layer)));
    above.unwrap_or((platform, Layer::Platform))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Environment;

    /// A layer that says something of every setting whose bit is set.
    fn layer(bits: u8, n: u32) -> Overrides {
        let all = Overrides {
            autofix_enabled: Some(n.is_multiple_of(2)),
            max_total_attempts: Some(n),
            max_per_step_attempts: Some(n),
            backoff_cap_seconds: Some(n * 10),
        };
        all.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, sv)| sv).collect()
    }

    fn with(which: Layer, mut layers: Layers, over: Overrides) -> Layers {
        match which {
            Layer::Rollout => layers.rollout = over,
            Layer::Tenant => layers.tenant = over,
            Layer::Run => layers.run = over,
            Layer::KillSwitch => layers.kill_switch = over,
            Layer::Platform | Layer::FailClosed => panic!("{which} is not an override"),
        }
        layers
    }

    const WEAKEST_FIRST: [Layer; 4] =
        [Layer::Rollout, Layer::Tenant, Layer::Run, Layer::KillSwitch];

    #[test]
    fn of_every_pair_the_later_layer_wins_and_the_earlier_is_shadowed() {
        let platform = Layers::of(Settings::default_of(Environment::Staging));
        for (i, low) in WEAKEST_FIRST.into_iter().enumerate() {
            let alone = with(low, platform, layer(0b1111, 3));
            for setting in Setting::ALL {
                assert_eq!(evaluate(&alone, *setting).1, low, "{low} over the platform");
                for high in WEAKEST_FIRST.into_iter().skip(i + 1) {
                    let both = with(high, alone, layer(0b1111, 4));
                    let got = evaluate(&both, *setting);
                    let says = layer(0b1111, 4).get(*setting).unwrap();
                    assert_eq!(got, (says, high), "{high} over {low} for {setting}");
                }
            }
        }
    }

    #[test]
    fn fields_are_resolved_one_by_one() {
        let platform = Settings::default_of(Environment::Staging);
        for bits in 0..=u16::MAX {
            let [a, b] = bits.to_be_bytes();
            let layers = Layers {
                platform,
                rollout: layer(a >> 4, 1),
                tenant: layer(a & 15, 2),
                run: layer(b >> 4, 3),
                kill_switch: layer(b & 15, 5),
            };
            let resolved = resolve(&layers);
            for setting in Setting::ALL {
                // the naive model: walk up the layers, the last one that speaks is right
                let mut expected = (platform.get(*setting), Layer::Platform);
                for (name, over) in [
                    (Layer::Rollout, layers.rollout),
                    (Layer::Tenant, layers.tenant),
                    (Layer::Run, layers.run),
                    (Layer::KillSwitch, layers.kill_switch),
                ] {
                    if let Some((_, value)) = over.iter().find(|(s, _)| s == setting) {
                        expected = (value, name);
                    }
                }
                assert_eq!(evaluate(&layers, *setting), expected);
                let got = (resolved.settings.get(*setting), resolved.layer(*setting));
                assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn fail_closed_turns_auto_fix_off_and_nothing_else() {
        let on = resolve(&Layers::of(Settings::default_of(Environment::Development)));
        let off = on.fail_closed();
        assert!(on.settings.autofix_enabled && !off.settings.autofix_enabled);
        assert_eq!(off.layer(Setting::AutofixEnabled), Layer::FailClosed);
        assert_eq!(off.settings.max_total_attempts, on.settings.max_total_attempts);
    }
}
