//! What a step sees of this machine: folders, programs, variables.

use super::mounts::Args;
use super::toolchains;
use super::{Bind, Jail, Network};
use crate::config::Profile;
use crate::error::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Variables of the runner that every step may see: where tools are, and how text is written.
const PASSED: &[&str] = &[
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOPATH",
    "GOROOT",
    "GOMODCACHE",
    "GOTOOLCHAIN",
    "JAVA_HOME",
    "MAVEN_HOME",
    "GRADLE_HOME",
    "PYENV_ROOT",
    "NVM_DIR",
    "VOLTA_HOME",
    "DENO_DIR",
    "BUN_INSTALL",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "SDKMAN_DIR",
    "RBENV_ROOT",
    "NODE_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PYTHONDONTWRITEBYTECODE",
];
/// Variables that steps with network see as well in the local profile: how to reach registries.
const PASSED_WITH_NETWORK: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "GOPROXY",
    "GONOSUMDB",
    "GOSUMDB",
    "GOFLAGS",
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "YARN_NPM_REGISTRY_SERVER",
];
/// Entries of the root folder that are made new instead of shown.
const OWN_TOP: &[&str] = &["proc", "dev", "sys", "tmp", "run", "home", "root", "lost+found"];
/// Parts of `/sys` that runtimes read to count processors.
const SYS_SHOWN: &[&str] = &["/sys/devices/system/cpu", "/sys/devices/system/node"];
const HOME_WITHOUT_ONE: &str = "/home/metabuilder";

/// What steps see of this machine.
#[derive(Debug, Clone)]
pub struct Visible {
    pub(super) profile: Profile,
    /// The home folder, as tools name it.
    pub(super) home: PathBuf,
    /// The folders of `PATH`, in order, without doubles.
    pub(super) path: Vec<PathBuf>,
    /// Folders whose content is not shown.
    hidden: Vec<PathBuf>,
    vars: BTreeMap<String, String>,
    /// The variables that are passed on, where they are not the usual ones.
    pub(super) passed: Option<Vec<String>>,
}

impl Visible {
    pub(super) fn new(
        profile: Profile,
        vars: &BTreeMap<String, String>,
        extra: &[PathBuf],
        own: &[PathBuf],
    ) -> Self {
        let home = vars
            .get("HOME")
            .map(PathBuf::from)
            .filter(|h| h.is_absolute() && h.parent().is_some())
            .unwrap_or_else(|| PathBuf::from(HOME_WITHOUT_ONE));
        let mut path: Vec<PathBuf> = Vec::new();
        let given = vars.get("PATH").map_or(super::programs::TRUSTED_PATH, String::as_str);
        for folder in extra.iter().cloned().chain(std::env::split_paths(given)) {
            if folder.is_absolute() && !path.contains(&folder) {
                path.push(folder);
            }
        }
        let mut hidden: Vec<PathBuf> =
            ["/tmp", "/var/tmp", "/run", "/home", "/root"].iter().map(PathBuf::from).collect();
        for folder in std::iter::once(&home).chain(own) {
            if !hidden.iter().any(|h| folder.starts_with(h)) {
                // what lies below it is hidden with it, and could not be hidden once more
                hidden.retain(|h| !h.starts_with(folder));
                hidden.push(folder.clone());
            }
        }
        Self { profile, home, path, hidden, vars: vars.clone(), passed: None }
    }

