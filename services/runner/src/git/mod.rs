//! Git on a project's files: always behind the wall, never with the project's settings.
//!
//! The history of a run is a bare repository that no step can write to. The workspace has a `.git`
//! of its own for the steps' convenience; it is thrown away and written new whenever the head moves,
//! and nothing in it is ever believed.

mod blobs;
mod index;
mod room;
mod scripts;

use crate::core::output::Stream;
use crate::error::{Error, doing};
use crate::exec::{Ended, Event};
use crate::nofollow::Owner;
use crate::sandbox::{Bind, Jail, Network, Sandbox};
use meta_domain::limits::MESSAGE_BYTES_MAX;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use blobs::{Shown, Touched, split_difference, split_objects, split_shown};
pub use index::is_unchanged;
pub use room::{Order, Room, Rooms, Seen, View};
pub use scripts::*;

/// How long git may work on a run's files.
const GIT_LIMIT: Duration = Duration::from_mins(15);
/// Bytes of a combined patch; with what is reported beside it, it has to fit into a message.
pub const COMBINED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a script's answer.
const ANSWER_BYTES_MAX: usize = 28 * 1024 * 1024;
const _: () =
    assert!(COMBINED_BYTES_MAX < ANSWER_BYTES_MAX && ANSWER_BYTES_MAX < MESSAGE_BYTES_MAX);
/// Bytes of a script's complaints that are kept.
const COMPLAINT_BYTES_MAX: usize = 4 * 1024;
/// Exit code of a script whose patch does not apply.
pub const EXIT_PATCH: i32 = 91;
/// Exit code of a script that was asked for something that is not there.
pub const EXIT_REFUSED: i32 = 92;
/// Exit code of a script whose combined patch is too large.
pub const EXIT_TOO_LARGE: i32 = 93;
/// Where the history is seen.
pub const HISTORY: &str = "history.git";

/// Where steps see its objects.
pub const OBJECTS: &str = "objects";

const CONFIG: &str = "[core]
	hooksPath = /dev/null
	fsmonitor = false
	autocrlf = false
	excludesFile = /dev/null
	attributesFile = /dev/null
	quotePath = false
[safe]
	directory = *
[gc]
	auto = 0
[maintenance]
	auto = false
[diff]
	renames = false
	ignoreSubmodules = all
[submodule]
	recurse = false
[user]
	name = Metabuilder
	email = metabuilder@localhost
[commit]
	gpgSign = false
[init]
	defaultBranch = metabuilder
[advice]
	addEmbeddedRepo = false
	detachedHead = false
";

/// One script on one workspace.
#[derive(Debug)]
pub struct Script<'a> {
    sandbox: &'a Sandbox,
    jail: Jail,
    text: String,
}

/// What a script answered.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code: 0, [`EXIT_PATCH`], [`EXIT_REFUSED`] or [`EXIT_TOO_LARGE`].
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// The end of what it complained about.
    pub complaint: String,
}

impl<'a> Script<'a> {
    /// A script that works in a folder.
    ///
    /// # Errors
    /// When git's settings cannot be written.
    pub fn new(
        sandbox: &'a Sandbox,
        data_dir: &Path,
        owner: Owner,
        workspace: &Path,
        text: impl Into<String>,
    ) -> Result<Self, Error> {
        let mut jail = base_jail(sandbox, data_dir, owner, workspace)?;
        jail.command = ["sh", "-c"].map(str::to_owned).to_vec();
        Ok(Self { sandbox, jail, text: text.into() })
    }

    /// Shows something to the script, and says where in a variable.
    #[must_use]
    pub fn path(mut self, name: &str, bind: Bind) -> Self {
        let inside = bind.inside.to_string_lossy().into_owned();
        self.jail.env.insert(name.to_owned(), inside);
        self.jail.binds.push(bind);
        self
    }

    /// Gives the script the history of a run as its repository.
    #[must_use]
    pub fn history(self, history: &Path) -> Self {
        let bind = self.sandbox.show(history, HISTORY, true);
        let objects = self.sandbox.show(&history.join("objects"), OBJECTS, false).inside;
        let script = self.path("GIT_DIR", bind).set("OBJECTS", &objects.to_string_lossy());
        let tree = script.jail.mount.to_string_lossy().into_owned();
        script.set("GIT_WORK_TREE", &tree).set("PATCH_MAX", &COMBINED_BYTES_MAX.to_string())
    }

    /// Sets a variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.jail.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Lets the script use the network, with the variables that lead there.
    #[must_use]
    pub fn network(mut self) -> Self {
        self.jail.network = Network::Fetch;
        for (name, value) in self.sandbox.visible().base_env(true) {
            self.jail.env.entry(name).or_insert(value);
        }
        self
    }

