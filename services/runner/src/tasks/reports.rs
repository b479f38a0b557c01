//! JUnit reports that a step wrote, and the most that its tests did in this run.

use crate::core::tally::{Tally, junit};
use crate::error::{Error, doing};
use crate::folders::RunFolder;
use crate::nofollow;
use meta_domain::plan::{Command, PlannedStep};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Reports of one execution that are read.
const REPORTS_MAX: usize = 200;
/// Bytes of a report.
const REPORT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Folders in which tools leave reports by themselves.
const FOLDERS: &[&str] =
    &["", "target/surefire-reports", "build/test-results/test", "test-results", "reports"];

/// A time to compare with those of files.
pub(super) fn now() -> SystemTime {
    let ms = u64::try_from(meta_runtime::now().0).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(ms)
}

/// The tally of the reports that were written since `since`.
pub(super) fn read(workspace: &Path, mount: &Path, step: &PlannedStep, since: SystemTime) -> Tally {
    let mut tally = Tally::default();
    for path in candidates(workspace, mount, step).into_iter().take(REPORTS_MAX) {
        let Some(file) = nofollow::open_file(workspace, &path) else { continue };
        let fresh =
            file.metadata().ok().and_then(|m| m.modified().ok()).is_some_and(|m| m >= since);
        let mut bytes = Vec::new();
        if fresh && file.take(REPORT_BYTES_MAX).read_to_end(&mut bytes).is_ok() {
            tally.add(junit::read(&String::from_utf8_lossy(&bytes)));
        }
    }
    tally
}

/// Files that may be reports: those that the step names, and what lies where tools put them.
fn candidates(workspace: &Path, mount: &Path, step: &PlannedStep) -> BTreeSet<PathBuf> {
    let mut words: Vec<&str> = match &step.run {
        Command::Shell(line) => line.split_whitespace().collect(),
        Command::Argv(words) => words.iter().map(String::as_str).collect(),
    };
    words.extend(step.env.values().map(String::as_str));
    let named = words
        .iter()
        .flat_map(|word| word.split(['=', ';', '"', '\'', ',']))
        .filter(|word| is_report(word))
        .map(|word| Path::new(word).strip_prefix(mount).unwrap_or(Path::new(word)).to_owned());
    let mut found: BTreeSet<PathBuf> = named.filter(|path| is_plain(path)).collect();
    for folder in FOLDERS {
        let entries = std::fs::read_dir(workspace.join(folder)).into_iter().flatten().flatten();
        let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
        let reports =
            names.filter(|name| is_report(name) && (!folder.is_empty() || is_named(name)));
        found.extend(reports.take(REPORTS_MAX).map(|name| Path::new(folder).join(name)));
    }
    found
}

fn is_report(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("xml"))
}

/// In the workspace's own folder only files whose name says so.
fn is_named(name: &str) -> bool {
    let lower = name.to_lowercase();
    ["junit", "test", "report"].iter().any(|word| lower.contains(word))
}

fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The most that the step's tests did in this run so far.
pub(super) fn most(run: &RunFolder, step: &str) -> Tally {
    let text = std::fs::read(run.tally(step)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Keeps what an execution's tests did, where it is more than before.
pub(super) fn remember(run: &RunFolder, step: &str, tally: Tally) -> Result<(), Error> {
    if tally.is_empty() {
        return Ok(());
    }
    let what = || doing("cannot keep the tests' numbers");
    let path = run.tally(step);
    if let Some(folder) = path.parent() {
        nofollow::make_own(folder, None)?;
    }
    let before = most(run, step);
    let text = serde_json::to_vec(&before.most(tally))
        .map_err(|e| Error::failed(format!("cannot keep the tests' numbers: {e}")))?;
    let mut file = tempfile::NamedTempFile::new_in(run.root()).map_err(what())?;
    std::io::Write::write_all(&mut file, &text).map_err(what())?;
    file.persist(&path).map_err(|e| what()(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn step(line: &str) -> PlannedStep {
        PlannedStep {
            run: Command::Shell(line.to_owned()),
            env: BTreeMap::from([("JEST_JUNIT_OUTPUT_FILE".into(), "out/jest.xml".into())]),
            ..serde_json::from_value(serde_json::json!({
                "name": "t", "run": "t", "needs": [], "timeout_ms": 0, "cache": [], "fix": null,
                "env": {}, "network": false, "writable": [], "approval": "never", "why": "",
            }))
            .unwrap()
        }
    }

    #[test]
    fn reports_are_found_where_the_step_says_and_links_are_not_followed() {
        let ws = tempfile::tempdir().unwrap();
        let root = ws.path();
        std::fs::create_dir_all(root.join("out")).unwrap();
        std::fs::create_dir_all(root.join("target/surefire-reports")).unwrap();
        let case = "<testcase name=\"a\"/>";
        for name in ["out/jest.xml", "out/py.xml", "target/surefire-reports/TEST-A.xml", "pom.xml"]
        {
            std::fs::write(root.join(name), case.replace("a\"", &format!("{name}\""))).unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(elsewhere.path().join("x.xml"), case).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.join("link")).unwrap();
        let line = "pytest --junitxml=/workspace/out/py.xml; cat link/x.xml ../up.xml";
        let old = SystemTime::UNIX_EPOCH;
        let tally = read(root, Path::new("/workspace"), &step(line), old);
        assert_eq!(tally.tools["junit"].executed, 3, "{tally:?}");
        let later = now() + std::time::Duration::from_mins(1);
        assert!(read(root, Path::new("/workspace"), &step(line), later).is_empty());
    }
}
