//! Flag-resolvers as processes of their own on one PostgreSQL: what one writes the other knows,
//! a killed one loses nothing, and without the database what is kept serves.

use anyhow::{Context, Result, ensure};
use meta_domain::id::TenantId;
use meta_proto::flags as pb;
use meta_runtime::new_id;
use meta_storage::testing::Postgres;
use meta_tests::processes::{Deployment, FlagResolver, LIMIT, Writer, run_id};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

/// A change is to be in force everywhere within this time.
const IN_FORCE: Duration = Duration::from_secs(1);
/// Writers of one override in a round, and rounds.
const WRITERS: u32 = 20;
const ROUNDS: u64 = 10;
/// Parallel streams of writes, and the acknowledged writes after which the server is killed.
const STREAMS: u32 = 8;
const ACKNOWLEDGED: usize = 100;
/// Fails the first time; its cache remembers.
const FLAKY: &str = "if [ -f state/seen ]; then echo ok; else touch state/seen; \
    echo 'curl: (7) Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";

/// Two of them on one empty database.
async fn two(folder: &Path) -> Result<[FlagResolver; 2]> {
    let database = Postgres::database().await.to_setting();
    let start = async |name| FlagResolver::start(&folder.join(name), &database).await;
    Ok([start("one").await?, start("other").await?])
}

async fn next(stream: &mut Streaming<pb::WatchResponse>) -> Result<(u32, u64)> {
    let message = tokio::time::timeout(LIMIT, stream.message()).await??.context("a message")?;
    let settings = message.resolved.and_then(|r| r.settings).context("settings")?;
    Ok((settings.max_total_attempts, message.version))
}

#[tokio::test]
async fn a_write_through_one_is_seen_by_a_watcher_of_the_other_within_a_second() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [one, other] = two(folder.path()).await?;
    let tenant = TenantId(new_id());
    let (mut writer, mut reader) = (one.writer(tenant)?, other.writer(tenant)?);
    let mut stream = reader.watch().await?;
    next(&mut stream).await?;
    let mut times = Vec::new();
    for n in 1..=20 {
        let version = writer.set("", n, None).await?.override_version;
        let acknowledged = Instant::now();
        ensure!(next(&mut stream).await? == (n, version), "in their order");
        times.push(acknowledged.elapsed());
        ensure!(reader.total("").await? == n, "who asks afterwards is told the same");
    }
    times.sort_unstable();
    let (middle, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "of 20 changes the middle one was seen after {middle:?}, the slowest after {slowest:?}"
    );
    ensure!(middle < IN_FORCE, "a busy machine may delay some, but not half of them: {times:?}");
    Ok(())
}

/// Writes until the server is gone: what was acknowledged, each with its version.
async fn write_on(mut writer: Writer, of: u32, done: tokio::sync::mpsc::Sender<()>) -> Vec<Acked> {
    let mut acked = Vec::new();
    for n in 0.. {
        let (run, total) = (run_id(), (of + n) % 20 + 1);
        match writer.set(&run, total, None).await {
            Ok(outcome) => acked.push((run, total, outcome.override_version)),
            Err(_) => break,
        }
        // nobody counts any more after the kill
        let _ = done.send(()).await;
    }
    acked
}

type Acked = (String, u32, u64);

#[tokio::test]
async fn a_server_killed_in_the_middle_of_writes_loses_none_that_it_acknowledged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [one, other] = two(folder.path()).await?;
    let tenant = TenantId(new_id());
    let (sender, mut done) = tokio::sync::mpsc::channel(1);
    let mut streams = JoinSet::new();
    for of in 0..STREAMS {
        streams.spawn(write_on(one.writer(tenant)?, of, sender.clone()));
    }
    drop(sender);
    for _ in 0..ACKNOWLEDGED {
        done.recv().await.context("writes are acknowledged")?;
    }
    let killed = one.service.process.kill().await?;
    ensure!(killed.signal == Some(9));
    while done.recv().await.is_some() {}
    let acked: Vec<Acked> = streams.join_all().await.into_iter().flatten().collect();
    ensure!(acked.len() >= ACKNOWLEDGED);
    let mut reader = other.writer(tenant)?;
    let history = reader.history().await?;
    let versions: Vec<u64> = history.iter().rev().map(|c| c.version).collect();
    ensure!(versions.iter().copied().eq(1..=versions.len() as u64), "dense: {versions:?}");
    for (run, total, version) in &acked {
        let change = history.iter().find(|c| c.version == *version).context("a lost write")?;
        let after = change.after.and_then(|o| o.max_total_attempts);
        ensure!((&change.run_id, after) == (run, Some(*total)), "{change:?}");
    }
    let newest = reader.set("", 7, None).await?;
    ensure!(newest.override_version == versions.len() as u64 + 1, "the next version");
    for (run, total, _) in &acked {
        ensure!(reader.total(run).await? == *total);
    }
    println!("{} acknowledged, {} stored, none lost", acked.len(), history.len());
    Ok(())
}

