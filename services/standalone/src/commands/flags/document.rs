//! What is known of settings, as the REST API writes it and as `--output json` prints it. Local
//! mode makes the same documents from the wire.

use meta_domain::settings::{Layer, Overrides, Resolved, Rollouts, Setting, Settings, Value};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// The settings of an owner and how they came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// By setting.
    pub resolved: BTreeMap<Setting, Explanation>,
    /// What the owner itself overrides.
    #[serde(rename = "override")]
    pub own: Overrides,
    /// For `--if-version`.
    pub override_version: u64,
    /// What will change.
    pub scheduled: Vec<Scheduled>,
    /// The version of all settings.
    pub version: u64,
    /// The store was not heard for a moment.
    pub stale: bool,
    /// For how long, in milliseconds.
    pub stale_ms: u64,
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Values {
    /// By setting.
    pub settings: BTreeMap<Setting, InForce>,
    /// The version of all settings.
    pub version: u64,
    /// For `--if-version`, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_version: Option<u64>,
    /// The store was not heard for a moment.
    pub stale: bool,
    /// For how long, in milliseconds.
    pub stale_ms: u64,
}

/// A value in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InForce {
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub layer: Layer,
}

impl From<&Explained> for Values {
    fn from(found: &Explained) -> Self {
        let one = |(setting, e): (&Setting, &Explanation)| {
            (*setting, InForce { value: e.value, layer: e.layer })
        };
        Self {
            settings: found.resolved.iter().map(one).collect(),
            version: found.version,
            override_version: Some(found.override_version),
            stale: found.stale,
            stale_ms: found.stale_ms,
        }
    }
}

impl Values {
    /// What a stream says.
    pub fn of(resolved: &Resolved, version: u64, stale: bool, stale_ms: u64) -> Self {
        let one = |s: &Setting| {
            (*s, InForce { value: resolved.settings.get(*s), layer: resolved.layer(*s) })
        };
        let settings = Setting::ALL.iter().map(one).collect();
        Self { settings, version, override_version: None, stale, stale_ms }
    }

    /// Whether somebody who was told one need not be told the other.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.settings == other.settings && self.stale == other.stale
    }
}

/// How one setting came to its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The value in force.
    pub value: Value,
    /// Where it comes from.
    pub layer: Layer,
    /// Lowest first.
    pub layers: Vec<LayerValue>,
}

/// What a layer says of a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerValue {
    /// Which layer.
    pub layer: Layer,
    /// A value, or whatever is stored instead of one.
    pub value: Json,
    /// `None` for the environment.
    pub author: Option<String>,
    /// When it was set.
    pub set_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Of a rollout: how many of a hundred tenants are in.
    pub percent: Option<u32>,
    /// Of a rollout: what the lots are drawn by.
    pub bucket_key: Option<String>,
    /// Whether it applies to the owner.
    pub applies: bool,
    /// What is wrong with what is stored.
    pub problem: Option<String>,
}

/// A change that will take effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scheduled {
    /// For `flags unschedule`.
    pub id: String,
    /// What it changes.
    pub layer: Layer,
    /// Of a run's override.
    pub run_id: Option<String>,
    /// When.
    pub effective_at: Option<String>,
    /// `replace`, `patch` or `clear`.
    pub action: String,
    /// What it sets.
    pub overrides: Overrides,
    /// What it sets for a share of the tenants.
    pub rollouts: Rollouts,
    /// What it clears; all when it clears and this is empty.
    pub cleared: Vec<String>,
    /// Who scheduled it.
    pub author: Option<String>,
    /// When that was.
    pub created_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// What a change would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imagined {
    /// Always true.
    pub dry_run: bool,
    /// Whether anything would be stored.
    pub changed: bool,
    /// Who would get another value; the list may be cut.
    pub affected: Vec<Affected>,
    /// How many these are.
    pub affected_total: u64,
    /// Tenants that are not looked at would get another value too.
    pub affects_others: bool,
    /// The version of all settings.
    pub version: u64,
    /// For `--if-version`.
    pub override_version: u64,
}

/// A tenant, or one of its runs, that would get another value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Affected {
    /// The tenant.
    pub tenant_id: String,
    /// `None` for the tenant itself.
    pub run_id: Option<String>,
    /// What would change, as it is.
    pub before: Overrides,
    /// The same as it would be.
    pub after: Overrides,
}

/// A change that was scheduled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Later {
    /// Always `scheduled`.
    pub status: &'static str,
    /// For `flags unschedule`.
    pub id: String,
    /// When.
    pub effective_at: Option<String>,
}

/// The layers of the whole platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// What the environment and its variables say.
    pub environment: Option<Settings>,
    /// By the layers' names in paths.
    pub layers: BTreeMap<String, PlatformLayer>,
    /// What will change.
    pub scheduled: Vec<Scheduled>,
    /// The version of all settings.
    pub version: u64,
}

/// A layer of the whole platform as it is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlatformLayer {
    /// Which.
    pub layer: Layer,
    /// Of all layers but the rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Overrides>,
    /// Of the rollouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollouts: Option<Rollouts>,
    /// For `--if-version`.
    pub override_version: u64,
}

/// One audited change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audited {
    /// `written`, `scheduled`, `applied` or `canceled`.
    pub kind: String,
    /// What was changed.
    pub layer: Layer,
    /// Of a run's override.
    pub run_id: Option<String>,
    /// Who.
    pub actor: Option<String>,
    /// When.
    pub changed_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What the layer held.
    pub before: Overrides,
    /// What it held afterwards.
    pub after: Overrides,
    /// The same of the rollouts.
    pub rollouts_before: Rollouts,
    /// The same of the rollouts.
    pub rollouts_after: Rollouts,
    /// The version that the change made.
    pub version: u64,
    /// The request's trace.
    pub trace_id: Option<String>,
    /// Of a scheduled change: which.
    pub scheduled_id: Option<String>,
    /// Of a scheduled change: when it takes effect.
    pub effective_at: Option<String>,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// It is in force for an owner, whose settings are these.
    Owner(Explained),
    /// It is in force for everybody.
    Platform(Platform),
    /// It was only thought through.
    Imagined(Imagined),
    /// It will be in force.
    Scheduled(Later),
}

/// A layer of the whole platform as it stands in paths.
pub fn segment(layer: Layer) -> &'static str {
    match layer {
        Layer::Rollout => "rollouts",
        Layer::KillSwitch => "kill-switch",
        Layer::Platform | Layer::Tenant | Layer::Run | Layer::FailClosed => layer.as_str(),
    }
}
