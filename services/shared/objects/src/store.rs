//! The calls.

use crate::error::Error;
use crate::location::{self, Opened};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use meta_domain::fault::InvalidField;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long a call on one object may take, its retries included.
const CALL_LIMIT: Duration = Duration::from_mins(2);
/// How long a listing, or the removal of all that is listed, may take.
const LIST_LIMIT: Duration = Duration::from_mins(10);
/// Bytes of an object that is written from memory.
const PUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Objects of one listing.
const LISTED_MAX: usize = 1_000_000;

/// An open object store; clones share its connections.
#[derive(Clone)]
pub struct Objects {
    pub(crate) opened: Arc<Opened>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.opened.shown)
    }
}

/// What [`Objects::put_if_absent`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is new.
    Stored,
    /// There was one already; it is as it was.
    Present,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

impl Objects {
    /// Opens the store that a URL names: a folder (also `file:///folder`), `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix`, or `memory:` (which ends with the process).
    /// Credentials, region, endpoint and addressing style come from the variables that are usual
    /// for the provider (`AWS_*`, `GOOGLE_*`, `AZURE_*`). Nothing is called yet.
    ///
    /// # Errors
    /// Names the field [`FIELD`](crate::FIELD), the value without credentials, and what was
    /// expected.
    pub fn open(url: &str, vars: &BTreeMap<String, String>) -> Result<Self, InvalidField> {
        Ok(Self { opened: Arc::new(location::open(url, vars)?) })
    }

    /// The store as it may be shown: its URL without credentials.
    pub fn shown(&self) -> &str {
        &self.opened.shown
    }

    /// Where it is, when it is a folder of this machine: nobody's build may read it.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.opened.folder.as_deref()
    }

    /// Writes an object of at most 64 MiB; one of the same key is replaced.
    ///
    /// # Errors
    /// When it is too large, or the store fails.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), Error> {
        let path = path_of(key)?;
        sized(key, body.len() as u64, PUT_BYTES_MAX)?;
        self.timed(key, CALL_LIMIT, self.store().put(&path, body.into())).await.map(drop)
    }

    /// Writes an object of at most 64 MiB unless there is one: of several writers one wins. After a
    /// lost answer the winner itself may be told [`Put::Present`]; who has to know compares.
    ///
    /// # Errors
    /// When it is too large, or the store fails.
    pub async fn put_if_absent(&self, key: &str, body: Bytes) -> Result<Put, Error> {
        let path = path_of(key)?;
        sized(key, body.len() as u64, PUT_BYTES_MAX)?;
        let options = PutOptions::from(PutMode::Create);
        let writing = async {
            match self.store().put_opts(&path, body.into(), options).await {
                Ok(_) => Ok(Put::Stored),
                Err(
                    object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. },
                ) => Ok(Put::Present),
                Err(error) => Err(error),
            }
        };
        self.timed(key, CALL_LIMIT, writing).await
    }

    /// Reads an object of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], or when the store fails.
    pub async fn get(&self, key: &str, bytes_max: u64) -> Result<Bytes, Error> {
        let path = path_of(key)?;
        let reading = async {
            let found = self.store().get(&path).await?;
            if found.meta.size > bytes_max {
                return Ok(Err(found.meta.size));
            }
            Ok(Ok(found.bytes().await?))
        };
        match self.timed(key, CALL_LIMIT, reading).await? {
            Ok(body) => Ok(body),
            Err(bytes) => Err(Error::TooLarge { key: key.to_owned(), bytes, bytes_max }),
        }
    }

    /// The same; `None` where there is no such object.
    ///
    /// # Errors
    /// [`Error::TooLarge`], or when the store fails.
    pub async fn find(&self, key: &str, bytes_max: u64) -> Result<Option<Bytes>, Error> {
        match self.get(key, bytes_max).await {
            Err(Error::Missing { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Reads a part of an object; less where it ends before.
    ///
    /// # Errors
    /// [`Error::Missing`], or when the store fails or has nothing from the start of the range on.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let path = path_of(key)?;
        sized(key, range.end.saturating_sub(range.start), PUT_BYTES_MAX)?;
        self.timed(key, CALL_LIMIT, self.store().get_range(&path, range)).await
    }

    /// All objects whose keys are below `prefix` (a whole name, such as `runs/a`, never a part of
    /// one), by key.
    ///
    /// # Errors
    /// When the store fails, or there are more than a million.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
        let path = path_of(prefix)?;
        self.collect(prefix, self.store().list(Some(&path))).await
    }

    /// The same, only keys after `after`.
    ///
    /// # Errors
    /// As [`Objects::list`].
    pub async fn list_after(&self, prefix: &str, after: &str) -> Result<Vec<Entry>, Error> {
        let (path, after) = (path_of(prefix)?, path_of(after)?);
        self.collect(prefix, self.store().list_with_offset(Some(&path), &after)).await
    }

    /// The names directly below `prefix` that have objects below them, in order.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let path = path_of(prefix)?;
        let listing = self.store().list_with_delimiter(Some(&path));
        let found = self.timed(prefix, LIST_LIMIT, listing).await?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut names: Vec<String> = found.common_prefixes.iter().filter_map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Removes all objects below `prefix`; answers how many there were. What is added meanwhile
    /// may stay.
    ///
    /// # Errors
    /// When the store fails; some may be gone then.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64, Error> {
        let found = self.list(prefix).await?;
        let removing = async {
            let keys = found.iter().map(|entry| Ok(Path::from(entry.key.as_str())));
            let keys: BoxStream<'static, _> =
                Box::pin(futures::stream::iter(keys.collect::<Vec<_>>()));
            let mut removed = self.store().delete_stream(keys);
            let mut count = 0;
            loop {
                match removed.try_next().await {
                    Ok(None) => return Ok(count),
                    // somebody else was first
                    Ok(Some(_)) | Err(object_store::Error::NotFound { .. }) => count += 1,
                    Err(error) => return Err(error),
                }
            }
        };
        self.timed(prefix, LIST_LIMIT, removing).await
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.opened.store
    }

    pub(crate) async fn timed<T>(
        &self,
        key: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Error> {
        let Opened { shown, secrets, .. } = &*self.opened;
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(|error| Error::of(error, shown, key, secrets)),
            Err(_) => Err(Error::late(shown, key, limit)),
        }
    }

    async fn collect(
        &self,
        prefix: &str,
        mut listed: BoxStream<'static, Result<ObjectMeta, object_store::Error>>,
    ) -> Result<Vec<Entry>, Error> {
        let reading = async {
            let mut found = Vec::new();
            while let Some(meta) = listed.try_next().await? {
                if found.len() == LISTED_MAX {
                    return Ok(None);
                }
                found.push(Entry { key: meta.location.to_string(), bytes: meta.size });
            }
            Ok(Some(found))
        };
        let Some(mut found) = self.timed(prefix, LIST_LIMIT, reading).await? else {
            let (store, key) = (self.shown().to_owned(), prefix.to_owned());
            let why = format!("it holds more than {LISTED_MAX} objects");
            return Err(Error::Refused { store, key, why });
        };
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

/// A key as the store takes it.
pub(crate) fn path_of(key: &str) -> Result<Path, Error> {
    let bad = |problem: String| Error::Key { key: key.chars().take(200).collect(), problem };
    if key.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    Path::parse(key).map_err(|e| bad(e.to_string()))
}

pub(crate) fn sized(key: &str, bytes: u64, bytes_max: u64) -> Result<(), Error> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Error::TooLarge { key: key.to_owned(), bytes, bytes_max })
}
