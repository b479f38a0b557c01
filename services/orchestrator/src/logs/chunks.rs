//! Logs as objects, for any number of orchestrators.
//!
//! `runs/<tenant>/<run>/logs/<name>/<offset>` holds what one call appended; it is written once, so a
//! call that is repeated finds it there. The offset is the writer's: the text before it.

use super::record::{Record, parse, write};
use super::{LOG_BYTES_MAX, Owned, broken};
use futures::{StreamExt, TryStreamExt};
use meta_domain::fault::{ErrorKind, Fault};
use meta_objects::{Entry, Objects, Put};

/// Bytes of one object: a call, with its records' headers.
const CHUNK_BYTES_MAX: u64 = 2 * meta_domain::limits::MESSAGE_BYTES_MAX as u64;
/// Objects of a log that are read at once.
const READS_AT_ONCE: usize = 8;
/// How often the end of a log is looked for when others append to it too.
const APPENDS_MAX: usize = 20;

/// An object store of logs.
#[derive(Debug, Clone)]
pub(super) struct Chunks {
    objects: Objects,
}

impl Chunks {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    pub(super) async fn append(
        &self,
        run: Owned,
        name: &str,
        offset: Option<u64>,
        records: &[Record],
    ) -> Result<u64, Fault> {
        if let Some(offset) = offset {
            return self.put(run, name, offset, records).await.map(|(_, kept)| kept);
        }
        for _ in 0..APPENDS_MAX {
            let end = self.end(run, name).await?;
            if let (Put::Stored, kept) = self.put(run, name, end, records).await? {
                return Ok(kept);
            }
        }
        let text = "others append to the same log all the time; try again";
        Err(Fault::new(ErrorKind::Conflict, "LOG_CHANGED", text))
    }

    async fn put(
        &self,
        run: Owned,
        name: &str,
        offset: u64,
        records: &[Record],
    ) -> Result<(Put, u64), Fault> {
        let written = write(records, None, offset, offset);
        if written.bytes.is_empty() {
            return Ok((Put::Stored, written.kept));
        }
        let key = chunk(&folder(run, name), offset);
        let put = self.objects.put_if_absent(&key, written.bytes.into()).await;
        Ok((put.map_err(|e| broken(&e))?, written.kept))
    }

    /// The writer's offset after the last chunk.
    async fn end(&self, run: Owned, name: &str) -> Result<u64, Fault> {
        let chunks = self.objects.list(&folder(run, name)).await.map_err(|e| broken(&e))?;
        match chunks.last() {
            Some(last) => Ok(self.chunk(&last.key).await?.1),
            None => Ok(0),
        }
    }

    pub(super) async fn read(
        &self,
        run: Owned,
        name: &str,
        offset: u64,
    ) -> Result<(Vec<Record>, u64), Fault> {
        let folder = folder(run, name);
        let listed = match offset.checked_sub(1) {
            Some(before) => self.objects.list_after(&folder, &chunk(&folder, before)).await,
            None => self.objects.list(&folder).await,
        };
        let chunks = listed.map_err(|e| broken(&e))?;
        let read = |entry: Entry| {
            let logs = self.clone();
            async move { logs.chunk(&entry.key).await }
        };
        let mut reading = futures::stream::iter(chunks).map(read).buffered(READS_AT_ONCE);
        let (mut records, mut end) = (Vec::new(), offset);
        while let Some((more, after)) = reading.try_next().await? {
            records.extend(more);
            end = after;
        }
        Ok((records, end))
    }

    /// The records of a chunk, and the writer's offset after them.
    async fn chunk(&self, key: &str) -> Result<(Vec<Record>, u64), Fault> {
        let bytes = self.objects.get(key, CHUNK_BYTES_MAX).await.map_err(|e| broken(&e))?;
        let parsed = parse(&bytes, 0);
        Ok((parsed.records, parsed.end))
    }

    pub(super) async fn forget(&self, (tenant, run): Owned) -> Result<(), Fault> {
        let removed = self.objects.delete_prefix(&format!("runs/{tenant}/{run}")).await;
        removed.map(drop).map_err(|e| broken(&e))
    }
}

fn folder((tenant, run): Owned, name: &str) -> String {
    format!("runs/{tenant}/{run}/logs/{name}")
}

/// Offsets are padded, so that they are listed in their order.
fn chunk(folder: &str, offset: u64) -> String {
    format!("{folder}/{offset:020}")
}

const _: () = assert!(CHUNK_BYTES_MAX > LOG_BYTES_MAX);
