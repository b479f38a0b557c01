//! One experiment from its start to its figures: processes, load, faults, rest, checks.

use crate::checker::{Evidence, Limits, Violation, check};
use crate::client::Client;
use crate::cluster::{ATTEMPTS_RUN, ATTEMPTS_STEP, BACKOFF_CAP_S, Binaries, Cluster, Shape, TOKEN};
use crate::database::damage;
use crate::drive::Driver;
use crate::figures::{Figures, duplicates, time_first_steps};
use crate::history::History;
use crate::nemesis::{Planned, Side};
use crate::proxy::Treatment;
use crate::records::{Injected, Records};
use crate::workload::{Kinds, Recipe, TENANTS};
use crate::{database, effects};
use anyhow::{Context, Result};
use meta_domain::id::TenantId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

/// How long runs may take to come to rest once the faults are over, beside two leases and the
/// backoffs of a step.
const REST: Duration = Duration::from_secs(45);
/// Load before the first fault.
const WARM_UP: Duration = Duration::from_millis(1_500);

/// What a runner says when its result is refused.
const TOO_LATE: &str = "a result came too late";

/// What makes an experiment.
#[derive(Clone)]
pub struct Experiment {
    /// Its name, such as `c1`.
    pub name: &'static str,
    /// What it needs.
    pub shape: Shape,
    /// What the runs are like.
    pub kinds: Kinds,
    /// How long the last step of a run executes, where that matters.
    pub last_step: Option<Duration>,
    /// Steps in each branch of a run.
    pub branch_steps: usize,
    /// Runs at a time.
    pub at_a_time: usize,
    /// How many decide each gate at once.
    pub deciders: usize,
    /// Each fault waits for a gate to be reached first.
    pub at_gates: bool,
    /// The share of answers that clients do not get, from 0 to 1.
    pub lost_answers: f64,
    /// Runs are asked for during the faults as well, one try each.
    pub submits: bool,
    /// All processes have the same clock.
    pub one_clock: bool,
    /// The faults.
    pub faults: Vec<Planned>,
    /// What has to hold beside the invariants.
    pub expect: fn(&Evidence) -> Vec<Violation>,
}

/// Where an experiment takes place.
#[derive(Debug, Clone)]
pub struct Place {
    /// The binaries.
    pub binaries: Binaries,
    /// Its folder: records, logs, data.
    pub folder: PathBuf,
    /// Its seed.
    pub seed: u64,
}

impl Experiment {
    /// Carries it out.
    pub async fn run(&self, place: &Place) -> Result<Figures> {
        let since = Instant::now();
        std::fs::create_dir_all(&place.folder)?;
        let mut rng = StdRng::seed_from_u64(place.seed);
        let mut cluster =
            Cluster::start(&self.shape, &place.binaries, &place.folder, place.seed).await?;
        let driver = Arc::new(self.driver(place, &cluster.client_addresses())?);
        for (number, client) in driver.clients.iter().enumerate() {
            client.create_tenant(&format!("tenant {number}")).await?;
        }
        let lost_answers = self.lost_answers;
        cluster.treat(Side::Clients, Treatment { lost_answers, ..Treatment::default() });
        let rest = REST + 2 * cluster.lease();
        let (go_on, wanted) = watch::channel(true);
        let load = {
            let (driver, wanted, at_a_time) = (Arc::clone(&driver), wanted.clone(), self.at_a_time);
            tokio::spawn(async move { driver.load(at_a_time, wanted, rest).await })
        };
        let probe = {
            let (driver, submits) = (Arc::clone(&driver), self.submits);
            tokio::spawn(async move { driver.probe(wanted, submits).await })
        };
        tokio::time::sleep(WARM_UP).await;
        let rss_before_kib = cluster.orchestrators[0].rss_kib();
        let faults = self.disturb(&mut cluster, &driver, &mut rng).await;
        let rss_after_kib = cluster.orchestrators[0].rss_kib();
        go_on.send_replace(false);
        cluster.treat(Side::Clients, Treatment::default());
        let (faults, mut violations) = faults;
        probe.await??;
        violations.extend(load.await?.into_iter().map(|what| Violation::new("client", what)));
        driver.settle(rest).await;
        let mut evidence = self.gather(place, &cluster, &driver, faults).await?;
        let mut timed = std::mem::take(&mut evidence.faults);
        time_first_steps(&mut timed, &evidence);
        evidence.faults = timed;
        if evidence.histories.is_empty() || evidence.effects.is_empty() {
            violations.push(Violation::new("work", "no step was executed: nothing was tested"));
        }
        violations.extend(check(&evidence));
        violations.extend((self.expect)(&evidence));
        if self.shape.database == database::Kind::Sqlite {
            let damage = damage(&cluster.data)?;
            violations.extend(damage.into_iter().map(|d| Violation::new("database", d)));
        }
        keep(&place.folder, &evidence, &violations)?;
        Ok(Figures {
            experiment: self.name.to_owned(),
            database: self.shape.database.to_string(),
            seed: place.seed,
            seconds: since.elapsed().as_secs(),
            rss_before_kib,
            rss_after_kib,
            ..Figures::new(&evidence, violations)
        })
    }

