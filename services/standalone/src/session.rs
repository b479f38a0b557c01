//! What every command is given: the environment, how it was called, and when to stop.

use crate::data::{self, Lock, Vars};
use crate::embedded::{Advisers, Scope, Stack, Work};
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// What every command is given.
#[derive(Debug, Clone)]
pub struct Session {
    /// Environment variables.
    pub vars: Vars,
    /// How this program is called, for the commands it names.
    pub program: String,
    /// Canceled by the first ctrl-C or SIGTERM.
    pub stop: CancellationToken,
}

/// A server that the environment names.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub url: String,
    /// The API key.
    pub token: String,
}

impl Session {
    /// The server that the environment names; `None` means this machine.
    pub fn server(&self) -> Result<Option<Server>> {
        let given = |name: &str| self.vars.get(name).filter(|v| !v.is_empty()).cloned();
        let Some(url) = given("METABUILDER_URL") else { return Ok(None) };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Error::usage(
                format!("METABUILDER_URL is {url:?}"),
                "expected an address such as http://127.0.0.1:5001",
            ));
        }
        let token = given("METABUILDER_TOKEN").ok_or_else(|| {
            Error::usage("METABUILDER_TOKEN is not set", format!("{url} wants an API key"))
                .next("set it to the token that `metabuilder up` prints")
        })?;
        Ok(Some(Server { url: url.trim_end_matches('/').to_owned(), token }))
    }
}

/// The data folder of local runs, in use by this process.
pub struct Local {
    /// The folder.
    pub dir: PathBuf,
    advisers: Advisers,
    vars: Vars,
    /// Ends before the folder is given back.
    _hearing: Work,
    _lock: Lock,
}

impl Local {
    /// Opens the folder of local runs; makes it when it is missing.
    pub async fn open(session: &Session) -> Result<Self> {
        let dir = data::local_dir(&session.vars)?;
        data::create(&dir)?;
        let lock = Lock::shared(&dir)?;
        let opening = Lock::opening(&dir).await?;
        let mut advisers = Advisers::wire(&dir, &session.vars, None).await?;
        drop(opening);
        let hearing = advisers.start();
        Ok(Self { dir, advisers, vars: session.vars.clone(), _hearing: hearing, _lock: lock })
    }

    /// The services for that scope.
    pub async fn stack(&self, scope: Scope) -> Result<Stack> {
        let _opening = Lock::opening(&self.dir).await?;
        self.advisers.stack(scope).await
    }

    /// A client that reads, and decides; nothing is carried out.
    pub async fn reader(&self) -> Result<crate::client::Client> {
        Ok(self.stack(Scope::Reading).await?.client(&self.vars))
    }

    /// Takes a run for this process alone.
    pub fn claim(&self, run_id: &str) -> Result<Claim> {
        Claim::take(&self.dir, run_id)
    }
}

/// A run that this process works on, and no other.
#[derive(Debug)]
pub struct Claim {
    /// The file stays when the claim ends: were it removed, somebody who has it open already and
    /// somebody who makes it anew would both hold the claim.
    _file: File,
}

impl Claim {
    fn take(dir: &Path, run_id: &str) -> Result<Self> {
        let folder = dir.join("claims");
        let path = folder.join(run_id);
        let failed = |e| Error::failed(format!("cannot claim run {run_id}"), e);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).open(&path).map_err(failed)?;
        match crate::data::patiently(|| file.try_lock()) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::failed(format!("run {run_id} goes on"), "another process works on it"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pairs: &[(&str, &str)]) -> Session {
        let vars = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Session { vars, program: "metabuilder".to_owned(), stop: CancellationToken::new() }
    }

    #[test]
    fn a_server_needs_an_address_and_a_token() {
        assert!(session(&[]).server().unwrap().is_none());
        assert!(session(&[("METABUILDER_URL", "")]).server().unwrap().is_none());
        let url = ("METABUILDER_URL", "http://h:1/");
        assert!(session(&[url]).server().unwrap_err().to_string().contains("METABUILDER_TOKEN"));
        let token = ("METABUILDER_TOKEN", "t");
        assert_eq!(session(&[url, token]).server().unwrap().unwrap().url, "http://h:1");
        assert!(session(&[("METABUILDER_URL", "h:1"), token]).server().is_err());
    }

    #[test]
    fn a_run_is_worked_on_by_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::take(dir.path(), "r1").unwrap();
        assert!(Claim::take(dir.path(), "r1").unwrap_err().to_string().contains("another process"));
        assert!(Claim::take(dir.path(), "r2").is_ok());
        let early = File::open(dir.path().join("claims/r1")).unwrap();
        drop(claim);
        let next = Claim::take(dir.path(), "r1").unwrap();
        assert!(early.try_lock().is_err(), "who opened it before shares the same lock");
        drop(next);
        assert!(Claim::take(dir.path(), "r1").is_ok());
    }
}
