//! What an operator says of webhooks.

use crate::core::webhook::{Network, Policy, address};
use meta_domain::fault::InvalidField;
use serde::{Deserialize, Serialize};

/// The section `webhooks` of the orchestrator's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The signing key, at least 32 characters, the same for every orchestrator of an installation.
    /// Without one it is made and kept in the data folder.
    pub key: Option<String>,
    /// Whether messages may go over plain HTTP.
    pub allow_http: bool,
    /// Ports that may be called.
    pub ports: Vec<u16>,
    /// Networks that may be called though they are not public, such as `10.1.0.0/16`.
    pub networks: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { key: None, allow_http: false, ports: address::PORTS.to_vec(), networks: Vec::new() }
    }
}

impl Config {
    /// Which addresses may be called.
    ///
    /// # Errors
    /// Names each network that is none.
    pub fn policy(&self) -> Result<Policy, Vec<InvalidField>> {
        let (mut networks, mut faults) = (Vec::new(), Vec::new());
        for (i, text) in self.networks.iter().enumerate() {
            match text.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(why) => {
                    faults.push(InvalidField::new(format!("webhooks.networks[{i}]"), why));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Policy { allow_http: self.allow_http, ports: self.ports.clone(), networks })
    }
}