    /// Shows a folder of the host where it is.
    #[must_use]
    pub fn show_in_place(mut self, folder: &Path) -> Self {
        let (host, inside) = (folder.to_owned(), folder.to_owned());
        self.jail.binds.push(Bind { host, inside, writable: false });
        self
    }

    /// Runs the script with arguments.
    ///
    /// # Errors
    /// When it fails in another way than by saying no.
    pub async fn run(
        mut self,
        arguments: &[String],
        stop: &CancellationToken,
    ) -> Result<Answer, Error> {
        self.jail.command.push(format!("{PRELUDE}{}", self.text));
        self.jail.command.push("git".to_owned());
        self.jail.command.extend_from_slice(arguments);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = self
            .sandbox
            .run(&self.jail, GIT_LIMIT, stop, |event| match event {
                Event::Output(Stream::Stdout, bytes) if stdout.len() <= ANSWER_BYTES_MAX => {
                    stdout.extend_from_slice(bytes);
                }
                Event::Output(Stream::Stderr, bytes) => {
                    stderr.extend_from_slice(bytes);
                    let excess = stderr.len().saturating_sub(COMPLAINT_BYTES_MAX);
                    stderr.drain(..excess);
                }
                Event::Output(Stream::Stdout, _) | Event::Tick => {}
            })
            .await?;
        if stdout.len() > ANSWER_BYTES_MAX {
            return Err(Error::refused(format!(
                "the difference is too large (expected at most {ANSWER_BYTES_MAX} bytes)"
            )));
        }
        match ended {
            Ended::Code(code) => Answer::new(code, stdout, &stderr),
            Ended::Signal(signal) => Err(Error::failed(format!("git died of signal {signal}"))),
            Ended::TimedOut => Err(Error::failed("git took too long")),
        }
    }
}

/// What every script of git runs in: its settings, and a folder to work in.
fn base_jail(
    sandbox: &Sandbox,
    data_dir: &Path,
    owner: Owner,
    workspace: &Path,
) -> Result<Jail, Error> {
    let config = data_dir.join("gitconfig");
    if !config.is_file() {
        write_config(data_dir, &config)?;
    }
    let config = sandbox.show(&config, "gitconfig", false);
    let mut env = sandbox.visible().base_env(false);
    for (name, value) in [
        ("LC_ALL", "C.UTF-8"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", &config.inside.to_string_lossy()),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_OPTIONAL_LOCKS", "0"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    let mount = sandbox.mount(workspace, "")?;
    let workspace = workspace.to_owned();
    Ok(Jail { workspace, mount, owner, env, binds: vec![config], ..Jail::default() })
}

fn write_config(data_dir: &Path, config: &Path) -> Result<(), Error> {
    use std::io::Write;
    let what = || doing("cannot write git's settings");
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(data_dir)
        .map_err(what())?;
    file.write_all(CONFIG.as_bytes()).map_err(what())?;
    file.persist(config).map_err(|e| doing("cannot write git's settings")(e.error))?;
    Ok(())
}

impl Answer {
    fn new(code: i32, stdout: Vec<u8>, stderr: &[u8]) -> Result<Self, Error> {
        let complaint = String::from_utf8_lossy(stderr).trim().to_owned();
        match code {
            0 | EXIT_PATCH | EXIT_REFUSED | EXIT_TOO_LARGE => Ok(Self { code, stdout, complaint }),
            _ => Err(Error::failed(format!("git failed with exit code {code}: {complaint}"))),
        }
    }

    /// The first line, and what follows it.
    pub fn split_line(&self) -> (String, &[u8]) {
        let end = self.stdout.iter().position(|b| *b == b'\n').unwrap_or(self.stdout.len());
        let rest = self.stdout.get(end + 1..).unwrap_or_default();
        (String::from_utf8_lossy(&self.stdout[..end]).into_owned(), rest)
    }

    /// The last line of the complaint.
    pub fn why(&self) -> &str {
        self.complaint.lines().last().unwrap_or("no reason was given")
    }
}

/// Splits a list that ends with an empty entry from what follows it.
pub fn split_list(bytes: &[u8]) -> (Vec<String>, &[u8]) {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        let entry = &rest[..end];
        rest = &rest[end + 1..];
        if entry.is_empty() {
            break;
        }
        entries.push(String::from_utf8_lossy(entry).into_owned());
    }
    (entries, rest)
}

/// Bytes of all files that a script shows.
pub const SHOWN_BYTES_MAX: u64 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_with_an_empty_entry() {
        let (list, rest) = split_list(b"a\0b c\0\0diff --git\n");
        assert_eq!(list, ["a", "b c"]);
        assert_eq!(rest, b"diff --git\n");
    }
}
