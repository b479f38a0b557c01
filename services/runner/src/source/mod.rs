//! Reading a source: listing it for the planner, and bringing its files into a workspace.

mod copy;
mod fetch;
mod listing;

pub use copy::{copy_tree, write_inline};
pub use fetch::{bot_commits, fetch};
pub use listing::{FILES_MAX, list_inline, list_tree};

use crate::config::{Config, PathSources, Profile, SandboxMode};
use crate::error::{Error, doing};
use meta_domain::address::{Network, PORTS, Policy};
use std::path::{Path, PathBuf};

/// Which folders of this machine may be built, and which addresses repositories may come from.
#[derive(Debug)]
pub struct LocalFolders {
    allowed: PathSources,
    /// `None` where whoever names an address could as well call it.
    pub(crate) addresses: Option<Policy>,
    /// What lies in them belongs to other runs and tenants, or opens this service.
    hidden: Vec<PathBuf>,
}

impl LocalFolders {
    /// What the configuration says; its data folder is hidden.
    ///
    /// # Errors
    /// When a hidden folder cannot be resolved, or a network is none.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let hidden = std::iter::once(&config.data_dir).chain(&config.hidden);
        let resolve = |folder: &PathBuf| {
            folder.canonicalize().map_err(doing(format!("cannot resolve {}", folder.display())))
        };
        let hidden = hidden.map(resolve).collect::<Result<_, _>>()?;
        let network = |text: &String| {
            text.parse().map_err(|why: String| Error::refused(format!("git_networks: {why}")))
        };
        let networks: Vec<Network> =
            config.git_networks.iter().map(network).collect::<Result<_, _>>()?;
        let guarded = config.profile == Profile::Service || config.sandbox == SandboxMode::Strict;
        let policy = Policy { allow_http: false, ports: PORTS.to_vec(), networks };
        let addresses = guarded.then_some(policy);
        Ok(Self { allowed: config.path_sources.clone(), addresses, hidden })
    }

    /// The folder of that path, resolved.
    ///
    /// # Errors
    /// When it is missing, no folder, or not allowed.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, Error> {
        let refused = |why: &str| Err(Error::refused(format!("source.path: {path:?} {why}")));
        if self.allowed.is_none() {
            return refused(
                "is a local folder, and this runner builds none (expected a git or inline source, \
                 path_sources in the runner's configuration, or `metabuilder up --allow-path`)",
            );
        }
        if !Path::new(path).is_absolute() {
            return refused("is not absolute (expected a form like /a/b)");
        }
        let folder = Path::new(path).canonicalize();
        if let PathSources::Below(_) = self.allowed
            && !folder.as_ref().is_ok_and(|folder| self.allowed.allows(folder))
        {
            // one answer for what is missing and what is not allowed: it says nothing of this machine
            return refused(
                "is not in a folder that this runner builds (expected one that exists, below its \
                 path_sources)",
            );
        }
        let folder = match folder {
            Ok(folder) if folder.is_dir() => folder,
            Ok(_) => return refused("is not a folder"),
            Err(error) => return refused(&format!("cannot be read ({error})")),
        };
        if self.hidden.iter().any(|hidden| folder.starts_with(hidden)) {
            return refused("lies in the service's own data folder (expected a project's folder)");
        }
        if self.hidden.iter().any(|hidden| hidden.starts_with(&folder)) {
            return refused(
                "contains the service's own data folder (expected a project's own folder, or a \
                 data folder that lies elsewhere)",
            );
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_or_around_a_hidden_folder_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for folder in ["home/data/runner/runs", "home/data-of-a-project", "other"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(at("home/data"), at("other/link")).unwrap();
        let config = Config {
            data_dir: at("home/data/runner"),
            hidden: vec![at("home/data")],
            path_sources: PathSources::Any(true),
            ..Config::default()
        };
        let folders = LocalFolders::new(&config).unwrap();
        let why =
            |path: &str| folders.resolve(at(path).to_str().unwrap()).err().map(|e| e.to_string());
        for path in ["home/data", "home/data/runner", "home/data/runner/runs", "other/link/runner"]
        {
            assert!(why(path).unwrap().contains("lies in the service's own data"), "{path}");
        }
        for path in ["home", ".", "home/data/.."] {
            assert!(why(path).unwrap().contains("contains the service's own data"), "{path}");
        }
        assert_eq!(why("home/data-of-a-project"), None);
        assert_eq!(why("other"), None);
        let below = PathSources::Below(vec![at("other"), at("home/data")]);
        let folders = LocalFolders::new(&Config { path_sources: below, ..config }).unwrap();
        assert!(folders.resolve(at("home/data/runner").to_str().unwrap()).is_err());
        assert!(folders.resolve(at("other").to_str().unwrap()).is_ok());
        let answer = |path: &str| folders.resolve(path).unwrap_err().to_string().replace(path, "");
        assert_eq!(answer("/etc"), answer("/no/such/folder"), "nobody learns what is there");
    }
}
