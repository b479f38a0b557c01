//! Labelled logs: a folder with `manifest.tsv` and one log a line of it.
//!
//! The manifest has a header with at least the columns `id`, `expected_type`, `alt` (types that
//! can be defended too, separated by commas) and `note` (`benign…` marks the log of a success).
//! The logs are `logs/ID.log` or `samples/ID.log`.

use meta_domain::failure::FailureType;
use std::path::{Path, PathBuf};

/// One labelled log.
#[derive(Debug, Clone)]
pub struct LabelledLog {
    /// Its name.
    pub id: String,
    /// What a reader says it is.
    pub expected: FailureType,
    /// What can be defended too.
    pub alternatives: Vec<FailureType>,
    /// It is the log of a success: nothing may be found in it.
    pub benign: bool,
    /// Its bytes.
    pub log: Vec<u8>,
}

impl LabelledLog {
    /// Whether a verdict is the label; no verdict is right where `unknown` is expected.
    pub fn is_right(&self, verdict: Option<FailureType>) -> bool {
        verdict.unwrap_or(FailureType::Unknown) == self.expected
    }

    /// Whether a verdict is the label or can be defended.
    pub fn is_defensible(&self, verdict: Option<FailureType>) -> bool {
        let verdict = verdict.unwrap_or(FailureType::Unknown);
        verdict == self.expected || self.alternatives.contains(&verdict)
    }
}

/// Why a folder of labelled logs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{file} cannot be read: {problem}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// The manifest is not one.
    #[error("{file}, line {line}: {problem}")]
    Manifest {
        /// The manifest.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// Reads a folder of labelled logs in the order of its manifest.
pub fn read(dir: &Path) -> Result<Vec<LabelledLog>, Error> {
    let file = dir.join("manifest.tsv");
    let text = std::fs::read_to_string(&file).map_err(|error| unread(&file, &error))?;
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let wrong =
        |line: usize, problem: String| Error::Manifest { file: file.clone(), line, problem };
    let mut logs = Vec::new();
    for (number, line) in (2..).zip(lines) {
        let cells: Vec<&str> = line.split('\t').collect();
        let cell = |name: &str| {
            let at = columns.iter().position(|column| *column == name);
            at.and_then(|at| cells.get(at)).copied()
        };
        let needed = |name: &str| cell(name).ok_or_else(|| wrong(number, format!("no {name}")));
        let word = |text: &str| {
            let known = FailureType::ALL.into_iter().find(|known| known.as_str() == text);
            known.ok_or_else(|| wrong(number, format!("{text:?} is no failure type")))
        };
        let id = needed("id")?.to_owned();
        let alternatives = cell("alt").unwrap_or_default().split(',').filter(|alt| !alt.is_empty());
        logs.push(LabelledLog {
            expected: word(needed("expected_type")?)?,
            alternatives: alternatives.map(word).collect::<Result<_, _>>()?,
            benign: cell("note").is_some_and(|note| note.starts_with("benign")),
            log: read_log(dir, &id)?,
            id,
        });
    }
    Ok(logs)
}

fn read_log(dir: &Path, id: &str) -> Result<Vec<u8>, Error> {
    let name = format!("{id}.log");
    let samples = dir.join("samples").join(&name);
    let file = if samples.exists() { samples } else { dir.join("logs").join(&name) };
    std::fs::read(&file).map_err(|error| unread(&file, &error))
}

fn unread(file: &Path, error: &std::io::Error) -> Error {
    Error::Read { file: file.to_owned(), problem: error.to_string() }
}
