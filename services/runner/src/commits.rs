//! A run's commits in the object store.
//!
//! ```text
//! runs/<tenant>/<run>/commits/<commit>.bundle  the commit with what it needs since the one before
//! runs/<tenant>/<run>/next/start               the first commit, and how many the loop made below it
//! runs/<tenant>/<run>/next/<commit>            the commit after that one
//! runs/<tenant>/<run>/tally/<step>             the most that the step's tests did
//! ```
//!
//! `next` makes one line of them: the name of a commit's follower is written once, by whoever is
//! first. Steps that ran beside each other on two runners thus come one after the other, whatever
//! order their results are reported in.

use crate::core::bundle::{HEADER_BYTES_MAX, Header, header, is_commit};
use crate::error::Error;
use crate::tasks::Job;
use meta_domain::id::{RunId, TenantId};
use meta_objects::{Error as ObjectsError, Objects};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Bytes of one bundle.
const BUNDLE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes of the name of a follower.
const NAME_BYTES_MAX: u64 = 256;
/// Bytes of a tally.
const TALLY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Commits of one run.
const COMMITS_MAX: usize = 10_000;
/// How long a store that is away is waited for: a step's result waits behind it.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long to wait before it is asked again.
const PATIENCE_STEP: Duration = Duration::from_secs(2);
/// What comes before the first commit.
const START: &str = "start";

/// The first commit of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) commit: String,
    /// Commits at the head of the source that the loop made.
    pub(crate) bot_commits: u32,
}

/// The commits of one run.
#[derive(Debug)]
pub(crate) struct Commits<'a> {
    objects: &'a Objects,
    root: String,
    stop: &'a CancellationToken,
}

impl<'a> Commits<'a> {
    /// Those of the job's run.
    pub(crate) fn new(objects: &'a Objects, job: &'a Job) -> Result<Self, Error> {
        let tenant: TenantId =
            job.tenant.parse().map_err(|e| Error::refused(format!("tenant_id: {e}")))?;
        let run: RunId = job.run_id.parse().map_err(|e| Error::refused(format!("run_id: {e}")))?;
        Ok(Self { objects, root: format!("runs/{tenant}/{run}"), stop: &job.stop })
    }

    /// The first commit, if the run has one.
    pub(crate) async fn first(&self) -> Result<Option<First>, Error> {
        let Some(text) = self.name_after(START).await? else { return Ok(None) };
        let (commit, bots) = text.split_once(' ').unwrap_or((&text, "0"));
        let commit = checked(commit)?;
        let bot_commits =
            bots.parse().map_err(|_| broken(&commit, "its number of commits is not one"))?;
        Ok(Some(First { commit, bot_commits }))
    }

    /// The last commit, from one of them on.
    pub(crate) async fn last_from(&self, commit: &str) -> Result<String, Error> {
        let mut last = checked(commit)?;
        for _ in 0..COMMITS_MAX {
            match self.name_after(&last).await? {
                Some(next) => last = checked(&next)?,
                None => return Ok(last),
            }
        }
        Err(Error::refused(format!("the run has more than {COMMITS_MAX} commits")))
    }

    /// Makes `first` the first commit; answers which one is.
    pub(crate) async fn begin(&self, first: &First) -> Result<String, Error> {
        let text = format!("{} {}", first.commit, first.bot_commits);
        self.put_name(START, text).await?;
        let found = self.first().await?;
        found.map(|first| first.commit).ok_or_else(|| missing("the first commit"))
    }

    /// Makes `commit` the one after `before`; answers which one is.
    pub(crate) async fn put_after(&self, before: &str, commit: &str) -> Result<String, Error> {
        self.put_name(before, commit.to_owned()).await?;
        let found = self.name_after(before).await?.ok_or_else(|| missing(before))?;
        checked(&found)
    }

    /// Sends the bundle of a commit.
    pub(crate) async fn send(&self, commit: &str, bundle: &Path) -> Result<u64, Error> {
        let key = self.bundle(commit);
        let send = || self.objects.put_file(&key, bundle, BUNDLE_BYTES_MAX);
        Ok(self.patiently(send).await?)
    }

