//! What the gateway costs, printed as one JSON document (`make bench-gateway`): `GET
//! /runs/{id}/autofix` with authentication through it and the same question to the orchestrator
//! directly, a thousand watchers of one run, and whether the time of a 404 tells another tenant's
//! object from one that does not exist.
//!
//! Processor time is that of the gateway's process, user and system, without what it takes when
//! idle, divided by the requests. Every answer is checked.

use anyhow::{Context, Result, ensure};
use meta_proto::orchestrator::GetRunRequest;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_runtime::Transport;
use meta_tests::processes::{Deployment, LIMIT, Rest, only};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests at a time.
const CONNECTIONS: usize = 32;
/// Requests that are measured, and those before.
const CALLS: usize = 40_000;
const WARM_UP: usize = 4_000;
/// How long the process is watched while nobody calls.
const IDLE: Duration = Duration::from_secs(2);
/// Ticks of the processor time that Linux tells, in a second.
const TICKS_PER_SECOND: f64 = 100.0;
/// Microseconds of the gateway's processor time that one request may take.
const CPU_US_MAX: f64 = 70.0;
/// How many times the 99th percentile of the direct call that of the gateway may be.
const P99_TIMES_MAX: f64 = 3.0;
/// Watchers of one run, and the memory they may cost the gateway, in MiB.
const WATCHERS: usize = 1_000;
const WATCHERS_MIB_MAX: f64 = 100.0;
/// Questions for another tenant's object, and as many for one that does not exist, in turns: an
/// even number, so that each goes first as often.
const STRANGERS: usize = 2_000;

/// A step that fails once of a refused connection.
const FLAKY: &str = "if [ -f c/seen ]; then echo ok; else touch c/seen; \
    echo 'curl: (7) Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";

#[tokio::main]
async fn main() -> Result<()> {
    only(&["orchestrator", "runner", "classifier", "autofixer", "flag-resolver", "gateway"]);
    let deployment = Deployment::start_with(&[
        ("orchestrator", "METABUILDER__WEBHOOKS__ALLOW_HTTP", "true"),
        ("orchestrator", "METABUILDER__WEBHOOKS__NETWORKS", "127.0.0.0/8"),
        ("orchestrator", "METABUILDER__WEBHOOKS__PORTS", "9"),
    ])
    .await?;
    let run = healed(&deployment.rest).await?;
    let pid = deployment.gateway.process.pid();
    let direct = direct(&deployment, &run).await?;
    let through = through(&deployment, pid, &run).await?;
    let watchers = watchers(&deployment, pid).await?;
    let strangers = strangers(&deployment.rest, &run).await?;
    let number = |value: &Value, name: &str| value[name].as_f64().context("a number");
    let times = number(&through, "p99_us")? / number(&direct, "p99_us")?;
    let report = json!({
        "processors": std::thread::available_parallelism()?,
        "connections": CONNECTIONS,
        "gateway": through,
        "direct_grpc": direct,
        "p99_times": round(times),
        "watchers": watchers,
        "not_found": strangers,
        "targets": {
            "cpu_us_max": CPU_US_MAX,
            "cpu_met": number(&through, "cpu_us")? <= CPU_US_MAX,
            "p99_times_max": P99_TIMES_MAX,
            "p99_met": times <= P99_TIMES_MAX,
            "watchers_mib_max": WATCHERS_MIB_MAX,
            "watchers_met": number(&watchers, "mib")? <= WATCHERS_MIB_MAX,
        },
    });
    println!("{report:#}");
    Ok(())
}

/// A run that was healed by a retry.
async fn healed(rest: &Rest) -> Result<String> {
    let steps = json!([{ "name": "fetch", "run": FLAKY, "cache": ["c"] }]);
    let spec = json!({ "title": "t", "mode": "freeform", "steps": steps });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    rest.until_status(&run, "succeeded").await?;
    Ok(run)
}

