//! Which tools of a hidden folder (a home above all) are shown again, read-only.
//!
//! The rule is deny by default: a home folder is empty but for what stands here. Nothing that
//! holds credentials does.

use super::{Bind, Jail, Network, Visible};
use crate::config::Profile;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders of a home that hold installed tools.
const TOOLS: &[&str] = &[
    ".cargo/bin",
    ".rustup",
    ".pyenv",
    ".rbenv",
    ".nvm",
    ".nodenv",
    ".fnm",
    ".asdf",
    ".sdkman",
    ".volta",
    ".bun/bin",
    ".deno/bin",
    ".jenv",
    ".goenv",
    ".ghcup/bin",
    ".ghcup/ghc",
    ".elan",
    ".juliaup",
    ".dotnet",
    ".opam",
    ".local/bin",
    ".local/lib",
    ".local/share/pipx",
    ".local/share/uv",
    ".local/share/mise",
    ".local/share/fnm",
    ".local/share/pnpm",
    ".local/share/rtx",
    ".local/share/virtualenvs",
    ".local/pipx",
    ".npm-global",
    ".yarn/bin",
    ".gradle/wrapper",
    "go/bin",
    "sdk",
    ".foundry/bin",
    ".pub-cache/bin",
    ".gem/bin",
];
/// Folders of a home that hold downloaded packages. They are shown until a step with network has
/// filled the project's own.
const DOWNLOADS: &[&str] = &[
    ".cargo/registry",
    ".cargo/git",
    "go/pkg/mod",
    ".m2/repository",
    ".gradle/caches",
    ".ivy2",
    ".cache/coursier",
    ".nuget/packages",
    ".pub-cache/hosted",
    ".cache/deno",
    ".bun/install",
];
/// Settings of tools, shown unless they hold a credential.
const SETTINGS: &[&str] = &[".cargo/config.toml", ".cargo/config", ".cargo/env"];
/// Never shown, even when `PATH` leads there.
const SECRET: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".config",
    ".netrc",
    ".mozilla",
    ".password-store",
    ".terraform.d",
    ".local/share/keyrings",
];
/// Links in one folder of `PATH` that are followed to what they name.
const LINKS_MAX: usize = 2_000;

/// What is shown again.
pub(super) fn shown(visible: &Visible, jail: &Jail) -> Vec<Bind> {
    let mut found = BTreeSet::new();
    for folder in visible.path.iter().filter(|f| visible.is_hidden(f)) {
        found.extend(tool_folder(visible, folder));
        found.extend(linked(visible, folder));
    }
    found.extend(home_tools(visible, jail));
    if visible.profile == Profile::Local {
        found.extend(linked_modules(visible, &jail.workspace));
    }
    found.retain(|path| is_fit(visible, jail, path));
    let outermost: Vec<&PathBuf> = found
        .iter()
        .filter(|path| !found.iter().any(|other| other != *path && path.starts_with(other)))
        .collect();
    outermost
        .into_iter()
        .map(|path| Bind { host: path.clone(), inside: path.clone(), writable: false })
        .collect()
}

fn is_fit(visible: &Visible, jail: &Jail, path: &Path) -> bool {
    let secret = path
        .strip_prefix(&visible.home)
        .is_ok_and(|below| SECRET.iter().any(|s| below.starts_with(s)));
    // What a mount of the workspace covers, or would be covered by, is the workspace's.
    let of_workspace = path.starts_with(&jail.mount) || jail.mount.starts_with(path);
    visible.is_hidden(path)
        && !secret
        && !of_workspace
        && !visible.home.starts_with(path)
        && path.components().count() > 2
        && path.exists()
}

fn home_tools(visible: &Visible, jail: &Jail) -> Vec<PathBuf> {
    let home = &visible.home;
    let used = |below: &str| {
        let top = Path::new(below).iter().next().unwrap_or_default();
        visible.path.iter().any(|p| p.starts_with(home.join(top)))
    };
    let wanted = |below: &str| {
        // rustup's shims are in .cargo/bin, its toolchains are not.
        visible.profile == Profile::Local
            || used(below)
            || (below == ".rustup" && used(".cargo/bin"))
    };
    let own = |below: &str| {
        jail.network != Network::None
            || jail.home.as_ref().is_some_and(|private| is_filled(&private.join(below)))
    };
    let settings = SETTINGS.iter().filter(|s| wanted(s) && !holds_credential(&home.join(s)));
    TOOLS
        .iter()
        .filter(|below| wanted(below))
        .chain(DOWNLOADS.iter().filter(|below| wanted(below) && !own(below)))
        .chain(settings)
        .map(|below| home.join(below))
        .collect()
}

fn is_filled(folder: &Path) -> bool {
    let plain = std::fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir());
    plain && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

fn holds_credential(file: &Path) -> bool {
    std::fs::read_to_string(file)
        .is_ok_and(|text| ["token", "password", "secret"].iter().any(|w| text.contains(w)))
}

/// A folder of `PATH`, or the installation that it is the `bin` of.
fn tool_folder(visible: &Visible, folder: &Path) -> Option<PathBuf> {
    let parent = folder.parent()?;
    let name = folder.file_name()?;
    if name == ".bin" && parent.file_name()? == "node_modules" {
        return Some(parent.to_owned());
    }
    let is_installation = name == "bin"
        && ["lib", "pyvenv.cfg", "node_modules", "libexec", "pkg", "share"]
            .iter()
            .any(|beside| parent.join(beside).exists());
    let shared = parent == visible.home || parent == visible.home.join(".local");
    Some(if is_installation && !shared { parent } else { folder }.to_owned())
}

/// What the links in a folder of `PATH` lead to, where that is hidden too.
fn linked(visible: &Visible, folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_symlink()))
        .take(LINKS_MAX)
        .filter_map(|e| e.path().canonicalize().ok())
        .filter(|target| visible.is_hidden(target) && !target.starts_with(folder))
        .filter_map(|target| tool_folder(visible, target.parent()?))
        .collect()
}

/// Packages that links in the project's top folder lead to.
fn linked_modules(visible: &Visible, workspace: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_type().is_ok_and(|t| t.is_symlink()))
        .filter_map(|e| std::fs::read_link(e.path()).ok())
        .filter(|target| target.is_absolute())
        .filter_map(|target| target.canonicalize().ok())
        .filter(|t| visible.is_hidden(t))
        .filter(|t| {
            t.file_name().is_some_and(|n| n == "node_modules") || t.join("pyvenv.cfg").exists()
        })
        .collect()
}
