//! The host around a hostile step: somebody else's files, sockets and processes, and a runner.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use crate::support::{Rig, exit, shell, step_work};
use meta_domain::plan::{Command as Run, PlannedStep};
use meta_proto::runner::StepResult;
use meta_proto::runner::complete_task_request::Result as Outcome;
use runner::core::amount::Bytes;
use runner::{Profile, SandboxMode, Strict};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who a step is where nothing else makes it somebody unprivileged.
const NOBODY: u32 = 65_534;
/// What stands in a file, or in the variables, of somebody else.
pub const SECRET: &str = "somebody-elses-secret";

/// How much is contained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Strict,
    Bwrap,
    Nothing,
}

impl At {
    /// The level as it is recorded.
    pub fn recorded(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Bwrap => "bwrap",
            Self::Nothing => "none",
        }
    }
}

pub struct Scene {
    pub at: At,
    pub rig: Rig,
    folder: tempfile::TempDir,
    pub victim: Child,
    tcp: TcpListener,
    pub udp: UdpSocket,
    _socket: UnixListener,
    _abstract: UnixListener,
    shared_memory: Option<String>,
    /// Unique to this scene; part of every name that a step may leave on the host.
    pub mark: String,
}

/// What came of a step.
pub struct Seen<'a> {
    pub scene: &'a Scene,
    pub code: Option<i32>,
    pub timed_out: bool,
    pub log: String,
    pub log_bytes: usize,
    pub cut_bytes: u64,
    pub took: Duration,
}

impl Scene {
    pub async fn set(at: At) -> Self {
        let rig = Rig::with(|config| configure(config, at), &[("MB_VARIABLE", SECRET)]).await;
        rig.prepare_files(&[("a.txt", "a\n")]).await;
        let mark = format!("mb-escape-{}", meta_runtime::new_id().simple());
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 0o755);
        let other = folder.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("secret.txt"), SECRET).unwrap();
        let socket = UnixListener::bind(folder.path().join("socket")).unwrap();
        open(&folder.path().join("socket"), 0o777);
        let name = SocketAddr::from_abstract_name(&mark).unwrap();
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let scene = Self {
            at,
            victim: victim(),
            tcp: TcpListener::bind(("127.0.0.1", 0)).unwrap(),
            udp,
            _socket: socket,
            _abstract: UnixListener::bind_addr(&name).unwrap(),
            shared_memory: shared_memory(),
            mark,
            folder,
            rig,
        };
        if at == At::Nothing && is_root() {
            let data = scene.rig.data.path();
            for path in [data.to_owned(), data.join("runs"), data.join("caches")] {
                open(&path, 0o755);
            }
            open(scene.rig.ws().parent().unwrap(), 0o755);
            open(&scene.rig.ws(), 0o777);
        }
        scene
    }

    /// A line with the scene's places in it.
    fn fill(&self, line: &str) -> String {
        let base = self.folder.path().display().to_string();
        let places = [
            ("{other}", format!("{base}/other")),
            ("{socket}", format!("{base}/socket")),
            ("{base}", base),
            ("{mark}", self.mark.clone()),
            ("{tcp}", self.tcp.local_addr().unwrap().port().to_string()),
            ("{udp}", self.udp.local_addr().unwrap().port().to_string()),
            ("{victim}", self.victim.id().to_string()),
            ("{runner}", std::process::id().to_string()),
            ("{shm}", self.shared_memory.clone().unwrap_or_else(|| "none".to_owned())),
        ];
        places.iter().fold(line.to_owned(), |line, (name, value)| line.replace(name, value))
    }

    fn step(&self, line: &str, timeout_ms: u64) -> PlannedStep {
        let line = self.fill(line);
        let mut step = shell(&line);
        step.timeout_ms = timeout_ms;
        if self.at == At::Nothing && is_root() {
            let id = NOBODY.to_string();
            let words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
            let words = words.iter().copied().chain(["bash", "-c", &line]);
            step.run = Run::Argv(words.map(str::to_owned).collect());
        }
        step
    }

    /// Runs a line as a step.
    pub async fn run(&self, line: &str, timeout_ms: u64) -> Seen<'_> {
        let started = Instant::now();
        let id = self.rig.submit(step_work(&self.step(line, timeout_ms)));
        let result: StepResult = match self.rig.result(&id).await {
            Outcome::Step(result) => result,
            other => panic!("{line}: {other:?}"),
        };
        let execution = result.execution.clone().unwrap();
        assert_eq!(execution.sandbox, self.at.recorded());
        let bytes = self.rig.log_bytes(&id);
        Seen {
            scene: self,
            code: exit(&result).code,
            timed_out: exit(&result).timed_out,
            log: String::from_utf8_lossy(&bytes).into_owned(),
            log_bytes: bytes.len(),
            cut_bytes: execution.cut_bytes,
            took: started.elapsed(),
        }
    }

    /// Whether something of the scene's name lay in a folder of the host; it is removed.
    pub fn planted(&self, folder: &Path) -> bool {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let planted: Vec<_> =
            entries.filter(|e| e.file_name().to_string_lossy().contains(&self.mark)).collect();
        for entry in &planted {
            std::fs::remove_file(entry.path()).unwrap();
        }
        !planted.is_empty()
    }

    /// Processes of the host with the scene's name in their words.
    pub fn marked_processes(&self) -> Vec<i32> {
        let is_marked = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(&self.mark)
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(is_marked).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _gone = self.victim.kill();
        let _reaped = self.victim.wait();
        for pid in self.marked_processes() {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        if let Some(id) = &self.shared_memory {
            let _removed = Command::new("ipcrm").args(["-m", id]).status();
        }
        self.planted(Path::new("/tmp"));
    }
}

fn configure(config: &mut runner::Config, at: At) {
    config.profile = Profile::Service;
    config.capacity = 1;
    match at {
        At::Nothing => config.sandbox = SandboxMode::Off,
        At::Bwrap => {}
        At::Strict => {
            config.sandbox = SandboxMode::Strict;
            config.strict = Strict {
                workspace: Bytes::mib(64),
                workspace_files: 5_000,
                caches: Bytes::mib(32),
                caches_files: 5_000,
                scratch: Bytes::mib(16),
                memory: Bytes::gib(1),
                file: Bytes::mib(48),
                processes: 64,
                open_files: 256,
                ..Strict::default()
            };
        }
    }
}

/// A process of somebody who is to a step what the runner's own user is to the runner.
fn victim() -> Child {
    let id = NOBODY.to_string();
    let dropped = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
    let words: Vec<&str> = if is_root() { dropped.to_vec() } else { vec!["env"] };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["sleep", "600"]);
    command.env("SOMEBODYS_VARIABLE", SECRET).stdout(Stdio::null()).spawn().unwrap()
}

fn shared_memory() -> Option<String> {
    let made = Command::new("ipcmk").args(["-M", "4096"]).output().ok()?;
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    said.rsplit(' ').next().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
}

fn open(path: &Path, mode: u32) {
    if path.exists() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
