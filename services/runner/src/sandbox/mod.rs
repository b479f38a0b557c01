//! The wall around everything that a project brings: steps, fixers, and git on its files.
//!
//! One mechanism, bubblewrap, entered in one of two ways. A normal user gets a user namespace. Root
//! gets none: it keeps the right to bind what only root can reach (toolchains in its home) and drops
//! to an unprivileged id of the tenant before anything of the project is executed, so that what
//! belongs to root (`/proc/sys`) stays out of reach and the process limit binds.
//! Variables of a step are set by a script *behind* the wall; in front of it they could make the
//! loader run the project's code as the runner.

mod environment;
mod held;
mod mounts;
mod probe;
mod programs;
mod toolchains;

pub use environment::Visible;
pub use held::HeldJail;

use crate::config::{Config, Profile, SandboxMode};
use crate::core::seccomp;
use crate::error::{Error, doing};
use crate::exec::{self, Conversation, Ended, Event, Spawner};
use crate::nofollow::{self, Owner};
use programs::Programs;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Folder inside of the sandbox for what the runner lays there.
pub const INSIDE: &str = "/.metabuilder";
/// Processes and threads of one tenant's user, or of one sandbox.
const PROCESSES_MAX: u64 = 4096;
/// First of the ids that tenants get when the runner is root.
const TENANT_IDS_FROM: u32 = 200_000;
/// How many ids tenants share.
const TENANT_IDS: u32 = 50_000;

/// How the sandbox is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Not at all.
    Off,
    /// As root, without a user namespace, then down to a tenant's id.
    AsRoot,
    /// As a normal user, in a user namespace.
    UserNamespace,
}

/// The sandbox of this runner, proven to work.
#[derive(Debug, Clone)]
pub struct Sandbox {
    way: Way,
    programs: Programs,
    visible: Visible,
    spawner: Spawner,
    filter: PathBuf,
    /// This process's own; other runners may share the data folder.
    scratch: Arc<Scratch>,
    data_dir: PathBuf,
}

/// A folder or file of the host shown inside.
#[derive(Debug, Clone)]
pub struct Bind {
    /// Where it is.
    pub host: PathBuf,
    /// Where it is seen.
    pub inside: PathBuf,
    /// Whether it can be changed.
    pub writable: bool,
}

/// One execution behind the wall.
#[derive(Debug, Clone, Default)]
pub struct Jail {
    /// The folder in which it works; writable.
    pub workspace: PathBuf,
    /// Where that folder is seen.
    pub mount: PathBuf,
    /// The private home folder; `None` is an empty one that vanishes.
    pub home: Option<PathBuf>,
    /// What else is shown.
    pub binds: Vec<Bind>,
    /// Whether it shares the host's network.
    pub network: bool,
    /// Who it runs as.
    pub owner: Owner,
    /// All of its variables.
    pub env: BTreeMap<String, String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether it waits for a line of input before the command, which gets none.
    pub held: bool,
}

impl Sandbox {
    /// Finds a way in and proves that it holds.
    ///
    /// # Errors
    /// Says what is missing and how to get it.
    pub async fn open(config: &Config, vars: &BTreeMap<String, String>) -> Result<Self, Error> {
        let data_dir = &config.data_dir;
        nofollow::make_own(data_dir, None)?;
        let data_dir = data_dir.canonicalize().map_err(doing("cannot resolve data_dir"))?;
        let scratch = Arc::new(Scratch::open(&data_dir)?);
        let filter = scratch.path().join("seccomp.bpf");
        std::fs::write(&filter, seccomp::program())
            .map_err(doing("cannot write the system call filter"))?;
        let spawner = Spawner::start().map_err(doing("cannot start a thread"))?;
        let mut own = vec![data_dir.clone()];
        for folder in &config.hidden {
            own.push(
                folder.canonicalize().map_err(doing(format!("hidden: {}", folder.display())))?,
            );
        }
        let visible = Visible::new(config.profile, vars, &config.extra_path, &own);
        let programs = Programs::find(&visible.path);
        let mut sandbox =
            Self { way: Way::Off, programs, visible, spawner, filter, scratch, data_dir };
        if config.sandbox == SandboxMode::Off {
            tracing::warn!(
                "sandbox is off: steps run with all rights of this process; \
                 use it only where every project is trusted"
            );
        } else {
            sandbox.way = probe::way_in(&mut sandbox).await?;
        }
        Ok(sandbox)
    }

