//! Settings, their layers and overrides.

use super::{at, json, text, word};
use meta_domain::settings::Layer;
use meta_proto::common as pb;
use meta_proto::convert::Number;
use meta_proto::flags::{ExplainResponse, LayerValue};
use serde_json::{Map, Value, json};

/// An override: only what it sets.
pub(crate) fn overrides(overrides: Option<&pb::Overrides>) -> Value {
    json!(meta_domain::settings::Overrides::from(overrides.copied().unwrap_or_default()))
}

/// The settings in force with the layer each value came from, and what `layer` itself overrides.
pub(crate) fn explained(explained: &ExplainResponse, layer: Layer) -> Value {
    let mut resolved = Map::new();
    let mut own = Map::new();
    for setting in &explained.settings {
        let value = json!({
            "value": json(&setting.value),
            "layer": word::<Layer>(setting.winner),
            "layers": setting.layers.iter().map(layer_value).collect::<Vec<_>>(),
        });
        resolved.insert(setting.name.clone(), value);
        if let Some(set) = setting.layers.iter().find(|l| l.layer == layer.number()) {
            own.insert(setting.name.clone(), json(&set.value));
        }
    }
    json!({ "resolved": resolved, "override": own, "version": explained.version })
}

fn layer_value(l: &LayerValue) -> Value {
    json!({
        "layer": word::<Layer>(l.layer),
        "value": json(&l.value),
        "author": text(&l.author),
        "set_at": at(l.set_at.as_ref()),
    })
}
