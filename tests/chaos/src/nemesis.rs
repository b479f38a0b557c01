//! The faults: what is done to the processes, one after the other, as a seed says.

use crate::cluster::Cluster;
use crate::proxy::Treatment;
use crate::records::Injected;
use crate::service::Service;
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::PathBuf;
use std::time::Duration;
use tokio::process::Command;

/// How long a process may take to end after SIGTERM: its drain and what killing takes.
const DRAIN: Duration = Duration::from_secs(15);
/// Busy loops beside the product.
const BUSY: usize = 8;

/// Which processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The orchestrators.
    Orchestrator,
    /// The runners.
    Runner,
}

/// Whose connections to the orchestrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The clients'.
    Clients,
    /// The runners'.
    Runners,
}

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// SIGKILL, and started again at once.
    Kill(Role),
    /// SIGKILL of that one, and started again at once.
    KillOne(Role, usize),
    /// SIGSTOP for so long, then SIGCONT.
    Pause(Role, Duration),
    /// SIGTERM; it has to end by itself with success; then it is started again.
    Drain(Role),
    /// The database server crashes and is away for so long.
    CrashDatabase(Duration),
    /// The database server is stopped by its operator and is away for so long.
    StopDatabase(Duration),
    /// Nothing can be written for so long.
    FullDisk(Duration),
    /// Connections are treated so for so long.
    Network(Side, Treatment, Duration),
    /// Busy loops for so long.
    Starve(Duration),
    /// SIGTERM, and started from these binaries.
    Swap(Role, PathBuf),
    /// The orchestrator's machine loses its power: SIGKILL, and of its database's files only what was
    /// synced is there for sure when it starts again.
    PowerLoss,
    /// SIGKILL, and started with a clock that is so many seconds off; after that time the same with a
    /// clock that is right.
    SkewClock(Role, i64, Duration),
}

/// A fault with the quiet time before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Quiet time.
    pub after: Duration,
    /// What comes then.
    pub fault: Fault,
}

/// So many times a fault, each after a quiet time from the range of milliseconds.
pub fn often(
    rng: &mut StdRng,
    times: usize,
    quiet_ms: std::ops::Range<u64>,
    mut fault: impl FnMut(&mut StdRng) -> Fault,
) -> Vec<Planned> {
    let one = |_| {
        let after = Duration::from_millis(rng.random_range(quiet_ms.clone()));
        Planned { after, fault: fault(rng) }
    };
    (0..times).map(one).collect()
}

impl Cluster {
    /// Injects a fault and mends it; answers when it was.
    pub async fn inject(&mut self, fault: &Fault, rng: &mut StdRng) -> Result<Injected> {
        let at_ms = meta_runtime::now().0;
        let mut told = format!("{fault:?}");
        let over_ms = match fault {
            Fault::Kill(role) => {
                let one = rng.random_range(0..self.of(*role).len());
                self.kill(*role, one).await?
            }
            Fault::KillOne(role, one) => self.kill(*role, *one).await?,
            Fault::Pause(role, time) => {
                let one = rng.random_range(0..self.of(*role).len());
                let service = &mut self.of(*role)[one];
                service.signal(Signal::SIGSTOP)?;
                tokio::time::sleep(*time).await;
                service.signal(Signal::SIGCONT)?;
                meta_runtime::now().0
            }
            Fault::Drain(role) => {
                let one = rng.random_range(0..self.of(*role).len());
                let service = &mut self.of(*role)[one];
                drain(service).await?;
                start(service).await?
            }
            Fault::CrashDatabase(away) | Fault::StopDatabase(away) => {
                let server = self.database.postgres.as_ref().context("no database server")?;
                match fault {
                    Fault::CrashDatabase(_) => server.crash().await,
                    _ => server.stop().await,
                }
                tokio::time::sleep(*away).await;
                let back = meta_runtime::now().0;
                server.start().await;
                back
            }
            Fault::FullDisk(time) => {
                self.database.disk()?.fill()?;
                tokio::time::sleep(*time).await;
                self.database.disk()?.free()?;
                meta_runtime::now().0
            }
            Fault::Network(side, treatment, time) => {
                self.treat(*side, *treatment);
                tokio::time::sleep(*time).await;
                self.treat(*side, Treatment::default());
                meta_runtime::now().0
            }
            Fault::Starve(time) => {
                let busy = (0..BUSY).map(|_| busy_loop()).collect::<Result<Vec<_>>>()?;
                tokio::time::sleep(*time).await;
                drop(busy);
                meta_runtime::now().0
            }
            Fault::Swap(role, folder) => self.swap(*role, folder).await?,
            Fault::PowerLoss => {
                let power = self.power.as_ref().context("this test has power that stays")?;
                self.orchestrators[0].kill().await?;
                told = format!("PowerLoss({} pages lost)", power.fail(rng)?);
                start(&mut self.orchestrators[0]).await?
            }
            Fault::SkewClock(role, seconds, time) => {
                let one = rng.random_range(0..self.of(*role).len());
                self.skew(*role, one, *seconds).await?;
                tokio::time::sleep(*time).await;
                self.kill(*role, one).await?
            }
        };
        Ok(Injected { at_ms, over_ms, fault: told, first_step_ms: None })
    }