    /// Fetches the bundle of a commit into a file; answers what it says of itself.
    pub(crate) async fn fetch(&self, commit: &str, into: &Path) -> Result<Header, Error> {
        let key = self.bundle(commit);
        let fetch = async || match tokio::fs::remove_file(into).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let (path, why) = (into.display().to_string(), e.to_string());
                Err(ObjectsError::File { path, why })
            }
            _ => self.objects.get_file(&key, into, BUNDLE_BYTES_MAX).await,
        };
        self.patiently(fetch).await.map_err(|ended| match ended {
            Ended::Refused(ObjectsError::Missing { .. }) => missing(commit),
            other => other.into(),
        })?;
        let start = crate::nofollow::read_file(into, HEADER_BYTES_MAX as u64).unwrap_or_default();
        let header = header(&start).map_err(|why| broken(commit, &why))?;
        if header.head == commit { Ok(header) } else { Err(broken(commit, "it holds another one")) }
    }

    /// The most that a step's tests did on any runner, as it was stored.
    pub(crate) async fn tally(&self, step: &str) -> Result<Option<Vec<u8>>, Error> {
        let key = format!("{}/tally/{step}", self.root);
        let found = self.patiently(|| self.objects.find(&key, TALLY_BYTES_MAX)).await?;
        Ok(found.map(Into::into))
    }

    /// Stores it.
    pub(crate) async fn put_tally(&self, step: &str, text: Vec<u8>) -> Result<(), Error> {
        let (key, text) = (format!("{}/tally/{step}", self.root), bytes::Bytes::from(text));
        Ok(self.patiently(|| self.objects.put(&key, text.clone())).await?)
    }

    fn bundle(&self, commit: &str) -> String {
        format!("{}/commits/{commit}.bundle", self.root)
    }

    async fn name_after(&self, before: &str) -> Result<Option<String>, Error> {
        let key = format!("{}/next/{before}", self.root);
        let found = self.patiently(|| self.objects.find(&key, NAME_BYTES_MAX)).await?;
        Ok(found.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    async fn put_name(&self, before: &str, text: String) -> Result<(), Error> {
        let (key, text) = (format!("{}/next/{before}", self.root), bytes::Bytes::from(text));
        self.patiently(|| self.objects.put_if_absent(&key, text.clone())).await?;
        Ok(())
    }

    /// Calls until it goes well, is refused, takes too long, or the task is stopped.
    async fn patiently<T, F>(&self, call: impl Fn() -> F + Send) -> Result<T, Ended>
    where
        F: Future<Output = Result<T, ObjectsError>> + Send,
    {
        let started = Instant::now();
        loop {
            let done = tokio::select! {
                done = call() => done,
                () = self.stop.cancelled() => return Err(Ended::Stopped),
            };
            match done {
                Err(error @ ObjectsError::Unreachable { .. }) if started.elapsed() < PATIENCE => {
                    tracing::warn!(%error, "waiting for the object store");
                    tokio::select! {
                        () = tokio::time::sleep(PATIENCE_STEP) => {}
                        () = self.stop.cancelled() => return Err(Ended::Stopped),
                    }
                }
                other => return other.map_err(Ended::Refused),
            }
        }
    }
}

/// Why there is no answer.
enum Ended {
    Stopped,
    Refused(ObjectsError),
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Stopped => Self::Stopped,
            Ended::Refused(error) if error.may_pass() => Self::failed(error.to_string()),
            Ended::Refused(error) => Self::refused(error.to_string()),
        }
    }
}

fn checked(commit: &str) -> Result<String, Error> {
    if is_commit(commit) {
        return Ok(commit.to_owned());
    }
    let shown: String = commit.chars().take(64).collect();
    Err(Error::failed(format!("{shown:?} is not a commit (expected 40 or 64 hexadecimal digits)")))
}

fn missing(commit: &str) -> Error {
    Error::failed(format!("commit {commit} of the run is not in the object store"))
}

fn broken(commit: &str, why: &str) -> Error {
    Error::failed(format!("the bundle of commit {commit} in the object store is broken: {why}"))
}
