//! The classifier's own configuration.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Beside what every service has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of an installation's own rules (`*.toml`); they outrank the product's.
    pub rules_dir: Option<PathBuf>,
}
