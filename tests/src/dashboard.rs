//! The dashboard as it is committed.

use anyhow::Result;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The dashboard.
pub fn dashboard() -> Result<Value> {
    let path = root().join("ops/grafana/meta_builder_v3_dashboard.json");
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

/// The panels that draw something.
pub fn panels(dashboard: &Value) -> Vec<Value> {
    let all = dashboard["panels"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|panel| panel["type"] != "row").collect()
}

/// A value's text; empty when it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
