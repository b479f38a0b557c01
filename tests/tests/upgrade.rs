//! A database that an earlier version wrote is brought to this version's schema, and what was under
//! way in it goes on.
//!
//! `tests/fixtures/schemas` holds one dump a schema and engine, written by the product of that time.
//! Before a release, add one of the schema that it brings:
//!
//! ```text
//! RECORD_SCHEMA=1 cargo test -p meta-tests --test upgrade
//! ```

use anyhow::{Context, Result, ensure};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::run_control_service_client::RunControlServiceClient;
use meta_storage::Location;
use meta_storage::testing::Fresh;
use meta_tests::stack::{Stack, Without, owner};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/schemas");
const MIGRATIONS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../services/orchestrator/migrations/sqlite");
/// A run that is over, and one that waits for a human.
const OVER: &str = "[[step]]\nname = \"only\"\nrun = \"true\"\n";
const WAITS: &str = "[[step]]\nname = \"ask\"\nrun = \"true\"\napproval = \"before\"\n";

async fn stack(location: &Location, folder: &Path) -> Result<Stack> {
    let config = orchestrator::Config {
        data_dir: folder.to_owned(),
        database: location.into(),
        own_leases: true,
        retention_days: 0,
        limits: orchestrator::config::Limits::NONE,
        ..Default::default()
    };
    Stack::with(config, &[], Without::default()).await
}

/// The programs of an engine, wherever they are.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|v| v.path().join("bin").join(name)).filter(|p| p.is_file()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| name.into())
}

/// Lets a program read a text, and answers what it says.
fn told(program: &Path, arguments: &[&str], text: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.display().to_string())?;
    child.stdin.take().context("its input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", program.display());
    Ok(String::from_utf8(output.stdout)?)
}

fn load(location: &Location, dump: &str) -> Result<()> {
    let setting = location.to_setting();
    match location {
        Location::Sqlite(_) => told(&program("sqlite3"), &["-bail", &setting], dump),
        Location::Postgres(_) => {
            told(&program("psql"), &["-qX", "-v", "ON_ERROR_STOP=1", "-d", &setting], dump)
        }
    }
    .map(drop)
}

/// Everything in a database, without what depends on the version of the engine's programs.
fn dump(location: &Location) -> Result<String> {
    let setting = location.to_setting();
    let text = match location {
        Location::Sqlite(_) => told(&program("sqlite3"), &[&setting, ".dump"], "")?,
        Location::Postgres(_) => {
            let how = ["--inserts", "--no-owner", "--no-privileges", "-d", &setting];
            told(&program("pg_dump"), &how, "")?
        }
    };
    let stays = |line: &&str| {
        !["SET ", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict", "--"]
            .iter()
            .any(|start| line.starts_with(start))
            && !line.is_empty()
    };
    Ok(text.lines().filter(stays).flat_map(|line| [line, "\n"]).collect())
}

async fn ended(stack: &Stack, run: &str) -> Result<()> {
    stack.until_status(run, pb::RunStatus::Succeeded).await?;
    let request = pb::VerifyRunRequest { run_id: run.to_owned() };
    let mut control = RunControlServiceClient::new(stack.orchestrator.clone());
    let found = control.verify_run(owner(request)).await?.into_inner();
    ensure!(found.problems.is_empty(), "{run}: {:?}", found.problems);
    Ok(())
}

/// Writes what an earlier version would have left behind.
async fn record(fresh: Fresh, file: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stack = stack(fresh.location(), folder.path()).await?;
    let over = stack.run(OVER, &[]).await?;
    stack.step(0, "done\n").await?;
    ended(&stack, &over).await?;
    let waits = stack.run(WAITS, &[]).await?;
    stack.until_status(&waits, pb::RunStatus::PausedAwaitingApproval).await?;
    stack.end().await?;
    Ok(std::fs::write(file, dump(fresh.location())?)?)
}

/// Opens what an earlier version left, and goes on with it.
async fn upgraded(fresh: Fresh, file: &Path) -> Result<()> {
    load(fresh.location(), &std::fs::read_to_string(file)?)?;
    let folder = tempfile::tempdir()?;
    let stack = stack(fresh.location(), folder.path()).await?;
    let request = pb::ListRunsRequest { page_size: 10, ..Default::default() };
    let runs = stack.runs().list_runs(owner(request)).await?.into_inner().runs;
    ensure!(runs.len() == 2, "both runs are there: {runs:#?}");
    for run in &runs {
        if run.status() == pb::RunStatus::PausedAwaitingApproval {
            stack.decide(&run.id, true).await?;
            ensure!(stack.step(0, "").await? == "ask", "the approved step is next");
        }
        ended(&stack, &run.id).await?;
    }
    // And new work can be done.
    let new = stack.run(OVER, &[]).await?;
    stack.step(0, "").await?;
    ended(&stack, &new).await?;
    stack.end().await
}

/// Number of this version's schema.
fn newest() -> Result<String> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(MIGRATIONS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        numbers.extend(name.split_once('_').map(|(number, _)| number.to_owned()));
    }
    numbers.into_iter().max().context("a migration")
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this")]
fn records() -> bool {
    std::env::var("RECORD_SCHEMA").is_ok()
}

async fn from_every_version(engine: &str, fresh: impl AsyncFn() -> Fresh) -> Result<()> {
    let folder = Path::new(FIXTURES);
    let ending = format!(".{engine}.sql");
    if records() {
        record(fresh().await, &folder.join(format!("{}{ending}", newest()?))).await?;
    }
    let mut tried = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(&ending) {
            upgraded(fresh().await, &path).await.with_context(|| path.display().to_string())?;
            tried += 1;
        }
    }
    ensure!(tried > 0, "there is no dump of {engine}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_in_sqlite_goes_on() -> Result<()> {
    from_every_version("sqlite", async || Fresh::sqlite()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_left_in_postgresql_goes_on() -> Result<()> {
    from_every_version("postgres", async || Fresh::postgres().await).await
}
