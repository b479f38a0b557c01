//! A project beside a data folder, built by the command line, and what it told.

use super::{Ended, LIMIT, Snapshot, git, metabuilder, snapshot, write_files};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// No wait before retries, two turns a step.
pub const QUICK: [(&str, &str); 2] =
    [("META_V3_BACKOFF_CAP_SECONDS", "0"), ("META_V3_MAX_PER_STEP_ATTEMPTS", "2")];

/// A project beside a data folder.
pub struct Place {
    dir: TempDir,
    /// The project as it was.
    pub before: Snapshot,
}

impl Place {
    /// A project of these files.
    pub fn new(files: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        write_files(&dir.path().join("project"), files)?;
        let before = snapshot(&dir.path().join("project"))?;
        Ok(Self { dir, before })
    }

    /// The same, committed to a repository.
    pub fn committed(files: &[(&str, &str)]) -> Result<Self> {
        let mut place = Self::new(files)?;
        let project = place.project();
        git(&project, &["init", "-q"])?;
        git(&project, &["add", "."])?;
        git(&project, &["commit", "-qm", "start"])?;
        place.before = snapshot(&project)?;
        Ok(place)
    }

    /// The folder of everything.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The project.
    pub fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// A path beside the project.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The variables of a call.
    pub fn vars<'a>(data: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [&[("METABUILDER_DATA", data)], more].concat()
    }

    /// Runs the command line to its end.
    pub async fn run(&self, args: &[&str], vars: &[(&str, &str)]) -> Result<Ended> {
        let data = self.path("data");
        metabuilder(self.dir.path(), args, &Self::vars(&data, vars)).await
    }

    /// Builds with `--output json`; the exit code and the events.
    pub async fn build(&self, more: &[&str], vars: &[(&str, &str)]) -> Result<(Ended, Vec<Value>)> {
        let args = [&["build", "project", "--output", "json"], more].concat();
        let ended = self.run(&args, vars).await?;
        let events = events(&ended)?;
        Ok((ended, events))
    }

    /// Makes sure that nobody touched the project.
    pub fn untouched(&self) -> Result<()> {
        ensure!(snapshot(&self.project())? == self.before, "the project was touched");
        Ok(())
    }
}

/// The events that a command printed: each line is one object with `event`.
pub fn events(ended: &Ended) -> Result<Vec<Value>> {
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(value["event"].is_string(), "no event: {line}");
        Ok(value)
    };
    ended.out.lines().map(line).collect()
}

/// The kinds of the events that happened to a step, in order.
pub fn of_step<'a>(events: &'a [Value], step: &str) -> Vec<&'a str> {
    events.iter().filter(|e| e["step"] == step).filter_map(|e| e["event"].as_str()).collect()
}

/// The one event of a kind.
pub fn one<'a>(events: &'a [Value], kind: &str) -> Result<&'a Value> {
    let mut found = events.iter().filter(|e| e["event"] == kind);
    let first = found.next().with_context(|| format!("no {kind} in {events:#?}"))?;
    ensure!(found.next().is_none(), "{kind} more than once");
    Ok(first)
}

/// A command line that is nobody else's, so that its processes can be told from others.
pub fn sleeper() -> String {
    format!("sleep 9{}.{}", std::process::id(), meta_runtime::new_id().as_u128() % 1_000_000_007)
}

/// How many processes of this machine have this in their command line.
pub fn alive(what: &str) -> usize {
    let words: Vec<&str> = what.split(' ').collect();
    let line = words.join("\0");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.filter(|l| String::from_utf8_lossy(l).trim_end_matches('\0') == line).count()
}

/// Waits until that many such processes live.
pub async fn until_alive(what: &str, count: usize) -> Result<()> {
    let waited = tokio::time::timeout(LIMIT, async {
        while alive(what) != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.with_context(|| format!("{} of {what} live, not {count}", alive(what)))
}