    /// The processes of a role.
    pub fn of(&mut self, role: Role) -> &mut [Service] {
        match role {
            Role::Orchestrator => &mut self.orchestrators,
            Role::Runner => &mut self.runners,
        }
    }

    /// Treats one side's connections so.
    pub fn treat(&self, side: Side, treatment: Treatment) {
        match side {
            Side::Clients => self.client_proxies.iter().for_each(|p| p.treat(treatment)),
            Side::Runners => self.runner_proxy.treat(treatment),
        }
    }

    async fn kill(&mut self, role: Role, one: usize) -> Result<i64> {
        let service = &mut self.of(role)[one];
        service.kill().await?;
        start(service).await
    }

    async fn swap(&mut self, role: Role, folder: &std::path::Path) -> Result<i64> {
        self.use_binaries(folder);
        let mut last = meta_runtime::now().0;
        for one in 0..self.of(role).len() {
            let service = &mut self.of(role)[one];
            drain(service).await?;
            last = start(service).await?;
        }
        Ok(last)
    }

    async fn skew(&mut self, role: Role, one: usize, seconds: i64) -> Result<i64> {
        let library = faketime().context("libfaketime is not installed")?;
        let service = &mut self.of(role)[one];
        service.kill().await?;
        let before = service.start.vars.clone();
        let preload = library.display().to_string();
        let mut set = |name: &str, value: String| service.start.vars.push((name.to_owned(), value));
        set("LD_PRELOAD", preload);
        set("FAKETIME", format!("{seconds:+}"));
        set("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned());
        // Its health is asked without a signature, so that it is ready whatever its clock says.
        let started = start(service).await;
        service.start.vars = before;
        started
    }
}

/// Where libfaketime is, if it is installed.
pub fn faketime() -> Option<PathBuf> {
    const PLACES: [&str; 3] = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/faketime/libfaketime.so.1",
    ];
    PLACES.iter().map(PathBuf::from).find(|p| p.is_file())
}

/// Starts it; answers when that was, not when it was ready.
async fn start(service: &mut Service) -> Result<i64> {
    let at = meta_runtime::now().0;
    service.spawn()?;
    service.ready().await?;
    Ok(at)
}

async fn drain(service: &mut Service) -> Result<()> {
    service.signal(Signal::SIGTERM)?;
    let status = service.gone(DRAIN).await?;
    anyhow::ensure!(status.success(), "{} did not stop well: {status}", service.name);
    Ok(())
}

fn busy_loop() -> Result<tokio::process::Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "while :; do :; done"]).kill_on_drop(true);
    Ok(command.spawn()?)
}
