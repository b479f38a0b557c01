//! The orchestrator's own configuration.

use crate::core::run::{ExpiryAction, GatePolicy};
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
    /// Seconds after which an approval gate decides itself; 0 means never.
    pub gates_expire_after_seconds: u64,
    /// What happens to the run then: `fail` or `cancel`.
    pub gates_on_expiry: ExpiryAction,
    /// Whoever started a run may not approve its gates.
    pub gates_four_eyes: bool,
    /// URL of the object store that holds the logs, for several orchestrators; without one they are
    /// files in the data folder.
    pub objects: Option<String>,
    /// Days that logs are kept after the end of their run; 0 means for ever.
    pub logs_kept_days: u32,
    /// An API key for the default tenant's owner, made at start; for development.
    pub dev_key: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".metabuilder"),
            run_id: None,
            own_leases: false,
            gates_expire_after_seconds: 0,
            gates_on_expiry: ExpiryAction::Fail,
            gates_four_eyes: false,
            objects: None,
            logs_kept_days: 90,
            dev_key: None,
        }
    }
}

impl Config {
    /// How gates are decided where a run names nothing else.
    pub fn gates(&self) -> GatePolicy {
        GatePolicy {
            expires_after_ms: self.gates_expire_after_seconds.saturating_mul(1000),
            on_expiry: self.gates_on_expiry,
            four_eyes: self.gates_four_eyes,
        }
    }
}
