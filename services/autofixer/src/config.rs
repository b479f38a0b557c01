//! The auto-fixer's own configuration. Where a model is asked stands in `METABUILDER_LLM_*` variables
//! (docs/FIXERS.md).

use meta_domain::fault::InvalidField;
use meta_storage::{DatabaseSetting, Location};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Beside what every service has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the installation's files; made when it is missing.
    pub data_dir: PathBuf,
    /// Where outcomes and patches are remembered: a SQLite file, as a path under `data_dir` or an
    /// absolute one, or a `postgres://` URL.
    pub database: DatabaseSetting,
    /// Folder of an installation's own fixers (`*.toml`); `fixers.d` in `data_dir` where there is one
    /// and nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixers_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        let database = "autofixer.db".into();
        Self { data_dir: ".metabuilder".into(), database, fixers_dir: None }
    }
}

impl Config {
    /// Where the database is.
    ///
    /// # Errors
    /// Names the setting and what was expected; never its password.
    pub fn location(&self) -> Result<Location, InvalidField> {
        let located = self.database.locate(&self.data_dir);
        located.map_err(|problem| InvalidField::new("database", problem.to_string()))
    }

    /// The folder of the installation's own fixers, where there is one.
    pub(crate) fn own_fixers(&self) -> Option<PathBuf> {
        let usual = || Some(self.data_dir.join("fixers.d")).filter(|folder| folder.is_dir());
        self.fixers_dir.clone().or_else(usual)
    }
}
