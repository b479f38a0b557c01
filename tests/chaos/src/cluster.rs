//! The product as real processes on loopback: what a test starts, and where its clients connect.

use crate::database::{Database, Kind};
use crate::power::Power;
use crate::proxy::Proxy;
use crate::service::{Service, Start};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The token that the services of a test share.
pub const TOKEN: &str = "chaos-service-token-0123456789abcdef";
/// Length of a lease where the product lets it be set, in milliseconds.
const LEASE_MS_ASKED: u64 = 5_000;
/// Length of a lease where it does not.
const LEASE_MS_FIXED: u64 = 15_000;
/// Quotas, which the load of a test would use up at once.
const UNLIMITED: [&str; 4] =
    ["specs_per_hour", "plans_per_hour", "runs_per_hour", "approvals_per_hour"];
/// Tasks that a runner carries out at a time.
const SLOTS: u32 = 8;
/// Attempts that a step may have, as the settings of these tests say.
pub const ATTEMPTS_STEP: usize = 3;
/// Attempts that a run may have.
pub const ATTEMPTS_RUN: usize = 6;
/// The longest backoff, in seconds.
pub const BACKOFF_CAP_S: i64 = 60;
/// The platform's settings, which the flag-resolver is told.
const SETTINGS: [(&str, &str); 5] = [
    ("META_BUILDER_ENV", "staging"),
    ("FEATURE_META_V3_AUTOFIX", "true"),
    ("META_V3_MAX_TOTAL_ATTEMPTS", "6"),
    ("META_V3_MAX_PER_STEP_ATTEMPTS", "3"),
    ("META_V3_BACKOFF_CAP_SECONDS", "60"),
];

/// What a test needs.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How many orchestrators.
    pub orchestrators: usize,
    /// How many runners.
    pub runners: usize,
    /// Where the orchestrators keep everything.
    pub database: Kind,
    /// The orchestrators' data lies on a small file system of its own, which can be filled.
    pub small_disk: bool,
    /// The orchestrator's machine may lose its power.
    pub power: bool,
}

/// What the given binaries can do.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Their folder.
    pub folder: PathBuf,
    /// The orchestrator's settings, as it prints them.
    settings: String,
}

impl Binaries {
    /// The binaries beside `metabuilder`, or in a folder.
    pub fn find(path: &Path) -> Result<Self> {
        let path = path.canonicalize().with_context(|| format!("{}", path.display()))?;
        let folder = if path.is_dir() { path } else { path.parent().context("a folder")?.into() };
        let orchestrator = folder.join("orchestrator");
        let mut command = Command::new(&orchestrator);
        command.env_clear().args(["--set", "auth.mode=none", "--print-config"]);
        let printed = command.output();
        let printed = printed.with_context(|| {
            format!("{} is missing: build the services' binaries first", orchestrator.display())
        })?;
        let settings = String::from_utf8_lossy(&printed.stdout).into_owned();
        Ok(Self { folder, settings })
    }

    /// Whether the orchestrator has a setting.
    pub fn has_setting(&self, name: &str) -> bool {
        self.settings.lines().any(|l| l.split_once(" = ").is_some_and(|(key, _)| key == name))
    }

    /// Length of a lease with these binaries, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        if self.has_setting("lease_ms") { LEASE_MS_ASKED } else { LEASE_MS_FIXED }
    }
}

/// The processes of a test.
pub struct Cluster {
    /// What it was started from.
    pub binaries: Binaries,
    /// The orchestrators.
    pub orchestrators: Vec<Service>,
    /// The runners.
    pub runners: Vec<Service>,
    /// Between the clients and each orchestrator.
    pub client_proxies: Vec<Proxy>,
    /// Between the runners and the orchestrators: each connection goes to one that lives.
    pub runner_proxy: Proxy,
    /// Where the orchestrators keep everything.
    pub database: Database,
    /// What becomes of the orchestrator's files without power.
    pub power: Option<Power>,
    /// Where the orchestrators' files are.
    pub data: PathBuf,
    /// Classifier, auto-fixer, flag-resolver: they are left alone.
    _advisers: Vec<Service>,
}

