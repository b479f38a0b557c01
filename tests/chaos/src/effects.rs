//! The effects file: what steps really did, written by the steps themselves, one line an entry,
//! each in one `O_APPEND` write, so that no process of the product has a hand in it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The step's process began.
    Start,
    /// It ended by itself.
    End {
        /// Its exit code.
        code: u8,
    },
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// Which execution, as the runner was told.
    pub attempt: u32,
    /// Epoch of the lease.
    pub epoch: u64,
    /// The step's process.
    pub pid: u32,
    /// The machine's boot.
    pub boot: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What happened.
    pub mark: Mark,
}

impl Effect {
    /// Appends the entry with one write.
    pub fn append(&self, file: &Path) -> Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        let mut open = std::fs::OpenOptions::new();
        let mut file = open
            .append(true)
            .create(true)
            .open(file)
            .with_context(|| format!("cannot open {}", file.display()))?;
        Ok(file.write_all(line.as_bytes())?)
    }

    /// Whether it is the beginning of an execution.
    pub fn is_start(&self) -> bool {
        self.mark == Mark::Start
    }

    /// Whether it is the end of an execution that passed.
    pub fn is_success(&self) -> bool {
        self.mark == Mark::End { code: 0 }
    }
}

/// Every entry of the file, oldest first; none when there is no file yet.
pub fn read(file: &Path) -> Result<Vec<Effect>> {
    let text = match std::fs::read_to_string(file) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).with_context(|| format!("{line:?}"))).collect()
}
