//! Logs as files of this machine, for one orchestrator.

use super::record::{Record, parse, write};
use super::{LOG_BYTES_MAX, broken};
use meta_domain::fault::Fault;
use meta_domain::id::RunId;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::Mutex;

/// Writers of different logs that do not wait for each other.
const SHARDS: usize = 64;
/// Ends of logs that are remembered a shard; others are read again.
const ENDS_MAX: usize = 256;

/// Where a log ends.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    /// Bytes of the file.
    bytes: u64,
    /// Its writer's offset.
    text: u64,
}

/// A folder of logs.
#[derive(Debug, Clone)]
pub(super) struct Files {
    dir: PathBuf,
    hasher: RandomState,
    ends: Arc<[Mutex<HashMap<PathBuf, End>>]>,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        let ends = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { dir: dir.to_owned(), hasher: RandomState::new(), ends }
    }

    fn folder(&self, run: RunId) -> PathBuf {
        self.dir.join(run.to_string())
    }

    pub(super) async fn append(
        &self,
        run: RunId,
        name: &str,
        offset: Option<u64>,
        records: &[Record],
    ) -> Result<u64, Fault> {
        let path = self.folder(run).join(name);
        let shard = usize::try_from(self.hasher.hash_one(&path) % SHARDS as u64).unwrap_or(0);
        // One writer of a log at a time: a piece that is sent again may overtake itself.
        let mut ends = self.ends[shard].lock().await;
        let result = add(&path, ends.get(&path).copied(), offset, records).await;
        if ends.len() >= ENDS_MAX {
            ends.clear();
        }
        match result {
            Ok((end, kept)) => {
                ends.insert(path, end);
                Ok(kept)
            }
            Err(error) => {
                ends.remove(&path);
                Err(broken(&error))
            }
        }
    }

    pub(super) async fn read(
        &self,
        run: RunId,
        name: &str,
        offset: u64,
    ) -> Result<(Vec<Record>, u64), Fault> {
        let mut file = match File::open(self.folder(run).join(name)).await {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), offset)),
            Err(e) => return Err(broken(&e)),
        };
        file.seek(std::io::SeekFrom::Start(offset)).await.map_err(|e| broken(&e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.map_err(|e| broken(&e))?;
        let parsed = parse(&bytes, 0);
        Ok((parsed.records, offset + parsed.bytes as u64))
    }

    pub(super) async fn forget(&self, run: RunId) -> Result<(), Fault> {
        match tokio::fs::remove_dir_all(self.folder(run)).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(broken(&e)),
            _ => Ok(()),
        }
    }
}

/// Adds records to a file whose end may be known; answers where it ends then, and the bytes kept.
async fn add(
    path: &Path,
    known: Option<End>,
    offset: Option<u64>,
    records: &[Record],
) -> Result<(End, u64), std::io::Error> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.create(true).append(true).read(true).open(path).await?;
    let bytes = file.metadata().await?.len();
    let end = match known {
        Some(end) if end.bytes == bytes => end,
        _ if bytes == 0 => End::default(),
        _ => whole(&mut file).await?,
    };
    let written = write(records, offset, end.text, end.bytes);
    file.write_all(&written.bytes).await?;
    file.flush().await?;
    let bytes = end.bytes + written.bytes.len() as u64;
    Ok((End { bytes, text: written.end }, written.kept))
}

/// Where the whole records of a file end; a torn one, of a writer that died, is cut off.
async fn whole(file: &mut File) -> Result<End, std::io::Error> {
    let mut bytes = Vec::new();
    file.seek(std::io::SeekFrom::Start(0)).await?;
    file.take(2 * LOG_BYTES_MAX).read_to_end(&mut bytes).await?;
    let parsed = parse(&bytes, 0);
    file.set_len(parsed.bytes as u64).await?;
    Ok(End { bytes: parsed.bytes as u64, text: parsed.end })
}
