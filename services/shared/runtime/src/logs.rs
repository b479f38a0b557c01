//! Logs on standard error: JSON for machines, pretty for people.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a terminal.
    Pretty,
}

/// Where logs go and how much is said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `json` or `pretty`.
    pub format: Format,
    /// A level or filter such as `info` or `info,orchestrator=debug`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Json, level: "info".to_owned() }
    }
}

/// Installs the log subscriber of the process; a second call changes nothing.
///
/// # Errors
/// When the level is no filter.
pub fn install(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|e| format!("log.level: {:?} is not a filter ({e})", config.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match config.format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Pretty => builder.compact().try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "the log subscriber was installed before");
    }
    Ok(())
}
