//! One process of the product: started on its port, killed, stopped, started again.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Variables of this program that a process gets; everything else is cleared.
const PASSED: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "USER"];
/// How long a process may take until it serves.
const READY: Duration = Duration::from_mins(1);
/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(10);
/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(30);

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The binary.
    pub program: PathBuf,
    /// `key=value` of its configuration.
    pub sets: Vec<String>,
    /// Its environment.
    pub vars: Vec<(String, String)>,
}

/// One process.
#[derive(Debug)]
pub struct Service {
    /// Its name with its number, such as `runner-2`.
    pub name: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// How it is started.
    pub start: Start,
    /// What it says goes there, of all its lives.
    log: PathBuf,
    child: Option<Child>,
}

/// A loopback address that is free now.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

impl Service {
    /// A process that does not run yet.
    pub fn new(name: String, start: Start, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        Ok(Self { name, address: free_address()?, start, log, child: None })
    }

    /// Where it serves, for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it.
    pub fn spawn(&mut self) -> Result<()> {
        let mut open = File::options();
        let log = open.append(true).create(true).open(&self.log)?;
        let own = meta_runtime::start::vars();
        let passed = PASSED.iter().filter_map(|n| own.get(*n).map(|v| (*n, v.as_str())));
        let mut command = Command::new(&self.start.program);
        command.env_clear().envs(passed);
        command.envs(self.start.vars.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        command.arg("--set").arg(format!("listen={}", self.address));
        command.args(self.start.sets.iter().flat_map(|s| ["--set", s.as_str()]));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let started = command.spawn();
        let program = self.start.program.display();
        self.child = Some(started.with_context(|| format!("cannot start {program}"))?);
        Ok(())
    }

    /// Waits until it serves.
    pub async fn ready(&mut self) -> Result<()> {
        let channel = meta_runtime::transport::remote(&self.url(), "");
        let mut client = HealthClient::new(channel.map_err(anyhow::Error::msg)?);
        let until = Instant::now() + READY;
        while Instant::now() < until {
            let answer = client.check(HealthCheckRequest::default()).await;
            if answer.is_ok_and(|a| a.into_inner().status() == ServingStatus::Serving) {
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("{} ended at its start ({status}): {}", self.name, self.last_words());
            }
            tokio::time::sleep(READY_POLL).await;
        }
        bail!("{} does not serve after {READY:?}: {}", self.name, self.last_words())
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Sends it a signal; only to it, not to its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        let status = self.gone(GONE).await?;
        ensure!(status.signal() == Some(9), "{} ended by itself before: {status}", self.name);
        Ok(())
    }

    /// Waits until it is gone.
    pub async fn gone(&mut self, limit: Duration) -> Result<ExitStatus> {
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
        let ended = tokio::time::timeout(limit, child.wait()).await;
        let status =
            ended.with_context(|| format!("{} does not end in {limit:?}", self.name))??;
        self.child = None;
        Ok(status)
    }

    /// Its resident memory in KiB, while it runs.
    pub fn rss_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        said.lines().last().unwrap_or("it said nothing").to_owned()
    }
}
