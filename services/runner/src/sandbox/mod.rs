//! The wall around everything that a project brings: steps, fixers, and git on its files.
//!
//! One mechanism, bubblewrap, entered in one of three ways. A normal user gets a user namespace. Root
//! becomes an unprivileged id of the tenant first, and enters as a normal user, at the level `strict`.
//! At the level `bwrap` root gets no user namespace: it keeps the right to bind what only root can
//! reach (toolchains in its home) and drops to the tenant's id before anything of the project is
//! executed, so that what belongs to root (`/proc/sys`) stays out of reach and the process limit
//! binds.
//! Variables of a step are set by a script *behind* the wall; in front of it they could make the
//! loader run the project's code as the runner.

mod environment;
mod group;
mod held;
mod launch;
mod level;
mod mounts;
mod owners;
mod probe;
mod programs;
mod scratch;
mod strict;
mod toolchains;
mod volumes;

pub use environment::Visible;
pub use held::HeldJail;
pub(crate) use launch::{quoted, write_for};
pub use level::Level;
pub use volumes::{Size, Volumes};

use crate::config::{Config, Profile, SandboxMode, Strict};
use crate::core::seccomp;
use crate::error::{Error, doing};
use crate::exec::{self, Conversation, Ended, Event, Spawner};
use crate::nofollow::{self, Owner};
use group::Group;
use owners::Owners;
use programs::Programs;
use scratch::Scratch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Folder inside of the sandbox for what the runner lays there.
pub const INSIDE: &str = "/.metabuilder";
/// How the sandbox is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Not at all.
    Off,
    /// As root, without a user namespace, then down to a tenant's id.
    AsRoot,
    /// As root, first down to a tenant's id, then as a normal user.
    Dropped,
    /// As a normal user, in a user namespace.
    UserNamespace,
}

/// The sandbox of this runner, proven to work.
#[derive(Debug, Clone)]
pub struct Sandbox {
    way: Way,
    level: Level,
    programs: Programs,
    visible: Visible,
    /// The limits of the level `strict`; `None` below it.
    limits: Option<Strict>,
    owners: Owners,
    volumes: Volumes,
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

/// What a command reaches beside its own files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// Nothing.
    #[default]
    None,
    /// What a step that asks for network is given at this level.
    Step,
    /// An address that was checked, for the runner's own git; nothing of a project is executed.
    Fetch,
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
    /// What it reaches.
    pub network: Network,
    /// Who it runs as.
    pub owner: Owner,
    /// All of its variables.
    pub env: BTreeMap<String, String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether it waits for a line of input before the command, which gets none.
    pub held: bool,
    /// A lower limit of processes than the level's.
    pub processes: Option<u64>,
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
        let asked = match config.sandbox {
            SandboxMode::Off => Level::None,
            SandboxMode::Required => Level::Bwrap,
            SandboxMode::Strict => Level::Strict,
        };
        let limits = (asked == Level::Strict).then(|| config.strict.clone());
        let spawner = Spawner::start().map_err(doing("cannot start a thread"))?;
        let mut own = vec![data_dir.clone()];
        for folder in &config.hidden {
            own.push(
                folder.canonicalize().map_err(doing(format!("hidden: {}", folder.display())))?,
            );
        }
        let mut visible = Visible::new(config.profile, vars, &config.extra_path, &own);
        if let Some(limits) = &limits {
            visible.restrict(limits, &config.extra_path);
        }
        let programs = Programs::find(&visible.path);
        let ids = config.strict.ids_from..config.strict.ids_from.saturating_add(config.strict.ids);
        let mut sandbox = Self {
            way: Way::Off,
            level: asked,
            owners: Owners::new(&data_dir, ids),
            volumes: Volumes::plain(&data_dir),
            programs,
            visible,
            limits,
            spawner,
            filter,
            scratch,
            data_dir,
        };
        match asked {
            Level::None => {
                tracing::warn!(
                    "sandbox is off: steps run with all rights of this process; \
                     use it only where every project is trusted"
                );
                launch::without_core_dumps()?;
            }
            Level::Bwrap => sandbox.way = probe::way_in(&mut sandbox).await?,
            Level::Strict => {
                sandbox.way = probe::way_in(&mut sandbox).await?;
                sandbox.volumes =
                    Volumes::sized(&sandbox.data_dir, sandbox.scratch.path(), config.strict.store)
                        .await?;
                if sandbox.programs.pasta().is_none() {
                    tracing::warn!(
                        "steps that ask for network are refused: there is no `pasta` on this \
                         machine (package `passt`), which gives them a network of their own"
                    );
                }
            }
        }
        Ok(sandbox)
    }

    /// The level in force, as it was proven.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The level of one execution, as it is recorded: one that shares the host's network says so.
    pub fn level_of(&self, network: bool) -> String {
        match self.level {
            Level::Bwrap if network => "bwrap, host network".to_owned(),
            level => level.to_string(),
        }
    }

    /// Whether a step that asks for network can have it at this level.
    ///
    /// # Errors
    /// Says what is missing. It is not replaced by the host's network.
    pub fn check_network(&self, network: Network) -> Result<(), Error> {
        if self.level < Level::Strict || network != Network::Step || self.programs.pasta().is_some()
        {
            return Ok(());
        }
        Err(Error::refused(
            "the step asks for network, which this runner cannot give at its level \"strict\" \
             (expected a step without network, or the program `pasta` of the package `passt` on \
             the runner)",
        ))
    }

    /// Folders of a limited size, where the level has them.
    pub fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// How much a run's folder holds.
    pub fn run_size(&self) -> Size {
        let limits = self.limits.clone().unwrap_or_default();
        Size { bytes: limits.workspace.0, files: limits.workspace_files }
    }

    /// How much the caches of a source hold.
    pub fn caches_size(&self) -> Size {
        let limits = self.limits.clone().unwrap_or_default();
        Size { bytes: limits.caches.0, files: limits.caches_files }
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
    ///
    /// # Errors
    /// When there is none left.
    pub fn owner(&self, tenant: &str) -> Result<Owner, Error> {
        match self.way {
            Way::Off | Way::UserNamespace => Ok(None),
            Way::AsRoot | Way::Dropped => self.owners.of(tenant),
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
            Way::AsRoot | Way::Dropped | Way::UserNamespace => Path::new(INSIDE).join(name),
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
        let scratch = self.scratch.corner()?;
        let group = self.limits.as_ref().map(Group::open).transpose()?.flatten();
        let command = self.command(scratch.path(), jail, group.as_ref())?;
        let ended = exec::run(&self.spawner, command, limit, stop, on).await;
        drop(group);
        ended
    }

    /// Starts a command that is asked again and again. What its launch needs lies in `scratch`, which
    /// has to stay until it has ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn converse(&self, jail: &Jail, scratch: &Path) -> Result<Conversation, Error> {
        Conversation::start(&self.spawner, self.command(scratch, jail, None)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_are_taken_literally() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
