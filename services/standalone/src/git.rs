//! Carries a combined diff over to the user's project, when asked: into the working tree, or as a
//! commit on a new branch. Nothing else ever writes there.

use crate::error::{Error, Result};
use crate::patch::touched;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who commits when the user has no identity configured.
const NAME: &str = "Meta-Builder";
/// See [`NAME`].
const EMAIL: &str = "metabuilder@localhost";

/// Whatever the project says of its files: they are bytes, and no program turns them into others.
const ATTRIBUTES: &str = "* -text -eol -filter -ident -working-tree-encoding\n";

/// Git in a project's folder, with its own idea of which index to use.
struct Git<'a> {
    project: &'a Path,
    index: Option<PathBuf>,
    /// A repository that stands for the project's own, whose configuration is not read then, nor the
    /// user's.
    instead: Option<PathBuf>,
}

impl Git<'_> {
    fn run(&self, args: &[&str], input: &[u8]) -> std::result::Result<String, String> {
        let mut command = Command::new("git");
        // Nothing that the repository's own configuration names is executed: no hook, no monitor.
        for setting in ["core.quotepath=off", "core.fsmonitor=false", "core.hooksPath=/dev/null"] {
            command.args(["-c", setting]);
        }
        command.args(args).current_dir(self.project);
        for variable in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_PREFIX",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES",
            "GIT_CONFIG_COUNT",
            "GIT_CONFIG_PARAMETERS",
        ] {
            command.env_remove(variable);
        }
        command.env("GIT_NO_LAZY_FETCH", "1");
        if let Some(repository) = &self.instead {
            command.env("GIT_DIR", repository).env("GIT_WORK_TREE", self.project);
            command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        }
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("git does not start: {e}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // a git that ends early says why on its standard error
            let _ = stdin.write_all(input);
        }
        let output = child.wait_with_output().map_err(|e| format!("git: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// Whether the project lies in a git repository with at least one commit.
pub fn in_repository(project: &Path) -> bool {
    let git = Git { project, index: None, instead: None };
    git.run(&["rev-parse", "--verify", "--quiet", "HEAD"], b"").is_ok()
}

/// Applies a diff to the project's files, when those it touches are still as they were. Neither the
/// project's nor the user's filters are run: the diff is of the files as they are on the disk.
pub fn apply(project: &Path, scratch: &Path, patch: &[u8]) -> Result<()> {
    let git = plain(project, scratch)?;
    let refused = |why: String| {
        Error::failed("the files were not changed", why)
            .next("build again, or use --patch FILE and apply it by hand")
    };
    unchanged(&git, patch).map_err(refused)?;
    let arguments = ["apply", "--whitespace=nowarn", "--check", "-"];
    git.run(&arguments, patch).map_err(refused)?;
    git.run(&["apply", "--whitespace=nowarn", "-"], patch).map_err(refused)?;
    Ok(())
}

/// Git on the project's files with an empty repository of our own.
fn plain<'a>(project: &'a Path, scratch: &Path) -> Result<Git<'a>> {
    let repository = scratch.join("plain.git");
    let made = ["objects", "refs", "info"]
        .iter()
        .try_for_each(|folder| fs::create_dir_all(repository.join(folder)))
        .and_then(|()| fs::write(repository.join("HEAD"), "ref: refs/heads/none\n"))
        .and_then(|()| fs::write(repository.join("info/attributes"), ATTRIBUTES));
    made.map_err(|e| {
        let why = format!("{}: {e}", repository.display());
        Error::failed("the files were not changed", why)
    })?;
    Ok(Git { project, index: None, instead: Some(repository) })
}