    /// The level in force, as it is shown and recorded.
    pub fn level(&self) -> &'static str {
        match self.way {
            Way::Off => "none",
            Way::AsRoot | Way::UserNamespace => "bwrap",
        }
    }

    /// What steps see of this machine.
    pub fn profile(&self) -> Profile {
        self.visible.profile
    }

    /// A folder for what lives as long as this process.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The facts about this machine's tools and variables.
    pub fn visible(&self) -> &Visible {
        &self.visible
    }

    /// The shell for a line.
    pub fn shell(&self) -> &str {
        self.programs.shell()
    }

    /// The user that a tenant's processes run as.
    pub fn owner(&self, tenant: &str) -> Owner {
        match self.way {
            Way::Off | Way::UserNamespace => None,
            Way::AsRoot => {
                let hash = Sha256::digest(tenant.as_bytes());
                let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
                Some(TENANT_IDS_FROM + number % TENANT_IDS)
            }
        }
    }

    /// Where a workspace is seen: as asked, or where it is when there is no sandbox.
    pub fn mount(&self, workspace: &Path, asked: &str) -> Result<PathBuf, Error> {
        if self.way == Way::Off {
            return Ok(workspace.to_owned());
        }
        let mount = Path::new(if asked.is_empty() { "/workspace" } else { asked });
        self.visible.check_mount(mount)?;
        Ok(mount.to_owned())
    }

    /// Shows a file or folder of the host under a name in [`INSIDE`].
    pub fn show(&self, host: &Path, name: &str, writable: bool) -> Bind {
        let inside = match self.way {
            Way::Off => host.to_owned(),
            Way::AsRoot | Way::UserNamespace => Path::new(INSIDE).join(name),
        };
        Bind { host: host.to_owned(), inside, writable }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started, or was stopped.
    pub async fn run(
        &self,
        jail: &Jail,
        limit: Duration,
        stop: &CancellationToken,
        on: impl FnMut(Event<'_>),
    ) -> Result<Ended, Error> {
        // Holds the launch script until the process has ended.
        let scratch = tempfile::Builder::new()
            .tempdir_in(self.scratch.path())
            .map_err(doing("cannot make a scratch folder"))?;
        let command = self.command(scratch.path(), jail)?;
        exec::run(&self.spawner, command, limit, stop, on).await
    }

    /// Starts a command that is asked again and again. What its launch needs lies in `scratch`, which
    /// has to stay until it has ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn converse(&self, jail: &Jail, scratch: &Path) -> Result<Conversation, Error> {
        Conversation::start(&self.spawner, self.command(scratch, jail)?).await
    }

    fn command(&self, scratch: &Path, jail: &Jail) -> Result<tokio::process::Command, Error> {
        let launch = self.write_launch(scratch, jail)?;
        let mut command = tokio::process::Command::new(&self.programs.sh);
        command.env_clear().env("PATH", programs::TRUSTED_PATH);
        match self.way {
            Way::Off => {
                command.arg(&launch).args(&jail.command).current_dir(&jail.workspace);
            }
            Way::AsRoot | Way::UserNamespace => {
                let outer = self.bwrap(jail, &launch)?;
                // The shell only opens the filter on a descriptor that the sandbox inherits.
                command.args(["-c", "exec \"$@\" 9<\"$0\""]).arg(&self.filter).args(outer);
            }
        }
        Ok(command)
    }

    fn bwrap(&self, jail: &Jail, launch: &Path) -> Result<Vec<OsString>, Error> {
        let mut args = mounts::Args::default();
        args.push(&self.programs.bwrap()?);
        args.words(&["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
        args.words(&["--hostname", "metabuilder", "--die-with-parent", "--new-session"]);
        args.words(&["--seccomp", "9", "--cap-drop", "ALL"]);
        if !jail.network {
            args.words(&["--unshare-net"]);
        }
        match self.way {
            Way::AsRoot => {
                for cap in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
                    args.words(&["--cap-add", cap]);
                }
            }
            Way::UserNamespace | Way::Off => {
                args.words(&["--unshare-user"]);
                if self.programs.disables_user_namespaces {
                    args.words(&["--disable-userns"]);
                }
            }
        }
        let toolchains = self.visible.mounts(jail, &mut args)?;
        mounts::workspace(jail, &toolchains, &self.visible.home, &mut args)?;
        let inside = Path::new(INSIDE).join("launch");
        args.bind("--ro-bind", launch, &inside);
        if let (Some(uid), Way::AsRoot) = (jail.owner, self.way) {
            let passwd = self.write_passwd(launch, uid)?;
            args.bind("--ro-bind", &passwd, Path::new("/etc/passwd"));
        }
        args.lock();
        args.words(&["--remount-ro", "/", "--chdir", "/", "--"]);
        args.push(&self.programs.prlimit()?);
        let processes = processes_max();
        args.words(&["--core=0:0", &format!("--nproc={processes}:{processes}")]);
        if let (Some(uid), Way::AsRoot) = (jail.owner, self.way) {
            args.push(&self.programs.setpriv()?);
            args.words(&[&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
            args.words(&["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]);
        }
        args.push(&self.programs.sh);
        args.push(&inside);
        jail.command.iter().for_each(|word| args.words(&[word]));
        Ok(args.into_words())
    }

    /// The script that sets the variables and becomes the command.
    fn write_launch(&self, folder: &Path, jail: &Jail) -> Result<PathBuf, Error> {
        let path = folder.join("launch");
        let mut text = String::new();
        if self.way == Way::Off {
            text.push_str("ulimit -c 0\n");
        }
        // Only its owner may enter the workspace, so it is entered here.
        text.push_str(&format!("cd -P {} || exit 126\n", quoted(&jail.mount.to_string_lossy())));
        text.push_str("unset OLDPWD\n");
        for (name, value) in &jail.env {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        if self.way == Way::Off {
            // Without a private /tmp, this folder stands in; it goes when the process has ended.
            text.push_str(&format!("export TMPDIR={}\n", quoted(&folder.to_string_lossy())));
        }
        if jail.held {
            text.push_str("read -r go || exit 125\nunset go\nexec < /dev/null\n");
        }
        text.push_str("exec \"$@\"\n");
        write_for(&path, text.as_bytes(), jail.owner)?;
        Ok(path)
    }

    /// The host's users, and one more: tools ask for the name of whom they run as.
    fn write_passwd(&self, launch: &Path, uid: u32) -> Result<PathBuf, Error> {
        let path = launch.with_file_name("passwd");
        let mut text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let home = self.visible.home.display();
        text.push_str(&format!("metabuilder:x:{uid}:{uid}:metabuilder:{home}:/bin/sh\n"));
        write_for(&path, text.as_bytes(), Some(uid))?;
        Ok(path)
    }
}

/// A folder for what lives as long as this process; the lock says that it does.
#[derive(Debug)]
struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes the folder, and removes those whose process was killed.
    fn open(data_dir: &Path) -> Result<Self, Error> {
        let what = || doing("cannot make a scratch folder");
        let all = data_dir.join("scratch");
        nofollow::make_own(&all, None)?;
        // One process at a time looks, so that none sees a folder before its lock is taken.
        let looking = File::create(data_dir.join("scratch.lock")).map_err(what())?;
        looking.lock().map_err(what())?;
        for entry in std::fs::read_dir(&all).map_err(what())?.flatten() {
            let lock = File::open(entry.path().join("lock"));
            if lock.map_or(true, |lock| lock.try_lock().is_ok()) {
                nofollow::remove_tree(&entry.path())?;
            }
        }
        let folder = tempfile::Builder::new().tempdir_in(&all).map_err(what())?;
        let lock = File::create(folder.path().join("lock")).map_err(what())?;
        lock.lock().map_err(what())?;
        Ok(Self { folder, _lock: lock })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A word for the shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes a file that only its owner can read.
pub(crate) fn write_for(path: &Path, bytes: &[u8], owner: Owner) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let what = format!("cannot write {}", path.display());
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(path)
        .map_err(doing(&what))?;
    file.write_all(bytes).map_err(doing(&what))?;
    fchown(&file, owner, owner).map_err(doing(&what))
}

/// The process limit, or the one this process has when that is lower: it cannot be raised.
fn processes_max() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NPROC).map_or(PROCESSES_MAX, |(_, hard)| hard.min(PROCESSES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_lasts_as_long_as_its_process() {
        let data = tempfile::tempdir().unwrap();
        let left_behind = data.path().join("scratch/killed");
        std::fs::create_dir_all(&left_behind).unwrap();
        let first = Scratch::open(data.path()).unwrap();
        let second = Scratch::open(data.path()).unwrap();
        assert!(first.path().exists() && second.path().exists() && !left_behind.exists());
    }

    #[test]
    fn words_for_the_shell_are_taken_literally() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
