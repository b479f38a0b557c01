//! Finds a way into the sandbox and proves that it holds before any step is taken.

use super::{Jail, Level, Sandbox, Way};
use crate::core::output::Stream;
use crate::error::{Error, doing};
use crate::exec::{Ended, Event};
use crate::nofollow;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the proof may take.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of the probe's output that are kept.
const REPORT_BYTES_MAX: usize = 16 * 1024;

/// Each line is one escape; it prints its name when it works. Nothing is written where it should
/// not be: files are only opened.
const ESCAPES: &str = r#"
escaped() { echo "escaped: $1"; }
cat "$CANARY" 2>/dev/null && escaped "read a file of the runner"
( : >> /proc/sys/kernel/core_pattern ) 2>/dev/null && escaped "open core_pattern for writing"
( : >> /proc/sysrq-trigger ) 2>/dev/null && escaped "open sysrq-trigger for writing"
( : > /usr/.metabuilder-probe ) 2>/dev/null && escaped "write to /usr"
( : > /etc/.metabuilder-probe ) 2>/dev/null && escaped "write to /etc"
unshare -U true 2>/dev/null && escaped "make a user namespace"
while read -r name value rest; do
  case "$name$value" in
    CapEff:*[1-9a-f]*|CapBnd:*[1-9a-f]*) escaped "keep capabilities ($name $value)" ;;
    NoNewPrivs:0) escaped "gain privileges" ;;
    Seccomp:0) escaped "run without a system call filter" ;;
  esac
done < /proc/self/status
sed '1,2d;s/:.*//' /proc/self/net/dev | tr -d ' ' | grep -vx lo && escaped "see a network device"
bash -c ': > "/dev/tcp/127.0.0.1/$0"' "$PORT" 2>/dev/null && escaped "connect to the host"
[ -e "$SOCKET" ] && escaped "see a socket of the runner"
: > ./probe || echo "broken: the workspace is not writable"
: > /tmp/probe || echo "broken: /tmp is not writable"
: > "$HOME/probe" || echo "broken: the home folder is not writable"
: > /dev/shm/probe || echo "broken: /dev/shm is not writable"
echo proven
"#;

/// Forks, where one process is all that is allowed.
const FORK: &str = "/bin/true | /bin/true; echo escaped";
/// How long that may take: some shells try again and again.
const FORK_LIMIT: Duration = Duration::from_secs(2);

/// The first way that works.
pub(super) async fn way_in(sandbox: &mut Sandbox) -> Result<Way, Error> {
    let help = help(sandbox).await?;
    sandbox.programs.disables_user_namespaces = help.contains("--disable-userns");
    if !help.contains("--perms") || !help.contains("--size") {
        return Err(Error::failed(
            "the installed bubblewrap is too old (expected 0.8 or later); update the package \
             `bubblewrap`",
        ));
    }
    let root = nix::unistd::geteuid().is_root();
    let ways: &[Way] = match (root, sandbox.level) {
        (false, _) => &[Way::UserNamespace],
        (true, Level::Strict) => &[Way::Dropped],
        (true, _) => &[Way::AsRoot, Way::UserNamespace],
    };
    let mut faults = Vec::new();
    for way in ways {
        sandbox.way = *way;
        match prove(sandbox).await {
            Ok(()) => return Ok(*way),
            Err(fault) => faults.push(format!("{way:?}: {fault}")),
        }
    }
    sandbox.way = Way::Off;
    Err(Error::failed(format!(
        "the sandbox does not hold at the level \"{}\" on this machine ({}). A normal user needs user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns=0 or a profile for bwrap); in a container, \
         root needs CAP_SYS_ADMIN. Or set sandbox = \"off\" where every project is trusted",
        sandbox.level,
        faults.join("; ")
    )))
}

async fn help(sandbox: &Sandbox) -> Result<String, Error> {
    let bwrap = sandbox.programs.bwrap()?;
    let mut command = tokio::process::Command::new(&bwrap);
    if sandbox.level == Level::Strict {
        // It refuses to start with rights that a runner in a user namespace of its own hands on.
        command = tokio::process::Command::new(sandbox.programs.setpriv()?);
        command.arg("--inh-caps=-all").arg("--").arg(&bwrap);
    }
    let out = command.arg("--help").output().await.map_err(doing("cannot run bwrap"))?;
    Ok(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

async fn prove(sandbox: &Sandbox) -> Result<(), Error> {
    let owner = sandbox.owner("probe")?;
    let folder = sandbox.scratch.path().join("probe");
    nofollow::remove_tree(&folder)?;
    nofollow::make_own(&folder, owner)?;
    let canary = sandbox.data_dir.join("canary");
    std::fs::write(&canary, "canary\n").map_err(doing("cannot write the canary"))?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(doing("cannot listen"))?;
    let port = listener.local_addr().map_err(doing("cannot listen"))?.port();
    let hole = Hole::open()?;
    let mut env: BTreeMap<String, String> = sandbox.visible.base_env(false);
    env.insert("CANARY".to_owned(), canary.to_string_lossy().into_owned());
    env.insert("PORT".to_owned(), port.to_string());
    env.insert("SOCKET".to_owned(), hole.path().to_string_lossy().into_owned());
    let jail = Jail {
        workspace: folder.clone(),
        mount: PathBuf::from("/workspace"),
        owner,
        env,
        command: ["sh", "-c", ESCAPES].map(str::to_owned).to_vec(),
        ..Jail::default()
    };
    let (ended, report) = try_out(sandbox, &jail, PROBE_LIMIT).await?;
    if ended != Ended::Code(0) || report.trim() != "proven" {
        let faults: Vec<&str> = report.lines().filter(|l| *l != "proven").collect();
        return Err(Error::failed(faults.join(", ")));
    }
    if sandbox.level == Level::Strict {
        let command = ["sh", "-c", FORK].map(str::to_owned).to_vec();
        let alone = Jail { command, processes: Some(1), ..jail };
        let (_, report) = try_out(sandbox, &alone, FORK_LIMIT).await?;
        if report.contains("escaped") {
            return Err(Error::failed("escaped: more processes than are allowed"));
        }
    }
    nofollow::remove_tree(&folder)
}

async fn try_out(
    sandbox: &Sandbox,
    jail: &Jail,
    limit: Duration,
) -> Result<(Ended, String), Error> {
    let mut report = Vec::new();
    let stop = CancellationToken::new();
    let ended = sandbox
        .run(jail, limit, &stop, |event| match event {
            Event::Output(Stream::Stdout | Stream::Stderr, bytes) => {
                let room = REPORT_BYTES_MAX.saturating_sub(report.len());
                report.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Event::Tick => {}
        })
        .await?;
    Ok((ended, String::from_utf8_lossy(&report).into_owned()))
}

/// A socket in a folder of the host that everybody may enter, as those of a container engine are.
struct Hole {
    folder: tempfile::TempDir,
    _listener: UnixListener,
}

impl Hole {
    fn open() -> Result<Self, Error> {
        use std::os::unix::fs::PermissionsExt;
        let what = || doing("cannot make a socket");
        let folder = tempfile::tempdir().map_err(what())?;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).map_err(what())?;
        let listener = UnixListener::bind(folder.path().join("socket")).map_err(what())?;
        Ok(Self { folder, _listener: listener })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}