/// Whether each file that the diff changes still has the content that the diff starts from.
fn unchanged(git: &Git, patch: &[u8]) -> std::result::Result<(), String> {
    for file in touched(patch) {
        let Some(name) = &file.before else {
            let name = file.after.unwrap_or_default();
            match fs::symlink_metadata(git.project.join(&name)) {
                Ok(_) => return Err(format!("{name} exists by now, the build would make it")),
                Err(_) => continue,
            }
        };
        let path = git.project.join(name);
        let meta = fs::symlink_metadata(&path).map_err(|e| format!("{name}: {e}"))?;
        if file.before_blob.is_empty() || meta.is_symlink() {
            continue;
        }
        let content = fs::read(&path).map_err(|e| format!("{name}: {e}"))?;
        let blob = git.run(&["hash-object", "--no-filters", "--stdin"], &content)?;
        if !blob.starts_with(&file.before_blob) {
            return Err(format!("{name} has changed since the build started"));
        }
    }
    Ok(())
}

/// Whether the branch can be made in the repository that the project lies in; answers its last commit.
pub fn branchable(project: &Path, name: &str) -> Result<String> {
    let git = Git { project, index: None, instead: None };
    git.run(&["check-ref-format", "--branch", name], b"")
        .map_err(|_| Error::usage(format!("{name:?} is no branch name"), "git refuses it"))?;
    let head = git.run(&["rev-parse", "--verify", "--quiet", "HEAD"], b"").map_err(|_| {
        let what = format!("{} is not in a git repository with a commit", project.display());
        Error::usage("cannot make a branch", what).next("use --patch FILE or --apply")
    })?;
    let reference = format!("refs/heads/{name}");
    if git.run(&["rev-parse", "--verify", "--quiet", &reference], b"").is_ok() {
        return Err(Error::usage(format!("the branch {name} exists"), "nothing was changed")
            .next("name another branch"));
    }
    Ok(head)
}

/// Commits a diff to a new branch of the repository that the project lies in, by plumbing: neither
/// the files nor the user's index are touched. Returns the commit.
pub fn branch(
    project: &Path,
    scratch: &Path,
    name: &str,
    message: &str,
    patch: &[u8],
) -> Result<String> {
    let git = Git { project, index: None, instead: None };
    let (head, reference) = (branchable(project, name)?, format!("refs/heads/{name}"));
    let failed = |why: String| Error::failed(format!("cannot make the branch {name}"), why);
    let prefix = git.run(&["rev-parse", "--show-prefix"], b"").map_err(failed)?;
    let root = git.run(&["rev-parse", "--show-toplevel"], b"").map_err(failed)?;
    let root = PathBuf::from(root);
    let index = Some(scratch.join("index"));
    let staged = Git { project: &root, index, instead: None };
    staged.run(&["read-tree", &head], b"").map_err(failed)?;
    let directory = format!("--directory={}", prefix.trim_end_matches('/'));
    let mut arguments = vec!["apply", "--cached", "--whitespace=nowarn"];
    if !prefix.is_empty() {
        arguments.push(&directory);
    }
    arguments.push("-");
    staged.run(&arguments, patch).map_err(|why| {
        failed(format!("the diff does not fit the last commit: {why}"))
            .next("commit your changes first, or use --apply")
    })?;
    let tree = staged.run(&["write-tree"], b"").map_err(failed)?;
    let commit = commit(&git, &tree, &head, message).map_err(failed)?;
    let nothing = "0".repeat(head.len());
    git.run(&["update-ref", &reference, &commit, &nothing], b"").map_err(failed)?;
    Ok(commit)
}

fn commit(
    git: &Git,
    tree: &str,
    parent: &str,
    message: &str,
) -> std::result::Result<String, String> {
    let name = format!("user.name={NAME}");
    let email = format!("user.email={EMAIL}");
    let mut arguments: Vec<&str> = Vec::new();
    if git.run(&["var", "GIT_COMMITTER_IDENT"], b"").is_err() {
        arguments.extend(["-c", &name, "-c", &email]);
    }
    arguments.extend(["commit-tree", tree, "-p", parent, "-F", "-"]);
    git.run(&arguments, message.as_bytes())
}

#[cfg(test)]
mod tests;
