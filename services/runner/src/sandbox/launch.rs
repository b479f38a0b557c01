//! Command lines: what is started in front of the wall, and what is behind it.

use super::group::Group;
use super::mounts::{self, Args};
use super::programs::TRUSTED_PATH;
use super::strict::INSIDE_ID;
use super::{INSIDE, Jail, Network, Sandbox, Way};
use crate::error::{Error, doing};
use crate::nofollow::Owner;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Processes and threads of one tenant's user, or of one sandbox, below the level `strict`.
const PROCESSES_MAX: u64 = 4096;
/// Becomes a command in a control group.
const ENTER_GROUP: &str = "echo $$ > \"$0\" && exec \"$@\"";
/// Becomes a command that inherits the system call filter.
const WITH_FILTER: &str = "exec \"$@\" 9<\"$0\"";
/// A network of the command's own that leads out, and neither to the host nor back.
const PASTA: &[&str] = &[
    "--config-net",
    "--no-map-gw",
    "--tcp-ports",
    "none",
    "--udp-ports",
    "none",
    "--tcp-ns",
    "none",
    "--udp-ns",
    "none",
    "--foreground",
    "--quiet",
    "--",
];

impl Sandbox {
    pub(super) fn command(
        &self,
        scratch: &Path,
        jail: &Jail,
        group: Option<&Group>,
    ) -> Result<tokio::process::Command, Error> {
        self.check_network(jail.network)?;
        if let Some(command) = self.direct(scratch, jail) {
            return Ok(command);
        }
        let launch = self.write_launch(scratch, jail)?;
        let mut command = tokio::process::Command::new(&self.programs.sh);
        command.env_clear().env("PATH", TRUSTED_PATH);
        match self.way {
            Way::Off => {
                command.arg(&launch).args(&jail.command).current_dir(&jail.workspace);
            }
            Way::AsRoot | Way::Dropped | Way::UserNamespace => {
                match group {
                    Some(group) => command.args(["-c", ENTER_GROUP]).arg(group.entry()),
                    None => command.args(["-c", "exec \"$@\"", "sh"]),
                };
                command.args(self.before(jail)?).arg(&self.programs.sh);
                command.args(["-c", WITH_FILTER]).arg(&self.filter);
                command.args(self.bwrap(jail, &launch)?);
            }
        }
        Ok(command)
    }

    /// Without a sandbox nothing has to stand in front of a program that is found. One that is not
    /// is left to the launch script, whose shell says so as shells do.
    fn direct(&self, scratch: &Path, jail: &Jail) -> Option<tokio::process::Command> {
        if self.way != Way::Off || jail.held {
            return None;
        }
        let (name, arguments) = jail.command.split_first()?;
        let mut command = tokio::process::Command::new(program(name, jail.env.get("PATH")?)?);
        command.arg0(name).args(arguments).current_dir(&jail.mount);
        command.env_clear().envs(&jail.env).env("TMPDIR", scratch);
        Some(command)
    }

