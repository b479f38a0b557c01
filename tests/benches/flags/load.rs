//! Load on a process, and what it costs that process.

use anyhow::{Context, Result};
use meta_domain::id::TenantId;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Calls that are measured.
const CALLS: usize = 40_000;
/// Calls before, which are not.
const WARM_UP: usize = 4_000;
/// Calls at a time.
pub const WORKERS: usize = 16;
/// How long the process is watched while nobody calls.
const IDLE: Duration = Duration::from_secs(2);
/// Ticks of the processor time that Linux tells, in a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// The tenant of a number.
pub fn tenant(n: usize) -> TenantId {
    TenantId(Uuid::from_u128(0x0197_a2c4_6f3e_7c11_9f6d_0000_0000_0000 + n as u128))
}

/// The tenant of a call: all that have overrides in turns, the last one each tenth time.
fn turn(call: usize, tenants: usize) -> usize {
    if call.is_multiple_of(10) { tenants - 1 } else { call.wrapping_mul(7_919) % tenants }
}

/// Asks for one tenant's setting, and checks the answer.
pub trait Ask: Clone + Send + Sync + 'static {
    /// One evaluation.
    fn ask(&mut self, tenant: usize) -> impl Future<Output = Result<()>> + Send;
}

/// Calls, and tells what a call costs the process.
pub async fn load(pid: Pid, tenants: usize, askers: Vec<impl Ask>) -> Result<Value> {
    call(WARM_UP, tenants, &askers).await?;
    let idle_before = cpu_us(pid)?;
    // nothing is waited for: the idle process is watched for a fixed time
    tokio::time::sleep(IDLE).await;
    let idle = (cpu_us(pid)? - idle_before) / IDLE.as_secs_f64();
    let (before, began) = (cpu_us(pid)?, Instant::now());
    let mut latencies = call(CALLS, tenants, &askers).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_us(pid)? - before - idle * seconds;
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[latencies.len() * p / 100].as_micros();
    let calls = f64::from(u32::try_from(latencies.len())?);
    Ok(json!({
        "overrides": tenants,
        "calls": latencies.len(),
        "concurrency": WORKERS,
        "cpu_us": round(cpu / calls),
        "idle_cpu_us_per_second": round(idle),
        "p50_us": u64::try_from(percentile(50))?,
        "p99_us": u64::try_from(percentile(99))?,
        "calls_per_second": round(calls / seconds),
    }))
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

async fn call(calls: usize, tenants: usize, askers: &[impl Ask]) -> Result<Vec<Duration>> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let mut asker = askers[worker % askers.len()].clone();
        workers.spawn(async move {
            let mut latencies = Vec::with_capacity(calls / WORKERS);
            for n in 0..calls / WORKERS {
                let tenant = turn(n * WORKERS + worker, tenants);
                let began = Instant::now();
                asker.ask(tenant).await?;
                latencies.push(began.elapsed());
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut all = Vec::with_capacity(calls);
    while let Some(done) = workers.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// Processor time of a process, user and system, in microseconds.
fn cpu_us(pid: Pid) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // the name, in parentheses, may hold anything
    let (_, fields) = stat.rsplit_once(')').context("a stat line")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).context("a stat line")?.parse::<f64>().context("ticks");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND * 1e6)
}
