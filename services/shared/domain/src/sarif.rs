//! The fixes that a SARIF 2.1.0 log proposes, as edits of files.
//!
//! A tool that finds faults may say in its log how to mend them. Who applies that is not the tool:
//! [`Fixes::apply`] is a function of the log and of the files as they are. Of each result the first
//! fix counts, whole or not at all; of two that overlap the earlier one; nothing outside of the
//! workspace. What does not fit is left out and said.

mod region;
mod sheet;
mod uri;

use crate::autofix::FileEdit;
use crate::fault::InvalidField;
use region::{Region, Unit};
use serde::Deserialize;
use serde_json::Value;
use sheet::{Replacement, Sheet};
use std::collections::{BTreeMap, BTreeSet};
use uri::Bases;

/// Size of a log, in bytes; a longer one is not read.
pub const SARIF_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Files that the fixes of one log may name; later ones are left out.
pub const SARIF_FILES_MAX: usize = 200;
/// Replacements of one log; fixes behind them are left out.
const REPLACEMENTS_MAX: usize = 5_000;

/// The fixes of a log, in the log's order.
#[derive(Debug)]
pub struct Fixes(Vec<Result<Vec<Change>, String>>);

/// What one fix does to one file.
#[derive(Debug)]
struct Change {
    path: String,
    replacements: Vec<(Region, String)>,
    unit: Unit,
}

/// What came of a log's fixes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The files that change, with their whole new text.
    pub edits: Vec<FileEdit>,
    /// Fixes that were applied.
    pub applied: usize,
    /// Why each other fix was left out.
    pub left_out: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    #[serde(default)]
    version: String,
    runs: Vec<Run>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    #[serde(default)]
    column_kind: Unit,
    #[serde(default)]
    original_uri_base_ids: BTreeMap<String, uri::Location>,
    #[serde(default)]
    artifacts: Vec<uri::Artifact>,
    #[serde(default)]
    results: Option<Vec<Found>>,
}

