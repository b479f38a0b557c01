//! Steps that execute `/bin/true`, by a real runner: what the product adds to the start of a process.

use anyhow::{Context, Result, bail};
use meta_proto::orchestrator as pb;
use meta_runtime::{Host, Service};
use meta_tests::stack::{Stack, Without, owner};
use runner::config::SandboxMode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Runs, steps of each in sequence, and runs at once.
const RUNS: usize = 100;
const STEPS: usize = 50;
const AT_ONCE: usize = 50;
/// Tasks that the runner carries out at once.
const CAPACITY: u32 = 32;

/// Steps a second, with or without a sandbox.
pub async fn measure(sandbox: SandboxMode) -> Result<Value> {
    let folder = tempfile::tempdir_in(std::env::current_dir()?.join("../target"))?;
    let config = orchestrator::Config {
        data_dir: folder.path().to_owned(),
        own_leases: true,
        limits: orchestrator::config::Limits::NONE,
        ..Default::default()
    };
    let stack = Arc::new(Stack::with(config, &[], Without::default()).await?);
    let vars: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let host = Host::new(vars).with_peer("orchestrator", stack.orchestrator.clone());
    let config = runner::Config {
        data_dir: folder.path().join("runner"),
        capacity: CAPACITY,
        sandbox,
        ..Default::default()
    };
    let mut wiring = runner::Runner::wire(config, &host).await?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    let running = tokio::spawn(async move {
        let drain = meta_runtime::serve::Drain {
            lame_duck: Duration::ZERO,
            grace: Duration::from_secs(10),
        };
        meta_runtime::serve::run(Vec::new(), &mut wiring, token, drain).await
    });
    let step = |n: usize| {
        let needs = if n == 0 { String::new() } else { format!("needs = ['s{}']\n", n - 1) };
        format!("[[step]]\nname = 's{n}'\nrun = ['/bin/true']\n{needs}")
    };
    let spec = stack.spec(&(0..STEPS).map(step).collect::<String>()).await?;
    run(&stack, &spec).await?;
    let turns = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (stack, spec, turns) = (Arc::clone(&stack), spec.clone(), Arc::clone(&turns));
        clients.spawn(async move {
            while turns.fetch_add(1, Ordering::Relaxed) < RUNS {
                run(&stack, &spec).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    let took = began.elapsed();
    stop.cancel();
    running.await??;
    let steps = RUNS * STEPS;
    let speed = f64::from(u32::try_from(steps)?) / took.as_secs_f64();
    Ok(json!({ "steps": steps, "steps_per_s": speed.round() }))
}

async fn run(stack: &Stack, spec: &str) -> Result<()> {
    let request = pb::CreateRunRequest { spec_id: spec.to_owned(), ..Default::default() };
    let run = stack.runs().create_run(owner(request)).await?.into_inner().run;
    let id = run.context("run")?.id;
    let follow = pb::StreamEventsRequest { run_id: id.clone(), after_seq: 0, follow: true };
    let mut events = stack.runs().stream_events(owner(follow)).await?.into_inner();
    while events.message().await?.is_some() {}
    let ended = stack.get(&id).await?;
    if ended.status() != pb::RunStatus::Succeeded {
        bail!("run {id} ended as {:?}: {}", ended.status(), ended.reason);
    }
    Ok(())
}