async fn through(deployment: &Deployment, pid: Pid, run: &str) -> Result<Value> {
    let path = format!("/runs/{run}/autofix");
    let ask = move |rest: Rest| {
        let path = path.clone();
        async move {
            let body = rest.get(&path).await?.with(200)?;
            ensure!(body["data"]["attributes"]["total_attempts"] == 1, "{body:#}");
            Ok(rest)
        }
    };
    // a client of its own for each worker: one connection each
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Rest::new(&deployment.gateway.address, deployment.rest.key())?);
    }
    load(WARM_UP, clients.clone(), ask.clone()).await?;
    let idle_before = cpu_us(pid)?;
    // nothing is waited for: the idle process is watched for a fixed time
    tokio::time::sleep(IDLE).await;
    let idle = (cpu_us(pid)? - idle_before) / IDLE.as_secs_f64();
    let (before, began) = (cpu_us(pid)?, Instant::now());
    let latencies = load(CALLS, clients, ask).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_us(pid)? - before - idle * seconds;
    let mut report = told(latencies, seconds)?;
    report["cpu_us"] = round(cpu / f64::from(u32::try_from(CALLS)?)).into();
    Ok(report)
}

async fn direct(deployment: &Deployment, run: &str) -> Result<Value> {
    let run = run.to_owned();
    let ask = move |mut client: RunServiceClient<Transport>| {
        let request = GetRunRequest { run_id: run.clone() };
        async move {
            let answer = client.get_run(request).await?.into_inner();
            ensure!(answer.run.is_some_and(|r| r.attempts.len() == 1), "another run");
            Ok(client)
        }
    };
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(RunServiceClient::new(deployment.orchestrator()?));
    }
    load(WARM_UP, clients.clone(), ask.clone()).await?;
    let began = Instant::now();
    let latencies = load(CALLS, clients, ask).await?;
    told(latencies, began.elapsed().as_secs_f64())
}

