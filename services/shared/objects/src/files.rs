//! Objects that are files of this machine: read and written in parts, never whole in memory.

use crate::error::Error;
use crate::store::{Objects, path_of, sized};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, WriteMultipart};
use std::path::Path;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a file may take on its way.
const FILE_LIMIT: Duration = Duration::from_mins(15);
/// Bytes of one part of an upload; S3 wants at least 5 MiB and takes 10,000 of them.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one upload that are on their way at once.
const PARTS_AT_ONCE: usize = 4;

impl Objects {
    /// Writes a file of at most `bytes_max` bytes as an object; one of the same key is replaced.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::File`], or when the store fails.
    pub async fn put_file(&self, key: &str, from: &Path, bytes_max: u64) -> Result<u64, Error> {
        let mut file = File::open(from).await.map_err(|e| Error::file(from, &e))?;
        let bytes = file.metadata().await.map_err(|e| Error::file(from, &e))?.len();
        sized(key, bytes, bytes_max)?;
        if bytes <= PART_BYTES as u64 {
            let mut body = Vec::new();
            file.read_to_end(&mut body).await.map_err(|e| Error::file(from, &e))?;
            self.put(key, body.into()).await?;
            return Ok(bytes);
        }
        let path = path_of(key)?;
        let mut broken = None;
        let writing = async {
            let upload = self.store().put_multipart(&path).await?;
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            loop {
                match part(&mut file).await {
                    Ok(part) if part.is_empty() => break,
                    Ok(part) => {
                        upload.wait_for_capacity(PARTS_AT_ONCE).await?;
                        upload.put(part);
                    }
                    Err(error) => {
                        broken = Some(Error::file(from, &error));
                        return upload.abort().await;
                    }
                }
            }
            upload.finish().await.map(drop)
        };
        let written = self.timed(key, FILE_LIMIT, writing).await;
        broken.map_or(written, Err).map(|()| bytes)
    }

    /// Reads an object of at most `bytes_max` bytes into a new file; answers its size.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], [`Error::File`], or when the store fails.
    pub async fn get_file(&self, key: &str, to: &Path, bytes_max: u64) -> Result<u64, Error> {
        let path = path_of(key)?;
        let mut file = File::create_new(to).await.map_err(|e| Error::file(to, &e))?;
        let mut problem = None;
        let reading = async {
            let found = self.store().get(&path).await?;
            let bytes = found.meta.size;
            if let Err(error) = sized(key, bytes, bytes_max) {
                problem = Some(error);
                return Ok(0);
            }
            let mut body = found.into_stream();
            while let Some(part) = body.try_next().await? {
                if let Err(error) = file.write_all(&part).await {
                    problem = Some(Error::file(to, &error));
                    return Ok(0);
                }
            }
            Ok(bytes)
        };
        let bytes = self.timed(key, FILE_LIMIT, reading).await?;
        if let Some(problem) = problem {
            return Err(problem);
        }
        file.flush().await.map_err(|e| Error::file(to, &e))?;
        Ok(bytes)
    }
}

/// The next part of a file; empty at its end.
async fn part(file: &mut File) -> std::io::Result<Bytes> {
    let mut part = Vec::with_capacity(PART_BYTES);
    file.take(PART_BYTES as u64).read_to_end(&mut part).await?;
    Ok(part.into())
}
