//! What a run costs beyond its steps, printed as one JSON document (`make bench-orchestrator`).
//!
//! The whole product in this process as `metabuilder up` has it, with a runner that speaks the real
//! protocol and does nothing, so that what is measured is the orchestrator, its store and the queue.
//! Processor time and memory are those of the whole process: the driver's part is in them.

mod commands;
mod driver;
mod fairness;
mod told;
mod usage;

use anyhow::{Result, ensure};
use driver::Driver;
use meta_storage::testing::Postgres;
use runner::config::SandboxMode;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use usage::Usage;

/// What is measured.
const PARTS: [&str; 6] = ["sqlite", "postgres", "growth", "unsandboxed", "sandboxed", "fairness"];
/// Runs of ten steps that are timed one after the other.
const LONE_RUNS: usize = 200;
/// Runs of the load, each of five steps, and how many go at once.
const LOAD: (usize, usize) = (1_000, 50);
/// Finished runs in the store when the speed is measured for the second time.
const FINISHED: usize = 100_000;
/// Loads of each of the two stores then.
const GROWTH_TURNS: usize = 7;
/// Loads whose median counts.
const LOADS: usize = 3;
/// Runs with a step that fails twice.
const RETRIES: usize = 10;

fn main() -> Result<()> {
    // cargo passes its own words; the first other one names what to measure in this process
    match std::env::args().skip(1).find(|a| !a.starts_with('-')) {
        None => all(),
        Some(part) => {
            // as `metabuilder up` has it
            let runtime = meta_runtime::start::embedded_runtime()?;
            println!("{:#}", runtime.block_on(one(&part))?);
            Ok(())
        }
    }
}

/// Each part in a process of its own, so that its memory is its own.
fn all() -> Result<()> {
    let mut report = json!({ "processors": std::thread::available_parallelism()? });
    for part in PARTS {
        let output = std::process::Command::new(std::env::current_exe()?)
            .arg(part)
            .stderr(std::process::Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "{part}: {}", output.status);
        report[part] = serde_json::from_slice(&output.stdout)?;
    }
    println!("{report:#}");
    Ok(())
}

async fn one(part: &str) -> Result<Value> {
    match part {
        "sqlite" => measure("metabuilder.db", true).await,
        "postgres" => on_postgres(true).await,
        // without the waits of retries: to compare two builds in turns
        "sqlite-quick" => measure("metabuilder.db", false).await,
        "postgres-quick" => on_postgres(false).await,
        "growth" => growth().await,
        "unsandboxed" => commands::measure(SandboxMode::Off).await,
        "sandboxed" => commands::measure(SandboxMode::Required).await,
        "fairness" => fairness::measure().await,
        "telemetry" => told::compare(),
        "told" | "untold" | "unreached" => told::measure(part).await,
        "collector" => told::collect().await,
        other => anyhow::bail!("{other:?} is not known (expected one of {})", PARTS.join(", ")),
    }
}

async fn on_postgres(with_retries: bool) -> Result<Value> {
    let server = Postgres::durable().await;
    measure(&server.empty().await.to_setting(), with_retries).await
}

async fn measure(database: &str, with_retries: bool) -> Result<Value> {
    let driver = Driver::start(database).await?;
    let ten = driver.spec(10).await?;
    let five = driver.spec(5).await?;
    let lone = lone(&driver, &ten).await?;
    let load = median(&driver, &five).await?;
    let retries = if with_retries { retries(&driver).await? } else { Value::Null };
    let steps_run = driver.steps_completed();
    let report = json!({
        "run_of_10_steps_ms": lone,
        "load": load,
        "retry_overhead_ms": retries,
        "steps": steps_run,
        "peak_rss_mib": Usage::peak_rss_mib()?,
    });
    driver.end();
    Ok(report)
}

/// The same load on a store with few finished runs and on one with many, in turns (SQLite): what
/// the machine does meanwhile falls on both.
async fn growth() -> Result<Value> {
    let stores = [Driver::start("metabuilder.db").await?, Driver::start("metabuilder.db").await?];
    let finished = [LOAD.0, FINISHED];
    let mut specs = Vec::new();
    for (driver, runs) in stores.iter().zip(finished) {
        let spec = driver.spec(5).await?;
        load(driver, &spec, runs).await?;
        specs.push(spec);
    }
    let mut loads = [Vec::new(), Vec::new()];
    for _ in 0..GROWTH_TURNS {
        for (at, driver) in stores.iter().enumerate() {
            loads[at].push(load(driver, &specs[at], LOAD.0).await?);
        }
    }
    let [few, many] = loads.map(|mut loads| {
        let at = loads.len() / 2;
        loads.sort_by(|a, b| speed(a).total_cmp(&speed(b)));
        speed(&loads[at])
    });
    stores.into_iter().for_each(Driver::end);
    Ok(json!({
        "finished_runs": finished,
        "steps_per_s": [few, many],
        "ratio": round(many / few),
    }))
}

fn speed(load: &Value) -> f64 {
    load["steps_per_s"].as_f64().unwrap_or_default()
}

/// The median of several loads.
async fn median(driver: &Driver, spec: &str) -> Result<Value> {
    let mut loads = Vec::new();
    for _ in 0..LOADS {
        loads.push(load(driver, spec, LOAD.0).await?);
    }
    loads.sort_by(|a, b| speed(a).total_cmp(&speed(b)));
    Ok(loads.swap_remove(LOADS / 2))
}

/// Runs one after the other: from the call that makes one to its end.
async fn lone(driver: &Driver, spec: &str) -> Result<Value> {
    let mut times = Vec::with_capacity(LONE_RUNS);
    for _ in 0..LONE_RUNS {
        let began = Instant::now();
        driver.run(spec).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(json!({
        "median": ms(times[LONE_RUNS / 2]),
        "p99": ms(times[LONE_RUNS * 99 / 100]),
    }))
}

/// Many runs at once.
async fn load(driver: &Driver, spec: &str, runs: usize) -> Result<Value> {
    let at_once = LOAD.1;
    let before = Usage::now()?;
    let began = Instant::now();
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (driver, spec) = (driver.clone(), spec.to_owned());
        let turns = std::sync::Arc::clone(&turns);
        clients.spawn(async move {
            while turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < runs {
                driver.run(&spec).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    let (took, used) = (began.elapsed(), Usage::now()?.since(&before));
    let steps = f64::from(u32::try_from(runs)?) * 5.0;
    Ok(json!({
        "runs": runs,
        "at_once": at_once,
        "steps_per_s": (steps / took.as_secs_f64()).round(),
        "cpu_ms_per_step": round(used.as_secs_f64() * 1e3 / steps),
    }))
}

/// A step that fails twice and passes then: what it takes beyond the waits that were decided, one
/// run after the other; and what the same run takes without failures.
async fn retries(driver: &Driver) -> Result<Value> {
    let mut over = Vec::with_capacity(RETRIES);
    for _ in 0..RETRIES {
        over.push(driver.failing().await?);
    }
    over.sort_unstable();
    let passing = driver.spec(1).await?;
    let without = lone(driver, &passing).await?;
    Ok(json!({
        "median": ms(over[RETRIES / 2]),
        "max": ms(over[RETRIES - 1]),
        "same_run_without_failures": without["median"],
    }))
}

fn ms(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1e3)
}

fn round(n: f64) -> f64 {
    (n * 1e3).round() / 1e3
}
