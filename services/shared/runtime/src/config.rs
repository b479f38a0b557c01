//! Configuration: a TOML file, then `METABUILDER__SECTION__KEY` variables, then flags; the later
//! one wins. Every fault is reported at once, with its path, and the process exits with 64.

use crate::{auth, logs};
use meta_domain::fault::InvalidField;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// Exit code of a process whose configuration is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_CONFIG: u8 = 64;
/// How many faults are reported before giving up on the rest.
const FAULTS_MAX: usize = 50;
/// What `--print-config` shows in place of a secret.
const MASK: &str = "********";

/// What every service has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// Where it listens.
    pub listen: Option<SocketAddr>,
    /// Where it serves `/metrics`, `/livez` and `/readyz`, without credentials; nowhere unless it is
    /// set.
    pub admin: Option<SocketAddr>,
    /// Log format and level.
    pub log: logs::Config,
    /// How it knows its callers.
    pub auth: AuthConfig,
    /// Addresses of the other services, by name.
    pub peers: BTreeMap<String, String>,
    /// How long health says NOT_SERVING before the listener closes, in milliseconds.
    pub lame_duck_ms: u64,
    /// How long requests in flight may take after that, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            listen: None,
            admin: None,
            log: logs::Config::default(),
            auth: AuthConfig::default(),
            peers: BTreeMap::new(),
            lame_duck_ms: 200,
            drain_ms: 10_000,
        }
    }
}

/// How a service knows its callers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// `token`, or `none` spelled out (only on loopback).
    pub mode: auth::Mode,
    /// The secret that the services of this installation share. It signs what they show each
    /// other and is never sent. A runner may be given `runner:...` instead, which only takes work.
    pub service_token: String,
}

impl Common {
    /// Faults that no type can express.
    pub fn check(&self, listen: SocketAddr) -> Vec<InvalidField> {
        let mut faults = Vec::new();
        match self.auth.mode {
            auth::Mode::Token if self.auth.service_token.is_empty() => {
                faults.push(InvalidField::new(
                    "auth.service_token",
                    "is missing (expected the token the services share, as METABUILDER__AUTH__SERVICE_TOKEN; \
                     or auth.mode = \"none\" on a loopback address)",
                ));
            }
            auth::Mode::None if !listen.ip().is_loopback() => faults.push(InvalidField::new(
                "auth.mode",
                format!("\"none\" with listen = {listen} (expected a loopback address)"),
            )),
            auth::Mode::Token | auth::Mode::None => {}
        }
        for (name, address) in &self.peers {
            if !address.starts_with("http://") {
                faults.push(InvalidField::new(
                    format!("peers.{name}"),
                    format!("{address:?} is not an address (expected http://host:port)"),
                ));
            }
        }
        faults
    }
}

/// Reads the layers into one document.
///
/// # Errors
/// An unreadable file, or a flag that is not `key=value`.
pub fn layers(file: Option<&Path>, sets: &[String]) -> Result<serde_json::Value, InvalidField> {
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(config::File::from(path).format(config::FileFormat::Toml));
    }
    let variables = config::Environment::with_prefix("METABUILDER")
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true);
    builder = builder.add_source(variables);
    for set in sets {
        let (key, value) = set.split_once('=').ok_or_else(|| {
            InvalidField::new("--set", format!("{set:?} has no '=' (expected key=value)"))
        })?;
        let parsed: config::Value = match value {
            "true" => true.into(),
            "false" => false.into(),
            _ => value.parse::<i64>().map_or_else(|_| value.into(), Into::into),
        };
        builder = builder
            .set_override(key, parsed)
            .map_err(|e| InvalidField::new(format!("--set {key}"), e.to_string()))?;
    }
    builder
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|e| InvalidField::new("configuration", e.to_string()))
}

/// Reads a document into a typed configuration, collecting every fault.
///
/// `T` must have a default for every field; a faulty field is reported and dropped, then the rest
/// is read on.
///
/// # Errors
/// Every fault with its path.
pub fn parse<T: DeserializeOwned>(mut document: serde_json::Value) -> Result<T, Vec<InvalidField>> {
    let mut faults = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&document) {
            Ok(_) if !faults.is_empty() => return Err(faults),
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let mut path = error.path().to_string();
        let problem = error.inner().to_string();
        if let Some(name) =
            problem.strip_prefix("unknown field `").and_then(|p| p.split('`').next())
            && path.rsplit('.').next() != Some(name)
        {
            path = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        }
        let dropped = drop_path(&mut document, &path);
        faults.push(InvalidField::new(path, problem));
        if !dropped || faults.len() >= FAULTS_MAX {
            return Err(faults);
        }
    }
}

fn drop_path(document: &mut serde_json::Value, path: &str) -> bool {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    let Some((parent, key)) = pointer.rsplit_once('/') else { return false };
    match document.pointer_mut(parent) {
        Some(serde_json::Value::Object(map)) => map.remove(key).is_some(),
        Some(serde_json::Value::Array(list)) => match key.parse::<usize>() {
            Ok(i) if i < list.len() => {
                list.remove(i);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// The document as `--print-config` shows it: secrets masked.
pub fn masked(mut document: serde_json::Value) -> serde_json::Value {
    fn walk(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map.iter_mut() {
                    let secret = ["token", "secret", "password", "key"]
                        .iter()
                        .any(|w| key == w || key.ends_with(&format!("_{w}")));
                    match value {
                        serde_json::Value::String(text) if secret && !text.is_empty() => {
                            MASK.clone_into(text);
                        }
                        other => walk(other),
                    }
                }
            }
            serde_json::Value::Array(list) => list.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut document);
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_is_reported_at_once() {
        let faults = parse::<Common>(json!({
            "listen": "nowhere",
            "log": { "format": "xml", "colour": true },
            "drain_ms": "soon",
            "listn": 1,
        }))
        .unwrap_err();
        let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for path in ["listen", "log.format", "log.colour", "drain_ms", "listn"] {
            assert!(faults.iter().any(|f| f.path == path), "{path} is not in:\n{text}");
        }
    }

    #[test]
    fn a_token_or_a_spelled_out_none_is_needed() {
        let loopback: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let anywhere: SocketAddr = "0.0.0.0:1".parse().unwrap();
        let mut config = Common::default();
        assert_eq!(config.check(loopback)[0].path, "auth.service_token");
        config.auth.mode = auth::Mode::None;
        assert!(config.check(loopback).is_empty());
        assert_eq!(config.check(anywhere)[0].path, "auth.mode");
    }

    #[test]
    fn flags_win_and_secrets_are_masked() {
        let sets = ["auth.service_token=abc".to_owned(), "drain_ms=7".to_owned()];
        let document = layers(None, &sets).unwrap();
        assert_eq!(document["drain_ms"], 7);
        assert_eq!(masked(document)["auth"]["service_token"], MASK);
    }
}
