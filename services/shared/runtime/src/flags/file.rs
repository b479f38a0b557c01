//! A snapshot on disk, for a start while the flag-resolver or its store is away.

use meta_domain::settings::SnapshotChange;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

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
/// When it cannot be read or does not hold a snapshot.
pub async fn load(path: &Path) -> io::Result<Option<Kept>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file, whole or not at all; its folder is made when it is missing.
///
/// # Errors
/// When it cannot be written.
pub async fn save(path: &Path, kept: &Kept) -> io::Result<()> {
    let bytes = serde_json::to_vec(kept)?;
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let beside = path.with_extension(format!("{}.tmp", crate::new_id()));
    tokio::fs::write(&beside, bytes).await?;
    tokio::fs::rename(&beside, path).await
}
