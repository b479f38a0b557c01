//! Logs of executions, as files: one a lease, so that a runner whose lease is lost writes nowhere
//! that anybody reads.
//!
//! A record is a header line `<unix ms> <o|e> <bytes>` and then that many bytes and a line feed.

use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::RunId;
use meta_domain::time::Timestamp;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Bytes that one log may hold, a little above what runners keep.
const LOG_FILE_BYTES_MAX: u64 = 2 * meta_domain::limits::LOG_BYTES_MAX as u64;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the runner read it.
    pub at: Timestamp,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// The output, secrets masked.
    pub text: Vec<u8>,
}

/// The folder of all logs.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
}

impl Logs {
    /// Logs below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn path(&self, run: RunId, name: &str) -> PathBuf {
        self.dir.join(run.to_string()).join(name)
    }

    /// Appends records; returns the bytes kept.
    ///
    /// # Errors
    /// When the log store cannot be written.
    pub async fn append(&self, run: RunId, name: &str, records: &[Record]) -> Result<u64, Fault> {
        let path = self.path(run, name);
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(|e| broken(&e))?;
        }
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .await
            .map_err(|e| broken(&e))?;
        let size = file.metadata().await.map_err(|e| broken(&e))?.len();
        let mut out = Vec::new();
        let mut kept = 0;
        for record in records {
            if size + out.len() as u64 + record.text.len() as u64 > LOG_FILE_BYTES_MAX {
                break;
            }
            let stream = if record.stderr { 'e' } else { 'o' };
            let header = format!("{} {stream} {}\n", record.at.0, record.text.len());
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(&record.text);
            out.push(b'\n');
            kept += record.text.len() as u64;
        }
        file.write_all(&out).await.map_err(|e| broken(&e))?;
        file.flush().await.map_err(|e| broken(&e))?;
        Ok(kept)
    }

    /// Records from a byte offset on, and the offset after the last whole one. A log that does not
    /// exist yet is empty.
    ///
    /// # Errors
    /// When the log store cannot be read.
    pub async fn read(
        &self,
        run: RunId,
        name: &str,
        offset: u64,
    ) -> Result<(Vec<Record>, u64), Fault> {
        let mut file = match tokio::fs::File::open(self.path(run, name)).await {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), offset)),
            Err(e) => return Err(broken(&e)),
        };
        file.seek(std::io::SeekFrom::Start(offset)).await.map_err(|e| broken(&e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).await.map_err(|e| broken(&e))?;
        let (records, used) = parse(&bytes);
        Ok((records, offset + used as u64))
    }

    /// Removes all logs of a run.
    ///
    /// # Errors
    /// When the log store cannot be written.
    pub async fn remove(&self, run: RunId) -> Result<(), Fault> {
        match tokio::fs::remove_dir_all(self.dir.join(run.to_string())).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(broken(&e)),
            _ => Ok(()),
        }
    }

    /// The text of a log, as the classifier reads it.
    ///
    /// # Errors
    /// When the log store cannot be read.
    pub async fn text(&self, run: RunId, name: &str) -> Result<Vec<u8>, Fault> {
        let (records, _) = self.read(run, name, 0).await?;
        Ok(records.into_iter().flat_map(|r| r.text).collect())
    }
}

fn parse(bytes: &[u8]) -> (Vec<Record>, usize) {
    let mut records = Vec::new();
    let mut used = 0;
    while let Some((record, len)) = next(&bytes[used..]) {
        records.push(record);
        used += len;
    }
    (records, used)
}

fn next(bytes: &[u8]) -> Option<(Record, usize)> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let header = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut words = header.split(' ');
    let at = Timestamp(words.next()?.parse().ok()?);
    let stderr = words.next()? == "e";
    let len: usize = words.next()?.parse().ok()?;
    let text = bytes.get(end + 1..end + 1 + len)?.to_vec();
    (bytes.get(end + 1 + len) == Some(&b'\n')).then_some(())?;
    Some((Record { at, stderr, text }, end + len + 2))
}

fn broken(error: &std::io::Error) -> Fault {
    tracing::error!(%error, "log store");
    Fault::new(ErrorKind::Unavailable, "LOGS_UNREACHABLE", "the log store cannot be reached")
        .retry_after(std::time::Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        Record { at: Timestamp(5), stderr: true, text: text.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn what_was_appended_is_read_from_any_record_on() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path());
        let run = RunId(uuid::Uuid::nil());
        logs.append(run, "a", &[record("one\n"), record("7 o 3\nno header")]).await.unwrap();
        let (first, offset) = logs.read(run, "a", 0).await.unwrap();
        assert_eq!(first, [record("one\n"), record("7 o 3\nno header")]);
        logs.append(run, "a", &[record("two")]).await.unwrap();
        let (second, _) = logs.read(run, "a", offset).await.unwrap();
        assert_eq!(second, [record("two")]);
        assert!(logs.read(run, "nobody", 0).await.unwrap().0.is_empty());
    }

    #[test]
    fn a_torn_record_waits() {
        let whole = b"5 e 3\nabc\n5 e 3\nab";
        let (records, used) = parse(whole);
        assert_eq!((records.len(), used), (1, 10));
    }
}