/// Calls with each client in turns, all clients at once; how long each call took.
async fn load<C, F>(
    calls: usize,
    clients: Vec<C>,
    ask: impl Fn(C) -> F + Clone + Send + 'static,
) -> Result<Vec<Duration>>
where
    C: Send + 'static,
    F: Future<Output = Result<C>> + Send,
{
    let each = calls / clients.len();
    let mut workers = JoinSet::new();
    for mut client in clients {
        let ask = ask.clone();
        workers.spawn(async move {
            let mut latencies = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                client = ask(client).await?;
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

fn told(mut latencies: Vec<Duration>, seconds: f64) -> Result<Value> {
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[latencies.len() * p / 100].as_micros();
    let calls = f64::from(u32::try_from(latencies.len())?);
    Ok(json!({
        "calls": latencies.len(),
        "p50_us": u64::try_from(percentile(50))?,
        "p99_us": u64::try_from(percentile(99))?,
        "calls_per_second": round(calls / seconds),
    }))
}

/// Watchers of a run that waits, then goes on: what they cost while they wait, and that each sees
/// every event once, in order.
async fn watchers(deployment: &Deployment, pid: Pid) -> Result<Value> {
    let rest = &deployment.rest;
    let steps = json!([{ "name": "s", "run": "true", "approval": "before" }]);
    let spec = json!({ "title": "t", "mode": "freeform", "steps": steps });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({ "async": false })).await?;
    let path = format!("/runs/{run}/events");
    let before = memory_mib(pid)?;
    let mut open = Vec::new();
    for _ in 0..WATCHERS {
        let watcher = Rest::new(&deployment.gateway.address, rest.key())?;
        let request = watcher.request(Method::GET, &path).header("accept", "text/event-stream");
        let mut response = request.send().await?;
        ensure!(response.status() == 200, "{}", response.status());
        let first = response.chunk().await?.context("a first event")?;
        open.push((watcher, response, String::from_utf8(first.to_vec())?));
    }
    let mib = memory_mib(pid)? - before;
    let mut readers = JoinSet::new();
    for (watcher, mut response, mut text) in open {
        readers.spawn(async move {
            while let Some(chunk) = response.chunk().await? {
                text.push_str(std::str::from_utf8(&chunk)?);
            }
            drop(watcher);
            Ok::<_, anyhow::Error>(text)
        });
    }
    rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    let mut events = 0;
    let read = async {
        while let Some(text) = readers.join_next().await {
            let text = text??;
            let ids = text.lines().filter_map(|l| l.strip_prefix("id: "));
            let ids: Vec<usize> = ids.map(str::parse).collect::<Result<_, _>>()?;
            ensure!(ids.iter().copied().eq(1..=ids.len()), "not every event in order: {ids:?}");
            ensure!(text.contains("event: end\n"), "no end");
            ensure!(events == 0 || events == ids.len(), "{events} events and {}", ids.len());
            events = ids.len();
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, read).await.context("the watchers did not end in time")??;
    Ok(json!({ "watchers": WATCHERS, "events_each": events, "mib": round(mib) }))
}

/// Somebody of another tenant, who is an admin there and may ask for everything by its id.
async fn stranger(rest: &Rest) -> Result<(Rest, String)> {
    let tenant = rest.post("/tenants", &json!({ "name": "strangers" })).await?.with(201)?;
    let tenant = tenant["data"]["id"].as_str().context("an id")?.to_owned();
    let user = json!({ "email": "stranger@other.example", "role": "admin" });
    let user = rest.post(&format!("/tenants/{tenant}/users"), &user).await?.with(201)?;
    let key = user["data"]["attributes"]["api_key"].as_str().context("a key")?;
    Ok((rest.with_key(key), tenant))
}

/// For each kind of object: how long a 404 takes for another tenant's and for one that does not
/// exist, and the ratio of the two medians.
async fn strangers(rest: &Rest, run: &str) -> Result<Value> {
    let id = |value: &Value| value["data"]["id"].as_str().map(str::to_owned).context("an id");
    let steps = json!([{ "name": "s", "run": "true", "approval": "before" }]);
    let spec = json!({ "title": "t", "mode": "freeform", "steps": steps });
    let spec = rest.planned(&spec).await?;
    let waits = rest.run(&spec, &json!({ "async": false })).await?;
    let gates = rest.get(&format!("/approvals?run_id={waits}")).await?.with(200)?;
    let gate = gates["data"][0]["id"].as_str().context("a gate")?.to_owned();
    let hook = json!({ "url": "http://127.0.0.1:9/hook", "events": ["run.canceled"] });
    let hook = id(&rest.post("/webhooks", &hook).await?.with(201)?)?;
    let caller = id(&rest.get("/caller").await?.with(200)?)?;
    let key = json!({ "name": "k", "role": "viewer" });
    let key = id(&rest.post(&format!("/tenants/{caller}/keys"), &key).await?.with(201)?)?;
    let (stranger, tenant) = stranger(rest).await?;
    let keys = format!("/tenants/{tenant}/keys");
    let mut told = serde_json::Map::new();
    for (name, method, before, id, after) in [
        ("run", Method::GET, "/runs", run, ""),
        ("run_events", Method::GET, "/runs", run, "/events"),
        ("run_patch", Method::GET, "/runs", run, "/artifacts/patch"),
        ("run_settings", Method::GET, "/runs", run, "/settings"),
        ("run_cancel", Method::POST, "/runs", run, "/cancel"),
        ("spec", Method::GET, "/specs", &spec, ""),
        ("plan", Method::POST, "/specs", &spec, "/plan"),
        ("gate", Method::POST, "/approvals", &gate, "/reject"),
        ("webhook", Method::GET, "/webhooks", &hook, ""),
        ("webhook_delete", Method::DELETE, "/webhooks", &hook, ""),
        ("key", Method::DELETE, &keys, &key, ""),
    ] {
        // as far from the other as two ids of one time are
        let unknown = format!("{}{}", &id[..24], "0123456789ab");
        let foreign = (format!("{before}/{id}{after}"), Vec::with_capacity(STRANGERS));
        let unknown = (format!("{before}/{unknown}{after}"), Vec::with_capacity(STRANGERS));
        let mut both = [foreign, unknown];
        for _ in 0..STRANGERS {
            for (path, took) in &mut both {
                let began = Instant::now();
                let answer = stranger.request(method.clone(), path).send().await?;
                let status = answer.status();
                answer.bytes().await?;
                took.push(began.elapsed());
                ensure!(status == 404, "{method} {path}: {status}");
            }
            // whoever goes first would pay for what the other finds done
            both.reverse();
        }
        let [foreign, unknown] = both.map(|(_, mut took)| {
            took.sort_unstable();
            took[took.len() / 2].as_secs_f64() * 1e6
        });
        let ratio = (foreign / unknown * 1000.0).round() / 1000.0;
        let medians = json!({
            "foreign_us": round(foreign), "unknown_us": round(unknown), "ratio": ratio,
        });
        told.insert(name.to_owned(), medians);
    }
    Ok(Value::Object(told))
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
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

/// Memory of a process that is its own, in MiB.
fn memory_mib(pid: Pid) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
