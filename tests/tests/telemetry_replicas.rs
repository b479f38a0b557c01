//! Two orchestrators on one database, which both change the same runs: what they count together is
//! what the runs did. They are in this process, so their counters are the same ones, and nothing
//! else may count here: this file has one test.

use anyhow::{Context, Result};
use meta_proto::orchestrator as pb;
use meta_storage::testing::Postgres;
use meta_telemetry::catalogue::{AUTOFIX_ATTEMPTS, AUTOFIX_BACKOFF, AUTOFIX_PASSED, CLASSIFIED};
use meta_tests::stack::{Stack, Without};

/// Runs; each has a step that fails twice and passes then.
const RUNS: usize = 6;
/// What the step prints when it fails.
const REFUSED: &str =
    "curl: (7) Failed to connect to registry.example port 443: Connection refused\n";

#[tokio::test(flavor = "multi_thread")]
async fn two_orchestrators_together_count_every_event_once() -> Result<()> {
    let database = Postgres::database().await.to_setting();
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    // logs are where both find them
    let objects = tempfile::tempdir()?;
    let mut stacks = Vec::new();
    for folder in &folders {
        let config = orchestrator::Config {
            data_dir: folder.path().to_owned(),
            database: database.as_str().into(),
            objects: Some(format!("file://{}", objects.path().display())),
            limits: orchestrator::config::Limits::NONE,
            ..Default::default()
        };
        let vars = [("META_V3_BACKOFF_CAP_SECONDS", "0")];
        stacks.push(Stack::with(config, &vars, Without::default()).await?);
    }
    let [one, other] = stacks.as_slice() else { unreachable!("two were started") };
    let mut runs = Vec::new();
    for n in 0..RUNS {
        let at = if n % 2 == 0 { one } else { other };
        runs.push(at.created("[[step]]\nname = 'fetch'\nrun = 'fetch'\n").await?);
    }
    for n in 0..RUNS {
        let at = if n % 2 == 0 { other } else { one };
        at.prepare(&[]).await?;
    }
    for turn in 0..3 {
        for n in 0..RUNS {
            // taken from one, reported to the other
            let (from, to) = if n % 2 == 0 { (one, other) } else { (other, one) };
            let (task, _) = from.next_step().await?;
            to.end_step(&task, if turn < 2 { 7 } else { 0 }, REFUSED).await?;
        }
    }
    let mut told = 0;
    for run in &runs {
        one.until_status(run, pb::RunStatus::Succeeded).await?;
        let events = one.events(run).await?;
        told += events.iter().filter(|e| e.r#type == "autofix.retry").count();
    }
    let told = u64::try_from(told)?;
    assert_eq!(told, 2 * u64::try_from(RUNS)?);
    let labels = ["transient", "retried"];
    assert_eq!(AUTOFIX_ATTEMPTS.value(&labels), told);
    assert_eq!(AUTOFIX_PASSED.value(&labels), told);
    assert_eq!(CLASSIFIED.value(&labels[..1]), told);
    let page = meta_telemetry::exposition::render(false);
    let line = page.lines().find(|l| l.starts_with("autofix_backoff_seconds_count"));
    assert_eq!(line.context("a histogram")?, format!("autofix_backoff_seconds_count {told}"));
    assert_eq!(AUTOFIX_BACKOFF.0.definition.name, "autofix_backoff_seconds");
    for stack in stacks {
        stack.end().await?;
    }
    Ok(())
}