#[derive(Deserialize)]
struct Found {
    /// Read one by one: a fix that is not well formed takes no other with it.
    #[serde(default)]
    fixes: Option<Vec<Value>>,
    #[serde(default)]
    suppressions: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fix {
    artifact_changes: Vec<ArtifactChange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactChange {
    artifact_location: uri::Location,
    replacements: Vec<Replaced>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replaced {
    deleted_region: Region,
    #[serde(default)]
    inserted_content: Option<Content>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    binary: Option<String>,
}

impl Fixes {
    /// Reads a log. `root` is the absolute path under which the tool saw the workspace: a `file:`
    /// address below it names a file of the workspace.
    ///
    /// # Errors
    /// When the log as a whole cannot be read.
    pub fn read(log: &[u8], root: &str) -> Result<Self, InvalidField> {
        let wrong = |problem: String| InvalidField::new("sarif", problem);
        if log.len() > SARIF_BYTES_MAX {
            let length = log.len();
            return Err(wrong(format!("has {length} bytes (expected at most {SARIF_BYTES_MAX})")));
        }
        let text = log.strip_prefix(b"\xef\xbb\xbf").unwrap_or(log);
        let log: Log = serde_json::from_slice(text)
            .map_err(|e| wrong(format!("is no SARIF log (expected version 2.1.0): {e}")))?;
        if !log.version.is_empty() && !log.version.starts_with("2.") {
            return Err(wrong(format!("has version {:?} (expected 2.1.0)", log.version)));
        }
        let mut fixes = Vec::new();
        let mut left = REPLACEMENTS_MAX;
        for run in log.runs {
            let bases = Bases { root, ids: &run.original_uri_base_ids, artifacts: &run.artifacts };
            for found in run.results.into_iter().flatten() {
                let suppressed = found.suppressions.is_some_and(|s| !s.is_empty());
                let first = found.fixes.and_then(|fixes| fixes.into_iter().next());
                if let (false, Some(fix)) = (suppressed, first) {
                    let fix = changes(fix, &bases, run.column_kind).and_then(|changes| {
                        let size = changes.iter().map(|change| change.replacements.len()).sum();
                        left = left.checked_sub(size).ok_or("the log has too many fixes")?;
                        Ok(changes)
                    });
                    fixes.push(fix);
                }
            }
        }
        Ok(Self(fixes))
    }

    /// The files that the fixes name, relative to the workspace.
    pub fn paths(&self) -> BTreeSet<&str> {
        let changes = self.0.iter().flatten().flatten();
        let mut paths = BTreeSet::new();
        for change in changes {
            if paths.len() < SARIF_FILES_MAX {
                paths.insert(change.path.as_str());
            }
        }
        paths
    }

    /// Applies the fixes to `files` (paths and texts). A fix that names a file that is not among them
    /// is left out.
    pub fn apply(&self, files: &BTreeMap<String, String>) -> Applied {
        let mut sheets: BTreeMap<&str, Sheet<'_>> = BTreeMap::new();
        for path in self.paths() {
            if let Some(text) = files.get(path) {
                sheets.insert(path, Sheet::new(text));
            }
        }
        let mut applied = Applied::default();
        for fix in &self.0 {
            let planned = match fix {
                Ok(changes) => planned(changes, &sheets),
                Err(why) => Err(why.clone()),
            };
            match planned {
                Ok(replacements) => {
                    applied.applied += 1;
                    for (path, replacement) in replacements {
                        sheets.entry(path).and_modify(|sheet| sheet.replace(replacement));
                    }
                }
                Err(why) => applied.left_out.push(why),
            }
        }
        for (path, sheet) in sheets {
            if let Some(text) = sheet.rewritten() {
                applied.edits.push(FileEdit { path: path.to_owned(), contents: Some(text) });
            }
        }
        applied
    }
}

/// What a fix changes, with the workspace's paths.
fn changes(fix: Value, bases: &Bases<'_>, unit: Unit) -> Result<Vec<Change>, String> {
    let fix: Fix = serde_json::from_value(fix).map_err(|e| format!("a fix is incomplete: {e}"))?;
    let mut changes = Vec::new();
    for change in fix.artifact_changes {
        let path = bases.path_of(&change.artifact_location)?;
        let mut replacements = Vec::new();
        for replaced in change.replacements {
            let content = replaced.inserted_content.unwrap_or(Content { text: None, binary: None });
            if content.text.is_none() && content.binary.is_some() {
                return Err(format!("{path}: a fix inserts bytes that are no text"));
            }
            replacements.push((replaced.deleted_region, content.text.unwrap_or_default()));
        }
        changes.push(Change { path, replacements, unit });
    }
    if changes.is_empty() { Err("a fix changes nothing".to_owned()) } else { Ok(changes) }
}

/// Where a fix's replacements come to stand: nowhere anew, when two results propose the same fix.
fn planned<'a>(
    changes: &'a [Change],
    sheets: &BTreeMap<&'a str, Sheet<'_>>,
) -> Result<Vec<(&'a str, Replacement)>, String> {
    let mut planned: Vec<(&str, Replacement)> = Vec::new();
    for change in changes {
        let path = change.path.as_str();
        let sheet = sheets.get(path).ok_or_else(|| format!("{path}: is no file to be changed"))?;
        for (region, text) in &change.replacements {
            let range = sheet.range(region, change.unit).map_err(|why| format!("{path}: {why}"))?;
            planned.push((path, Replacement { range, text: text.clone() }));
        }
    }
    planned.sort_by(|(a, x), (b, y)| (a, x.range.start).cmp(&(b, y.range.start)));
    let meets = |pair: &&[(&str, Replacement)]| match pair {
        [(a, x), (b, y)] => a == b && x.meets(&y.range),
        _ => false,
    };
    if let Some([(path, _), ..]) = planned.windows(2).find(meets) {
        return Err(format!("{path}: a fix overlaps itself"));
    }
    if planned.iter().all(|(path, new)| sheets.get(path).is_some_and(|sheet| sheet.has(new))) {
        return Ok(Vec::new());
    }
    let taken = |(path, new): &&(&str, Replacement)| {
        sheets.get(path).is_none_or(|sheet| sheet.is_taken(&new.range))
    };
    match planned.iter().find(taken) {
        Some((path, _)) => Err(format!("{path}: a fix overlaps an earlier one")),
        None => Ok(planned),
    }
}

#[cfg(test)]
mod tests;
