//! A snapshot on disk, for a start while the flag-resolver or its store is away.

use meta_domain::settings::SnapshotChange;
use meta_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use tokio::io::AsyncWriteExt;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When the store was last heard.
    pub heard_at: Timestamp,
    /// The whole snapshot.
    pub snapshot: SnapshotChange,
}

/// Reads a file; `None` when there is none.
///
/// # Errors
/// When it cannot be read or does not hold what it should.
pub async fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
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
pub async fn save<T: Serialize>(path: &Path, kept: &T) -> io::Result<()> {
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
