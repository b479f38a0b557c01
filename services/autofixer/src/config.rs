//! The auto-fixer's own configuration.

use serde::{Deserialize, Serialize};

/// Beside what every service has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}
