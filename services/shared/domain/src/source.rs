//! Where the files of a build come from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The source of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A repository that `git clone` can reach.
    Git {
        /// Address, `https://` or `ssh://` or `file://` where the runner allows it.
        url: String,
        /// Branch, tag or commit; empty means the default branch.
        #[serde(default, rename = "ref", skip_serializing_if = "String::is_empty")]
        reference: String,
    },
    /// A folder on the runner's machine, where the runner allows it.
    Path {
        /// Absolute path.
        path: String,
    },
    /// Files given in the spec itself.
    Inline {
        /// Contents by relative path.
        files: BTreeMap<String, String>,
    },
}

/// What a planner needs to know of a source: which files there are, and what the manifests say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceListing {
    /// Relative paths of all files that are not ignored, sorted; cut at a limit.
    pub files: Vec<String>,
    /// Text of the manifest files by path (`metabuilder.toml`, `Cargo.toml`, `package.json`, ...).
    pub manifests: BTreeMap<String, String>,
}
