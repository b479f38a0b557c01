//! Logs of executions: one a lease, so that a runner whose lease is lost writes nowhere that anybody
//! reads. They are files of this machine or, where orchestrators run on several, objects that each
//! of them reads.
//!
//! A record is a header line `<unix ms> <o|e> <bytes> <offset>` and then that many bytes and a line
//! feed. The offset counts the text before it, as its runner does, so that a piece that is sent again
//! because its answer was lost is not kept twice.

mod chunks;
mod files;
mod record;

pub use record::Record;

use chunks::Chunks;
use files::Files;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TenantId};
use meta_objects::Objects;
use std::path::Path;
use std::time::Duration;

/// Bytes that one log may hold, a little above what runners keep.
const LOG_BYTES_MAX: u64 = 2 * meta_domain::limits::LOG_BYTES_MAX as u64;
/// How long a reader waits before it looks for more in a file.
const FILES_WAIT: Duration = Duration::from_millis(100);
/// The same for objects: each look is a request.
const OBJECTS_WAIT: Duration = Duration::from_secs(1);

/// A run and whose it is.
pub type Owned = (TenantId, RunId);

/// All logs.
#[derive(Debug, Clone)]
pub struct Logs(Arm);

#[derive(Debug, Clone)]
enum Arm {
    Files(Files),
    Chunks(Chunks),
}

impl Logs {
    /// Logs as files below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self(Arm::Files(Files::new(dir)))
    }

    /// Logs as objects.
    pub fn in_objects(objects: Objects) -> Self {
        Self(Arm::Chunks(Chunks::new(objects)))
    }

    /// Appends records; returns the bytes kept, of this call or of an earlier one with the same.
    /// `offset` is how much text the log's writer wrote before; `None` appends at the end.
    ///
    /// # Errors
    /// When the log store cannot be written.
    pub async fn append(
        &self,
        run: Owned,
        name: &str,
        offset: Option<u64>,
        records: &[Record],
    ) -> Result<u64, Fault> {
        match &self.0 {
            Arm::Files(files) => files.append(run.1, name, offset, records).await,
            Arm::Chunks(chunks) => chunks.append(run, name, offset, records).await,
        }
    }

    /// Records from an offset on (0, or one that this method gave), and the offset after the last
    /// whole one. A log that does not exist yet is empty.
    ///
    /// # Errors
    /// When the log store cannot be read.
    pub async fn read(
        &self,
        run: Owned,
        name: &str,
        offset: u64,
    ) -> Result<(Vec<Record>, u64), Fault> {
        match &self.0 {
            Arm::Files(files) => files.read(run.1, name, offset).await,
            Arm::Chunks(chunks) => chunks.read(run, name, offset).await,
        }
    }

    /// The text of a log, as the classifier reads it.
    ///
    /// # Errors
    /// When the log store cannot be read.
    pub async fn text(&self, run: Owned, name: &str) -> Result<Vec<u8>, Fault> {
        let (records, _) = self.read(run, name, 0).await?;
        Ok(records.into_iter().flat_map(|r| r.text).collect())
    }

    /// Removes the logs of a run and, where they are objects, everything else of it there.
    ///
    /// # Errors
    /// When something of it stays.
    pub async fn forget(&self, run: Owned) -> Result<(), Fault> {
        match &self.0 {
            Arm::Files(files) => files.forget(run.1).await,
            Arm::Chunks(chunks) => chunks.forget(run).await,
        }
    }

    /// How long to wait before looking for more.
    pub fn look_again(&self) -> Duration {
        match &self.0 {
            Arm::Files(_) => FILES_WAIT,
            Arm::Chunks(_) => OBJECTS_WAIT,
        }
    }
}

fn broken(error: &dyn std::error::Error) -> Fault {
    tracing::error!(%error, "log store");
    Fault::new(ErrorKind::Unavailable, "LOGS_UNREACHABLE", "the log store cannot be reached")
        .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