    /// The runner's own variables.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// Whether the content of a path is not shown.
    pub(super) fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|h| path.starts_with(h))
    }

    /// Refuses a place for the workspace that would cover the system or the home folder.
    pub(super) fn check_mount(&self, mount: &Path) -> Result<(), Error> {
        let plain = mount.is_absolute()
            && mount.components().skip(1).all(|c| matches!(c, std::path::Component::Normal(_)));
        let system = ["usr", "bin", "sbin", "lib", "lib64", "etc", "proc", "dev", "sys", "run"];
        let top = mount.iter().nth(1).unwrap_or_default();
        let covers = mount.components().count() < 2
            || self.home.starts_with(mount)
            || ["/tmp", "/var", "/var/tmp", "/home"].iter().any(|p| mount == Path::new(p))
            || system.iter().any(|s| top == *s);
        if !plain || covers {
            return Err(Error::refused(format!(
                "the workspace cannot be mounted at {} (expected a folder of its own, not one \
                 that contains the home folder or the system)",
                mount.display()
            )));
        }
        Ok(())
    }

    /// The variables that every command gets.
    pub fn base_env(&self, network: bool) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut pass = |names: &[&str]| {
            for name in names {
                if let Some(value) = self.vars.get(*name) {
                    env.insert((*name).to_owned(), value.clone());
                }
            }
        };
        match &self.passed {
            Some(names) => pass(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            None if network && self.profile == Profile::Local => {
                pass(PASSED);
                pass(PASSED_WITH_NETWORK);
            }
            None => pass(PASSED),
        }
        let path = std::env::join_paths(&self.path).unwrap_or_default();
        for (name, value) in [
            ("PATH", path.to_string_lossy().as_ref()),
            ("HOME", self.home.to_string_lossy().as_ref()),
            ("USER", "metabuilder"),
            ("LOGNAME", "metabuilder"),
            ("SHELL", "/bin/sh"),
            ("TERM", "dumb"),
            ("TMPDIR", "/tmp"),
            ("CI", "true"),
        ] {
            env.insert(name.to_owned(), value.to_owned());
        }
        env.entry("LANG".to_owned()).or_insert_with(|| "C.UTF-8".to_owned());
        env
    }

    /// Shows the machine; answers the toolchains that are bound on top of hidden folders.
    pub(super) fn mounts(&self, jail: &Jail, args: &mut Args) -> Result<Vec<Bind>, Error> {
        let entries = std::fs::read_dir("/").map_err(crate::error::doing("cannot list /"))?;
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let Ok(kind) = entry.file_type() else { continue };
            if OWN_TOP.iter().any(|own| name == *own) {
                continue;
            }
            if kind.is_symlink() {
                if let Ok(target) = std::fs::read_link(&path) {
                    args.bind("--symlink", &target, &path);
                }
            } else if kind.is_dir() {
                args.bind("--ro-bind", &path, &path);
            }
        }
        args.words(&["--proc", "/proc", "--dev", "/dev"]);
        args.scratch(Path::new("/dev/shm"));
        args.hide(Path::new("/sys"));
        for shown in SYS_SHOWN {
            args.bind("--ro-bind-try", Path::new(shown), Path::new(shown));
        }
        for hidden in &self.hidden {
            let scratch = hidden == Path::new("/tmp") || hidden == Path::new("/var/tmp");
            if scratch {
                args.scratch(hidden);
            } else if hidden.is_dir() && *hidden != self.home {
                args.hide(hidden);
            }
        }
        match &jail.home {
            Some(private) => args.bind("--bind", private, &self.home),
            None => args.scratch(&self.home),
        }
        let mut binds = toolchains::shown(self, jail);
        if jail.network != Network::None {
            // Name resolution often points into /run.
            binds.extend(self.shown_if_hidden(Path::new("/etc/resolv.conf")));
        }
        Ok(binds)
    }

    fn shown_if_hidden(&self, path: &Path) -> Option<Bind> {
        let host = path.canonicalize().ok()?;
        let inside = host.clone();
        self.is_hidden(&host).then_some(Bind { host, inside, writable: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_hidden_once_however_many_of_it_are_named() {
        let own = ["/srv/data/runner", "/srv/data", "/srv/objects", "/tmp/x"].map(PathBuf::from);
        let vars = BTreeMap::from([("HOME".to_owned(), "/srv/data/home".to_owned())]);
        let visible = Visible::new(Profile::Service, &vars, &[], &own);
        let below: Vec<_> = visible.hidden.iter().filter(|h| h.starts_with("/srv")).collect();
        assert_eq!(below, [Path::new("/srv/data"), Path::new("/srv/objects")]);
        assert!(own.iter().all(|folder| visible.is_hidden(folder)));
        assert_eq!(visible.hidden.iter().filter(|h| h.starts_with("/tmp")).count(), 1);
    }
}