    /// What is started in front of bubblewrap.
    fn before(&self, jail: &Jail) -> Result<Vec<OsString>, Error> {
        let mut args = Args::default();
        if let (Way::Dropped, Some(uid)) = (self.way, jail.owner) {
            args.push(&self.programs.setpriv()?);
            args.words(&[&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
            args.words(&["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]);
            self.open_ways(&self.filter)?;
        } else if self.limits.is_some() {
            // A runner in a user namespace of its own has rights there that nobody else gets.
            args.push(&self.programs.setpriv()?);
            args.words(&["--inh-caps=-all", "--no-new-privs", "--"]);
        }
        if let (Some(pasta), true) = (self.programs.pasta(), self.has_own_network(jail)) {
            args.push(pasta);
            args.words(PASTA);
        }
        Ok(args.into_words())
    }

    /// Whether a command gets a network of its own that leads out.
    fn has_own_network(&self, jail: &Jail) -> bool {
        self.limits.is_some() && jail.network != Network::None && self.programs.pasta().is_some()
    }

    fn bwrap(&self, jail: &Jail, launch: &Path) -> Result<Vec<OsString>, Error> {
        let mut args = Args::default();
        args.push(&self.programs.bwrap()?);
        args.words(&["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]);
        args.words(&["--hostname", "metabuilder", "--die-with-parent", "--new-session"]);
        args.words(&["--seccomp", "9", "--cap-drop", "ALL"]);
        args.words(&["--clearenv", "--setenv", "PATH", TRUSTED_PATH]);
        if jail.network == Network::None {
            args.words(&["--unshare-net"]);
        }
        match self.way {
            Way::AsRoot => {
                for cap in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] {
                    args.words(&["--cap-add", cap]);
                }
            }
            Way::Dropped | Way::UserNamespace | Way::Off => {
                args.words(&["--unshare-user"]);
                if self.programs.disables_user_namespaces {
                    args.words(&["--disable-userns"]);
                }
            }
        }
        let home = &self.visible.home;
        let inside = Path::new(INSIDE).join("launch");
        if let Some(limits) = &self.limits {
            let id = INSIDE_ID.to_string();
            args.words(&["--uid", &id, "--gid", &id]);
            let shown = self.visible.strict_mounts(jail, limits, launch, &mut args)?;
            for path in shown.iter().chain([&jail.workspace, &launch.to_owned()]) {
                self.open_ways(path)?;
            }
            for path in jail.home.iter().chain(jail.binds.iter().map(|bind| &bind.host)) {
                self.open_ways(path)?;
            }
            mounts::workspace(jail, &[], home, &mut args)?;
        } else {
            let toolchains = self.visible.mounts(jail, &mut args)?;
            mounts::workspace(jail, &toolchains, home, &mut args)?;
            if let (Some(uid), Way::AsRoot) = (jail.owner, self.way) {
                let passwd = self.write_passwd(launch, uid)?;
                args.bind("--ro-bind", &passwd, Path::new("/etc/passwd"));
            }
        }
        args.bind("--ro-bind", launch, &inside);
        args.lock();
        args.words(&["--remount-ro", "/", "--chdir", "/", "--"]);
        self.limited(jail, &mut args)?;
        args.push(&self.programs.sh);
        args.push(&inside);
        jail.command.iter().for_each(|word| args.words(&[word]));
        Ok(args.into_words())
    }

    /// What is started first behind the wall: it sets the limits, which count in the sandbox's own
    /// user namespace where it has one.
    fn limited(&self, jail: &Jail, args: &mut Args) -> Result<(), Error> {
        args.push(&self.programs.prlimit()?);
        if let Some(limits) = &self.limits {
            limits.words(jail.processes).iter().for_each(|word| args.words(&[word]));
        } else {
            let processes = processes_max();
            args.words(&["--core=0:0", &format!("--nproc={processes}:{processes}")]);
        }
        if let (Some(uid), Way::AsRoot) = (jail.owner, self.way) {
            args.push(&self.programs.setpriv()?);
            args.words(&[&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups"]);
            args.words(&["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]);
        }
        Ok(())
    }

    /// Lets a tenant's user pass through the runner's own folders on the way to a path, without
    /// seeing what else is in them.
    fn open_ways(&self, path: &Path) -> Result<(), Error> {
        const PASS: u32 = 0o011;
        if self.way != Way::Dropped {
            return Ok(());
        }
        let own = nix::unistd::geteuid().as_raw();
        for folder in path.ancestors().skip(1).take_while(|f| f.starts_with(&self.data_dir)) {
            let Ok(meta) = folder.symlink_metadata() else { continue };
            if meta.is_dir() && meta.uid() == own && meta.mode() & PASS != PASS {
                let mode = std::fs::Permissions::from_mode((meta.mode() & 0o7777) | PASS);
                std::fs::set_permissions(folder, mode)
                    .map_err(doing(format!("cannot open the way through {}", folder.display())))?;
            }
        }
        Ok(())
    }

    /// The script that sets the variables and becomes the command.
    fn write_launch(&self, folder: &Path, jail: &Jail) -> Result<PathBuf, Error> {
        let path = folder.join("launch");
        let mut text = String::new();
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

/// No process leaves an image of its memory behind; those that are started inherit that.
pub(super) fn without_core_dumps() -> Result<(), Error> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let failed = |e: nix::Error| doing("cannot forbid core dumps")(e.into());
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard).map_err(failed)
}

/// The file that a command's name means, if it surely is a program.
fn program(name: &str, path: &str) -> Option<PathBuf> {
    if name.contains('/') {
        let file = Path::new(name);
        return (file.is_absolute() && is_program(file)).then(|| file.to_owned());
    }
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 == 0o111)
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
pub(super) fn processes_max() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NPROC).map_or(PROCESSES_MAX, |(_, hard)| hard.min(PROCESSES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_the_shell_are_taken_literally() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