impl Cluster {
    /// Starts everything and waits until it serves.
    pub async fn start(
        shape: &Shape,
        binaries: &Binaries,
        place: &Path,
        seed: u64,
    ) -> Result<Self> {
        let logs = place.join("logs");
        let data = place.join("data/orchestrator");
        for folder in [&logs, &data] {
            std::fs::create_dir_all(folder)?;
        }
        let database = Database::start(shape.database, shape.small_disk, &data).await?;
        let power = shape.power.then(|| Power::prepare(place, &data)).transpose()?;
        let mut made = Maker { binaries, place, logs: &logs };
        let mut advisers = Vec::new();
        for name in ["classifier", "autofixer", "flag-resolver"] {
            let mut service = made.service(name, name, &[])?;
            service.spawn()?;
            advisers.push(service);
        }
        for service in &mut advisers {
            service.ready().await?;
        }
        let mut orchestrators = Vec::new();
        for number in 0..shape.orchestrators {
            orchestrators.push(made.orchestrator(number, &advisers, &database, &data)?);
        }
        let mut client_proxies = Vec::new();
        for (number, service) in orchestrators.iter_mut().enumerate() {
            service.start.vars.extend(power.iter().flat_map(Power::vars));
            service.spawn()?;
            service.ready().await?;
            let seed = seed.wrapping_add(u64::try_from(number)?);
            client_proxies.push(Proxy::start(vec![service.address], seed).await?);
        }
        let servers = orchestrators.iter().map(|o| o.address).collect();
        let runner_proxy = Proxy::start(servers, seed).await?;
        let mut runners = Vec::new();
        for number in 0..shape.runners {
            let mut runner = made.runner(number, &runner_proxy)?;
            runner.spawn()?;
            runners.push(runner);
        }
        for runner in &mut runners {
            runner.ready().await?;
        }
        let binaries = binaries.clone();
        Ok(Self {
            binaries,
            orchestrators,
            runners,
            client_proxies,
            runner_proxy,
            database,
            power,
            data,
            _advisers: advisers,
        })
    }

    /// Where clients connect, by orchestrator.
    pub fn client_addresses(&self) -> Vec<String> {
        self.client_proxies.iter().map(|p| format!("http://{}", p.address)).collect()
    }

    /// The orchestrators themselves, without a proxy: for reading what came of it all.
    pub fn own_addresses(&self) -> Vec<String> {
        self.orchestrators.iter().map(Service::url).collect()
    }

    /// How long a lease holds.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.binaries.lease_ms())
    }

    /// From now on orchestrators and runners are started from another folder's binaries.
    pub fn use_binaries(&mut self, folder: &Path) {
        let services = self.orchestrators.iter_mut().chain(&mut self.runners);
        for service in services {
            if let Some(name) = service.start.program.file_name() {
                service.start.program = folder.join(name);
            }
        }
    }
}

/// Makes services of one test.
struct Maker<'a> {
    binaries: &'a Binaries,
    place: &'a Path,
    logs: &'a Path,
}

impl Maker<'_> {
    fn service(&mut self, name: &str, program: &str, more: &[String]) -> Result<Service> {
        let mut vars = vec![("METABUILDER__AUTH__SERVICE_TOKEN".to_owned(), TOKEN.to_owned())];
        let mut sets = more.to_vec();
        if ["autofixer", "flag-resolver"].contains(&program) {
            let data = self.place.join("data").join(program);
            std::fs::create_dir_all(&data)?;
            sets.push(format!("data_dir={}", data.display()));
        }
        if program == "flag-resolver" {
            vars.extend(SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let start = Start { program: self.binaries.folder.join(program), sets, vars };
        Service::new(name.to_owned(), start, self.logs)
    }

    fn orchestrator(
        &mut self,
        number: usize,
        advisers: &[Service],
        database: &Database,
        data: &Path,
    ) -> Result<Service> {
        let mut sets: Vec<String> =
            advisers.iter().map(|a| format!("peers.{}={}", a.name, a.url())).collect();
        sets.push(format!("data_dir={}", data.display()));
        if self.binaries.has_setting("lease_ms") {
            sets.push(format!("lease_ms={LEASE_MS_ASKED}"));
        }
        let unlimited = UNLIMITED.iter().filter(|name| self.binaries.has_setting(name));
        sets.extend(unlimited.map(|name| format!("limits.{name}=0")));
        let mut service = self.service(&format!("orchestrator-{number}"), "orchestrator", &sets)?;
        if let Some(setting) = database.setting() {
            service.start.vars.push(("METABUILDER__DATABASE".to_owned(), setting));
        }
        Ok(service)
    }

    fn runner(&mut self, number: usize, orchestrators: &Proxy) -> Result<Service> {
        let data = self.place.join("data/runner");
        std::fs::create_dir_all(&data)?;
        let sets = [
            format!("peers.orchestrator=http://{}", orchestrators.address),
            format!("data_dir={}", data.display()),
            format!("capacity={SLOTS}"),
            "sandbox=off".to_owned(),
        ];
        self.service(&format!("runner-{number}"), "runner", &sets)
    }
}
