//! Arguments of the sandbox: which files are seen where.

use super::{Bind, Jail};
use crate::error::Error;
use crate::nofollow::{self, InTheWay};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Bytes of memory a sandbox's `/tmp` may take.
const TMP_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// A command line in the making.
#[derive(Debug)]
pub(super) struct Args {
    words: Vec<OsString>,
    folders: BTreeSet<PathBuf>,
    hidden: Vec<PathBuf>,
    scratch_bytes: u64,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            words: Vec::new(),
            folders: BTreeSet::new(),
            hidden: Vec::new(),
            scratch_bytes: TMP_BYTES_MAX,
        }
    }
}

impl Args {
    pub(super) fn push(&mut self, word: &(impl AsRef<OsStr> + ?Sized)) {
        self.words.push(word.as_ref().to_owned());
    }

    pub(super) fn words(&mut self, words: &[&str]) {
        self.words.extend(words.iter().map(OsString::from));
    }

    /// The folders above a path, open to everybody: those that the sandbox makes by itself are not.
    fn above(&mut self, inside: &Path) {
        let mut above: Vec<&Path> = inside.ancestors().skip(1).collect();
        above.pop();
        for folder in above.into_iter().rev() {
            if self.folders.insert(folder.to_owned()) {
                self.words(&["--perms", "0755", "--dir"]);
                self.push(folder);
            }
        }
    }

    pub(super) fn bind(&mut self, how: &str, host: &Path, inside: &Path) {
        self.above(inside);
        self.words(&[how]);
        self.push(host);
        self.push(inside);
    }

    /// An empty folder in memory that everybody can write to.
    pub(super) fn scratch(&mut self, inside: &Path) {
        self.above(inside);
        self.words(&["--perms", "1777", "--size", &self.scratch_bytes.to_string()]);
        self.words(&["--tmpfs"]);
        self.push(inside);
    }

    /// Scratch folders made from here on take at most that many bytes.
    pub(super) fn limit_scratch(&mut self, bytes: u64) {
        self.scratch_bytes = bytes;
    }

    /// An empty folder over what the host has there.
    pub(super) fn hide(&mut self, inside: &Path) {
        self.words(&["--tmpfs"]);
        self.push(inside);
        self.hidden.push(inside.to_owned());
    }

    /// Makes the empty folders read-only, once everything is in its place.
    pub(super) fn lock(&mut self) {
        for inside in std::mem::take(&mut self.hidden) {
            self.words(&["--remount-ro"]);
            self.push(&inside);
        }
    }

    pub(super) fn into_words(self) -> Vec<OsString> {
        self.words
    }
}

/// Shows the workspace and what is bound beside and into it.
///
/// The points where something is bound into a tree that the tenant can write to are made here,
/// without following links: the sandbox itself would follow them, as the runner's user. (A step that
/// runs at the same time in the same workspace could still swap one for a link between this check
/// and its use; that gains it an empty folder outside, and nothing more.)
pub(super) fn workspace(
    jail: &Jail,
    toolchains: &[Bind],
    home: &Path,
    args: &mut Args,
) -> Result<(), Error> {
    for bind in toolchains {
        if point(jail, bind, home)? {
            args.bind(how(bind), &bind.host, &bind.inside);
        }
    }
    if let (Some(private), Ok(below)) = (&jail.home, jail.mount.strip_prefix(home)) {
        nofollow::make_folder(private, below, jail.owner, InTheWay::Replace)?;
    }
    args.bind("--bind", &jail.workspace, &jail.mount);
    let mut binds: Vec<&Bind> = jail.binds.iter().collect();
    binds.sort_by(|a, b| a.inside.cmp(&b.inside));
    for bind in binds {
        if point(jail, bind, home)? {
            args.bind(how(bind), &bind.host, &bind.inside);
        }
    }
    Ok(())
}

/// Makes the place where something is bound; `false` when something else is there.
fn point(jail: &Jail, bind: &Bind, home: &Path) -> Result<bool, Error> {
    if let Ok(below) = bind.inside.strip_prefix(&jail.mount) {
        return nofollow::make_folder(&jail.workspace, below, jail.owner, InTheWay::Keep);
    }
    if let (Some(private), Ok(below)) = (&jail.home, bind.inside.strip_prefix(home)) {
        if bind.host.is_dir() {
            return nofollow::make_folder(private, below, jail.owner, InTheWay::Replace);
        }
        nofollow::make_file(private, below, jail.owner)?;
    }
    Ok(true)
}

fn how(bind: &Bind) -> &'static str {
    if bind.writable { "--bind" } else { "--ro-bind" }
}
