//! The programs that the sandbox is made of.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// Folders that only root can change; searched first.
pub(super) const TRUSTED_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, Clone)]
pub(super) struct Programs {
    bwrap: Option<PathBuf>,
    prlimit: Option<PathBuf>,
    setpriv: Option<PathBuf>,
    bash: Option<PathBuf>,
    pasta: Option<PathBuf>,
    pub(super) sh: PathBuf,
    pub(super) disables_user_namespaces: bool,
}

impl Programs {
    /// Looks in the trusted folders, then on `path`.
    pub(super) fn find(path: &[PathBuf]) -> Self {
        let find = |name: &str| {
            std::env::split_paths(TRUSTED_PATH)
                .chain(path.iter().cloned())
                .map(|folder| folder.join(name))
                .find(|file| file.is_file())
        };
        Self {
            bwrap: find("bwrap"),
            prlimit: find("prlimit"),
            setpriv: find("setpriv"),
            bash: find("bash"),
            pasta: find("pasta"),
            sh: find("sh").unwrap_or_else(|| PathBuf::from("/bin/sh")),
            disables_user_namespaces: false,
        }
    }

    pub(super) fn bwrap(&self) -> Result<PathBuf, Error> {
        present(self.bwrap.as_deref(), "bwrap", "bubblewrap")
    }

    pub(super) fn prlimit(&self) -> Result<PathBuf, Error> {
        present(self.prlimit.as_deref(), "prlimit", "util-linux")
    }

    pub(super) fn setpriv(&self) -> Result<PathBuf, Error> {
        present(self.setpriv.as_deref(), "setpriv", "util-linux")
    }

    /// What gives a step a network of its own, if it is here.
    pub(super) fn pasta(&self) -> Option<&Path> {
        self.pasta.as_deref()
    }

    /// The shell for a line: bash where there is one.
    pub(super) fn shell(&self) -> &str {
        if self.bash.is_some() { "bash" } else { "sh" }
    }
}

fn present(program: Option<&Path>, name: &str, package: &str) -> Result<PathBuf, Error> {
    program.map(Path::to_owned).ok_or_else(|| {
        Error::failed(format!(
            "the sandbox needs `{name}`, which is not on this machine; install the package \
             `{package}` (such as `apt-get install {package}`), or set sandbox = \"off\" where \
             every project is trusted"
        ))
    })
}