    fn driver(&self, place: &Place, addresses: &[String]) -> Result<Driver> {
        let recipe = Recipe {
            seed: place.seed,
            program: std::env::current_exe().context("this program has a path")?,
            effects: place.folder.join("effects.jsonl"),
            branch_steps: self.branch_steps,
            kind: self.kinds,
            last_step: self.last_step,
        };
        let records = Arc::new(Records::new(&place.folder)?);
        Ok(Driver::new(clients(addresses)?, records, recipe, self.deciders))
    }

    /// Injects the faults; what the processes themselves do wrong is a violation, and the end.
    async fn disturb(
        &self,
        cluster: &mut Cluster,
        driver: &Driver,
        rng: &mut StdRng,
    ) -> (Vec<Injected>, Vec<Violation>) {
        let (mut done, mut violations) = (Vec::new(), Vec::new());
        let mut gates = driver.gates();
        for planned in &self.faults {
            if self.at_gates {
                gates.mark_unchanged();
                // the driver outlives the faults
                let _reached = gates.changed().await;
            }
            tokio::time::sleep(planned.after).await;
            match cluster.inject(&planned.fault, rng).await {
                Ok(injected) => done.push(injected),
                Err(error) => {
                    let what = format!("{:?}: {error:#}", planned.fault);
                    violations.push(Violation::new("process", what));
                    break;
                }
            }
            cluster.treat(
                Side::Clients,
                Treatment { lost_answers: self.lost_answers, ..Treatment::default() },
            );
        }
        (done, violations)
    }

    async fn gather(
        &self,
        place: &Place,
        cluster: &Cluster,
        driver: &Driver,
        faults: Vec<Injected>,
    ) -> Result<Evidence> {
        driver.list().await?;
        let reader = clients(&cluster.own_addresses())?;
        let mut histories = Vec::new();
        for (tenant, run) in driver.runs() {
            match History::read(&reader[tenant], &run).await {
                Ok(history) => histories.push(history),
                // a missing run is for the checks to find
                Err(error) => eprintln!("run {run} cannot be read: {error:#}"),
            }
        }
        let lease_ms = i64::try_from(cluster.binaries.lease_ms())?;
        Ok(Evidence {
            calls: driver.records.calls(),
            sightings: driver.records.sightings(),
            complete_streams: driver.complete_streams(),
            effects: effects::read(&place.folder.join("effects.jsonl"))?,
            histories,
            faults,
            late_results: late_results(&place.folder.join("logs"))?,
            limits: Limits {
                lease_ms,
                attempts_step: ATTEMPTS_STEP,
                attempts_run: ATTEMPTS_RUN,
                backoff_cap_ms: BACKOFF_CAP_S * 1000,
                clock_slack_ms: self.shape.database.clock_slack_ms(),
                one_clock: self.one_clock,
            },
        })
    }
}

/// How often runners were told that a result came after its lease.
fn late_results(logs: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        let of_runner = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("runner"));
        if of_runner {
            let said = std::fs::read(&path)?;
            count += String::from_utf8_lossy(&said).matches(TOO_LATE).count();
        }
    }
    Ok(count)
}

/// A client for each tenant.
fn clients(addresses: &[String]) -> Result<Vec<Client>> {
    let tenants = (1..=TENANTS).map(|n| TenantId(Uuid::from_u128(0x7000_8000 << 64 | n as u128)));
    tenants.map(|t| Client::new(addresses, TOKEN, t)).collect()
}

/// Keeps what the checks saw, for whoever looks into a failure.
fn keep(folder: &Path, evidence: &Evidence, violations: &[Violation]) -> Result<()> {
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).with_context(|| name.to_owned())
    };
    write("histories.json", serde_json::to_string_pretty(&evidence.histories)?)?;
    write("violations.json", serde_json::to_string_pretty(violations)?)?;
    write("faults.json", serde_json::to_string_pretty(&evidence.faults)?)?;
    let again = duplicates(evidence);
    let again: Vec<_> = again.iter().map(|((run, step), n)| (run, step, n)).collect();
    write("duplicates.json", serde_json::to_string_pretty(&again)?)
}
