//! The orchestrator's own configuration.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Beside what every service has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the database and the logs.
    pub data_dir: PathBuf,
    /// Only work on this run (the command line's local mode).
    pub run_id: Option<String>,
    /// Every other process on this data folder is known to be dead: give back what it had leased.
    pub own_leases: bool,
    /// An API key for the default tenant's owner, made at start; for development.
    pub dev_key: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".metabuilder"),
            run_id: None,
            own_leases: false,
            dev_key: None,
        }
    }
}
