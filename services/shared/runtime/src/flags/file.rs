//! A snapshot on disk, for a start while the flag-resolver or its store is away.

use meta_domain::settings::SnapshotChange;
use meta_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When the store was last heard.
    pub heard_at: Timestamp,
    /// The whole snapshot.
    pub snapshot: SnapshotChange,
}

/// How often at most a changed snapshot is written down, and how often an unchanged one.
const SAVE_CHANGED: Duration = Duration::from_secs(1);
const SAVE_UNCHANGED: Duration = Duration::from_secs(30);

/// The file, if there is one, and what was last written there.
pub struct Keeper {
    file: Option<PathBuf>,
    written: Option<(u64, Instant)>,
}

impl Keeper {
    /// Over a file; without one nothing is kept.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, written: None }
    }

    /// Whether anything is kept.
    pub fn keeps(&self) -> bool {
        self.file.is_some()
    }

    /// What the file holds; `None` when there is none, or when it is not readable, which is logged.
    pub async fn recall<T: DeserializeOwned>(&self) -> Option<T> {
        let path = self.file.as_ref()?;
        load(path).await.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "kept settings are not readable");
            None
        })
    }

    /// Writes down what is known at a version, unless that was done a moment ago.
    pub async fn keep_when_due<T: Serialize>(
        &mut self,
        version: u64,
        known: impl FnOnce() -> Option<T>,
    ) {
        let due = match self.written {
            None => true,
            Some((before, at)) if before == version => at.elapsed() >= SAVE_UNCHANGED,
            Some((_, at)) => at.elapsed() >= SAVE_CHANGED,
        };
        if due {
            self.keep(version, known).await;
        }
    }

    /// Writes down what is known at a version, if anything is.
    pub async fn keep<T: Serialize>(&mut self, version: u64, known: impl FnOnce() -> Option<T>) {
        let Some(path) = &self.file else { return };
        let Some(known) = known() else { return };
        if let Err(error) = save(path, &known).await {
            tracing::warn!(path = %path.display(), %error, "the settings are not written down");
        }
        self.written = Some((version, Instant::now()));
    }
}

/// Reads a file; `None` when there is none.
///
/// # Errors
/// When it cannot be read or does not hold what it should.
async fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file, whole or not at all, also when the machine stops; its folder is made when it is
/// missing.
///
/// # Errors
/// When it cannot be written.
async fn save<T: Serialize>(path: &Path, kept: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(kept)?;
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let beside = path.with_extension(format!("{}.tmp", crate::new_id()));
    let written = match write(&beside, &bytes).await {
        Ok(()) => tokio::fs::rename(&beside, path).await,
        Err(error) => Err(error),
    };
    if written.is_err() {
        // what failed is told; that the rest of it stays too would add nothing
        let _ = tokio::fs::remove_file(&beside).await;
    }
    written
}

async fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tokio::fs::File::create(path).await?;
    file.write_all(bytes).await?;
    file.sync_all().await
}
