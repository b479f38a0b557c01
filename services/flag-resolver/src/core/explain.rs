//! How each setting came to its value.

use super::document::{Document, Field};
use meta_domain::settings::{Freshness, Layer, Owner, Rollout, Setting, Settings, Snapshot, Value};
use meta_domain::time::Timestamp;

/// How one setting came to its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The setting.
    pub setting: Setting,
    /// The value in force.
    pub value: Value,
    /// The layer it came from.
    pub winner: Layer,
    /// The layers that say something of it, lowest first. The environment is always there. All
    /// but the winner are shadowed, or do not apply.
    pub layers: Vec<LayerValue>,
}

/// What a layer says of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerValue {
    /// The layer.
    pub layer: Layer,
    /// The value as text.
    pub value: String,
    /// Who set it, when and why; `None` for the environment.
    pub set: Option<Set>,
    /// The share, for a rollout.
    pub share: Option<(u8, String)>,
    /// Whether it applies to this owner.
    pub applies: bool,
    /// What is wrong with it, when it cannot be read.
    pub problem: Option<String>,
}

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Who.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: String,
}

/// The layers as they are stored.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    /// Of the platform.
    pub platform: &'a Document,
    /// Of the rollouts.
    pub rollout: &'a Document,
    /// Of the owner's tenant.
    pub tenant: &'a Document,
    /// Of the owner's run.
    pub run: &'a Document,
    /// Of the kill switch.
    pub kill_switch: &'a Document,
}

/// Explains all four settings of an owner.
pub fn explain(
    environment: &Settings,
    documents: &Documents<'_>,
    snapshot: &Snapshot,
    owner: Owner,
    freshness: Freshness,
) -> Vec<Explanation> {
    Setting::ALL
        .iter()
        .map(|setting| {
            let (value, winner) = snapshot.evaluate(*setting, Some(owner), freshness);
            let mut layers = said(*setting, environment, documents, owner);
            if winner == Layer::FailClosed {
                layers.push(plain(winner, value.to_string()));
            }
            Explanation { setting: *setting, value, winner, layers }
        })
        .collect()
}

fn plain(layer: Layer, value: String) -> LayerValue {
    LayerValue { layer, value, set: None, share: None, applies: true, problem: None }
}

fn said(
    setting: Setting,
    environment: &Settings,
    documents: &Documents<'_>,
    owner: Owner,
) -> Vec<LayerValue> {
    let stored = [
        (Layer::Platform, documents.platform),
        (Layer::Rollout, documents.rollout),
        (Layer::Tenant, documents.tenant),
        (Layer::Run, documents.run),
        (Layer::KillSwitch, documents.kill_switch),
    ];
    let mut layers = vec![plain(Layer::Platform, environment.get(setting).to_string())];
    for (layer, document) in stored {
        if let Some(field) = document.fields.get(&setting) {
            layers.push(stored_value(layer, field, owner));
        } else if let Some(problem) = document.bad.get(&setting) {
            layers.push(unreadable(layer, setting, problem));
        }
    }
    layers
}

fn stored_value(layer: Layer, field: &Field, owner: Owner) -> LayerValue {
    let rollout = field.term.rollout();
    let set = Set {
        author: field.author.to_string(),
        at: field.set_at,
        reason: field.reason.to_string(),
    };
    LayerValue {
        set: Some(set),
        applies: rollout.as_ref().is_none_or(|r| r.reaches(owner.tenant)),
        share: rollout.map(|Rollout { percent, bucket_key, .. }| (percent, bucket_key)),
        ..plain(layer, field.term.value.to_string())
    }
}

/// What cannot be read does not apply, but for auto-fix, which is then off.
fn unreadable(layer: Layer, setting: Setting, problem: &str) -> LayerValue {
    let off = setting == Setting::AutofixEnabled && layer != Layer::Rollout;
    let value = if off { "false".to_owned() } else { String::new() };
    LayerValue { applies: off, problem: Some(problem.to_owned()), ..plain(layer, value) }
}

#[cfg(test)]
mod tests;
