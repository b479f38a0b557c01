//! A database file that lost its tail, or has a bit turned: it opens as it was after some whole
//! commit, or it is refused. What is read is never something that was not written.

use anyhow::{Context, Result, ensure};
use meta_domain::id::RunId;
use meta_proto::orchestrator as pb;
use meta_storage::Location;
use meta_tests::stack::{Stack, Without};
use orchestrator::store::Tables;
use std::path::Path;

/// Runs whose logs are looked for.
const RUNS: usize = 6;
/// Damaged copies of each kind.
const COPIES: u64 = 50;
/// More events than any run has.
const EVENTS: i64 = 10_000;
const STEPS: &str = "[[step]]\nname = \"a\"\nrun = \"true\"\n[[step]]\nname = \"b\"\nrun = \"true\"\nneeds = [\"a\"]\n";
const FILES: [&str; 2] = ["metabuilder.db", "metabuilder.db-wal"];

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}

/// What became of a damaged copy.
#[derive(Debug, Default)]
struct Tally {
    /// Everything is there.
    whole: u64,
    /// It is as it was after an earlier commit.
    earlier: u64,
    /// Opening, reading or verifying said that it is broken.
    refused: u64,
}

/// What each run's log says, in the order in which all of it was committed.
type Log = Vec<(RunId, u64, String)>;

/// A folder with a database that was just killed, and what was committed to it.
async fn killed() -> Result<(tempfile::TempDir, Log)> {
    let folder = tempfile::tempdir()?;
    let live = folder.path().join("live");
    std::fs::create_dir(&live)?;
    let stack = Stack::on(&live, &[], Without::default()).await?;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let run = stack.run(STEPS, &[]).await?;
        stack.step(0, "").await?;
        stack.step(0, "").await?;
        stack.until_status(&run, pb::RunStatus::Succeeded).await?;
        runs.push(run.parse::<RunId>()?);
    }
    for file in FILES {
        std::fs::copy(live.join(file), folder.path().join(file))
            .with_context(|| file.to_owned())?;
    }
    stack.end().await?;
    let log = log(folder.path(), &runs).await?;
    ensure!(log.len() > RUNS * 5, "there is something to lose: {} events", log.len());
    Ok((folder, log))
}

fn location(folder: &Path) -> Result<Location> {
    let config = orchestrator::Config { data_dir: folder.to_owned(), ..Default::default() };
    config.location().map_err(|e| anyhow::anyhow!("{e}"))
}

/// The runs' events as the tables have them; an error when anything about them is broken.
async fn log(folder: &Path, runs: &[RunId]) -> Result<Log> {
    // A copy, since opening a database changes it.
    let copy = tempfile::tempdir()?;
    for file in FILES.iter().filter(|file| folder.join(file).exists()) {
        std::fs::copy(folder.join(file), copy.path().join(file))?;
    }
    let tables = Tables::open(&location(copy.path())?).await?;
    let mut log = Vec::new();
    for run in runs {
        let events = tables.events(*run, 0, EVENTS).await?;
        if !events.is_empty() {
            let found = tables.verify(*run).await?;
            ensure!(found.problems.is_empty(), "{run}: {:?}", found.problems);
        }
        for event in events {
            let said = (event.event_type, event.step, event.at.0, event.body);
            log.push((*run, event.seq, format!("{said:?}")));
        }
    }
    Ok(log)
}

async fn damaged(what: &str, damage: impl Fn(&Path, &mut Numbers) -> Result<()>) -> Result<Tally> {
    let (folder, whole) = killed().await?;
    let mut runs: Vec<RunId> = whole.iter().map(|(run, ..)| *run).collect();
    runs.dedup();
    let mut tally = Tally::default();
    for seed in 0..COPIES {
        let copy = tempfile::tempdir()?;
        for file in FILES {
            std::fs::copy(folder.path().join(file), copy.path().join(file))?;
        }
        damage(copy.path(), &mut Numbers(seed)).with_context(|| format!("{what}, seed {seed}"))?;
        match log(copy.path(), &runs).await {
            Err(_) => tally.refused += 1,
            Ok(found) if found == whole => tally.whole += 1,
            Ok(found) => {
                ensure!(
                    whole.starts_with(&found),
                    "{what}, seed {seed}: silently something else: {found:#?}"
                );
                tally.earlier += 1;
            }
        }
    }
    eprintln!("{what}: {tally:?}");
    Ok(tally)
}

fn cut(path: &Path, numbers: &mut Numbers) -> Result<()> {
    let length = usize::try_from(path.metadata()?.len())?;
    let file = std::fs::File::options().write(true).open(path)?;
    Ok(file.set_len(u64::try_from(numbers.below(length))?)?)
}

fn turn_a_bit(path: &Path, numbers: &mut Numbers) -> Result<()> {
    let mut bytes = std::fs::read(path)?;
    let at = numbers.below(bytes.len());
    bytes[at] ^= 1 << numbers.below(8);
    Ok(std::fs::write(path, bytes)?)
}

/// Brings what the log of changes holds into the database file itself.
fn settle(folder: &Path) -> Result<()> {
    let done = std::process::Command::new("sqlite3")
        .arg(folder.join(FILES[0]))
        .arg("PRAGMA wal_checkpoint(TRUNCATE)")
        .output()
        .context("sqlite3")?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_changes_that_lost_its_tail_opens_at_the_last_whole_commit() -> Result<()> {
    let tally = damaged("cut wal", |folder, numbers| cut(&folder.join(FILES[1]), numbers)).await?;
    assert!(tally.earlier > 0, "{tally:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_turned_in_the_log_of_changes_ends_it_there() -> Result<()> {
    let turn = |folder: &Path, numbers: &mut Numbers| turn_a_bit(&folder.join(FILES[1]), numbers);
    let tally = damaged("bit in wal", turn).await?;
    assert!(tally.earlier > 0, "{tally:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_cut_is_refused() -> Result<()> {
    let tally = damaged("cut database", |folder, numbers| {
        settle(folder)?;
        cut(&folder.join(FILES[0]), numbers)
    });
    let tally = tally.await?;
    assert!(tally.refused > 0, "{tally:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_turned_in_the_database_changes_no_event_unseen() -> Result<()> {
    let tally = damaged("bit in database", |folder, numbers| {
        settle(folder)?;
        turn_a_bit(&folder.join(FILES[0]), numbers)
    });
    let tally = tally.await?;
    assert!(tally.whole > 0, "most of a file is free, or of no run: {tally:?}");
    Ok(())
}
