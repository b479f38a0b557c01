//! The runner's own configuration.

mod strict;

pub use strict::{Store, Strict};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Configuration of a runner; every field has a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where workspaces and caches live. Relative to the working folder when not absolute.
    pub data_dir: PathBuf,
    /// How many tasks it carries out at a time; 0 means one for each core.
    pub capacity: u32,
    /// The least that contains steps.
    pub sandbox: SandboxMode,
    /// Limits and places of the level `strict`.
    pub strict: Strict,
    /// What steps see of this machine.
    pub profile: Profile,
    /// Which local folders may be built.
    pub path_sources: PathSources,
    /// Networks such as `10.1.0.0/16` from which repositories are fetched though they are not public.
    /// Others than public ones are refused at the profile `service` and at the level `strict`.
    pub git_networks: Vec<String>,
    /// Folders that are never built, whatever `path_sources` says, nor what lies in or around them,
    /// and that no step sees; `data_dir` is always one of them.
    pub hidden: Vec<PathBuf>,
    /// Take only tasks of this run.
    pub run_id: Option<String>,
    /// What this runner offers to steps that ask for it with `runs_on`.
    pub labels: Vec<String>,
    /// Folders put before `PATH` in steps.
    pub extra_path: Vec<PathBuf>,
    /// URL of the object store in which runs' commits travel to other runners; without one a run
    /// stays on the runner that prepared it.
    pub objects: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".metabuilder/runner"),
            capacity: 0,
            sandbox: SandboxMode::Required,
            strict: Strict::default(),
            profile: Profile::Service,
            path_sources: PathSources::Any(false),
            git_networks: Vec::new(),
            hidden: Vec::new(),
            run_id: None,
            labels: Vec::new(),
            extra_path: Vec::new(),
            objects: None,
        }
    }
}

/// The least that contains steps. It is proven at start; below it the runner does not start, and
/// nothing weaker ever takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxMode {
    /// The level `bwrap`: for machines whose owner chooses what is built.
    Required,
    /// The level `strict`: for tenants who do not trust each other.
    Strict,
    /// Steps run with the rights of the runner. Only where every project is trusted.
    Off,
}

/// What steps see of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// The tools of the person who runs it, those in the home folder included.
    Local,
    /// The tools on `PATH`.
    Service,
}

/// Which local folders may be built.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathSources {
    /// All or none.
    Any(bool),
    /// These and what lies below them.
    Below(Vec<PathBuf>),
}

impl PathSources {
    /// Whether a resolved path may be built.
    pub fn allows(&self, path: &Path) -> bool {
        match self {
            Self::Any(any) => *any,
            Self::Below(roots) => roots
                .iter()
                .filter_map(|root| root.canonicalize().ok())
                .any(|root| path.starts_with(root)),
        }
    }

    /// Whether any local folder may be built.
    pub fn is_none(&self) -> bool {
        match self {
            Self::Any(any) => !any,
            Self::Below(roots) => roots.is_empty(),
        }
    }
}