#[tokio::test]
async fn of_parallel_writers_through_both_that_read_the_same_one_wins_each_round() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let both = two(folder.path()).await?;
    let tenant = TenantId(new_id());
    let mut version = 0;
    for round in 1..=ROUNDS {
        let other = if round % 2 == 0 { 10 } else { 0 };
        let mut writes = JoinSet::new();
        for n in 0..WRITERS {
            let mut writer = both[(n % 2) as usize].writer(tenant)?;
            writes.spawn(async move { writer.set("", n % 10 + 1 + other, Some(version)).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            writes.join_all().await.into_iter().partition(Result::is_ok);
        ensure!(won.len() == 1, "round {round}: {} won", won.len());
        for status in lost.into_iter().filter_map(Result::err) {
            ensure!(status.code() == Code::Aborted, "{status}");
        }
        version = won.into_iter().next().context("a winner")??.override_version;
        ensure!(version == round, "no version is used up by who loses");
    }
    ensure!(both[0].writer(tenant)?.history().await?.len() as u64 == ROUNDS);
    Ok(())
}

/// Asks until the answer is as wanted.
async fn until(
    writer: &mut Writer,
    wanted: impl Fn(&pb::ResolveResponse) -> bool,
) -> Result<pb::ResolveResponse> {
    let asking = async {
        loop {
            let answer = writer.resolve("").await?;
            if wanted(&answer) {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, asking).await.context("it does not come to that in time")?
}

/// Waits until a file holds a snapshot of a version.
async fn kept(file: &Path, version: u64) -> Result<()> {
    let looking = async {
        loop {
            let text = tokio::fs::read(file).await.unwrap_or_default();
            let document: Value = serde_json::from_slice(&text).unwrap_or_default();
            if document["snapshot"]["version"] == version {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.with_context(|| format!("{}", file.display()))
}

#[tokio::test]
async fn a_killed_server_serves_what_is_kept_while_its_database_is_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Postgres::own().await;
    let database = server.empty().await.to_setting();
    let first = FlagResolver::start(&data, &database).await?;
    let tenant = TenantId(new_id());
    let version = first.writer(tenant)?.set("", 7, None).await?.version;
    kept(&data.join("flag-resolver-snapshot.json"), version).await?;
    first.service.process.kill().await?;
    server.crash().await;
    let began = Instant::now();
    let second = FlagResolver::start(&data, &database).await?;
    second.serves().await?;
    println!("serves what is kept {:?} after its start", began.elapsed());
    let mut writer = second.writer(tenant)?;
    ensure!(writer.total("").await? == 7);
    let stale = until(&mut writer, |answer| answer.stale).await?;
    ensure!(stale.version == version && stale.stale_ms > 0);
    let refused = writer.set("", 8, None).await.err().context("nothing can be stored")?;
    ensure!(refused.code() == Code::Unavailable, "{refused}");
    server.start().await;
    until(&mut writer, |answer| !answer.stale).await?;
    ensure!(writer.set("", 8, None).await?.override_version == version + 1);
    second.service.process.stop().await?;
    Ok(())
}

/// An orchestrator that starts while the flag-resolver is down decides by what it wrote down: with
/// nothing known auto-fix would be off, and the run could not be healed.
#[tokio::test]
async fn an_orchestrator_that_starts_without_the_flag_resolver_recalls_its_settings() -> Result<()>
{
    let mut deployment = Deployment::start().await?;
    let spec = json!({
        "title": "to be healed",
        "mode": "freeform",
        "source": { "kind": "inline", "files": { "a.txt": "a\n" } },
        "steps": [{ "name": "flaky", "run": FLAKY, "cache": ["state"] }],
    });
    let spec = deployment.rest.planned(&spec).await?;
    let resolver = FlagResolver { service: deployment.take("flag-resolver")? };
    let version = resolver.writer(TenantId(new_id()))?.set("", 7, None).await?.version;
    let file = deployment.folder.path().join("orchestrator/flags-snapshot.json");
    kept(&file, version).await?;
    resolver.service.process.kill().await?;
    deployment.kill("orchestrator").await?;
    deployment.start_again("orchestrator").await?;
    let recalled = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "recalled the settings").then(|| line["version"].clone())
    };
    let process = &mut deployment.service_mut("orchestrator")?.process;
    ensure!(process.until(recalled).await? == version);
    let run = deployment.rest.run(&spec, &json!({})).await?;
    deployment.rest.until_status(&run, "succeeded").await?;
    let events = deployment.rest.events(&run).await?;
    let healed = events.iter().any(|e| e["type"].as_str().is_some_and(|t| t.contains("attempt")));
    ensure!(healed, "{events:#?}");
    Ok(())
}
