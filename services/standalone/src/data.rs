//! The folder in which local runs live: where it is, who uses it, and its development token.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the lock file.
const LOCK: &str = "lock";
/// How often a lock that is taken is tried.
const LOCK_TRIES: u32 = 40;
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Takes a lock that may be free in a moment: a process that was killed just now can have left a
/// child between fork and exec, which holds the lock for that long.
pub fn patiently(
    lock: impl Fn() -> std::result::Result<(), TryLockError>,
) -> std::result::Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            taken => return taken,
        }
    }
    lock()
}
/// Name of the file that says who opens the databases.
const OPENING: &str = "opening";
/// Name of the file with the development token.
const TOKEN: &str = "dev-token";
/// Bytes of a development token file at most.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Environment variables, read once at start.
pub type Vars = BTreeMap<String, String>;

/// The folder of local runs: `METABUILDER_DATA`, else the user's data folder.
pub fn local_dir(vars: &Vars) -> Result<PathBuf> {
    let given = |name: &str| vars.get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(dir) = given("METABUILDER_DATA") {
        return absolute(&dir);
    }
    let base = given("XDG_DATA_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| given("HOME").map(|home| home.join(".local/share")));
    base.map(|dir| dir.join("metabuilder")).ok_or_else(|| {
        Error::usage("no folder for local runs", "METABUILDER_DATA and HOME are not set")
            .next("set METABUILDER_DATA to a folder that you may write to")
    })
}

/// The same folder, spelled from the root.
pub fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).map_err(|e| Error::usage(format!("{} is no path", dir.display()), e))
}

/// Makes the folder, readable by its owner only.
pub fn create(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| {
        Error::usage(format!("cannot make the folder {}", dir.display()), e)
            .next("name another folder, with METABUILDER_DATA or --data")
    })
}

/// A data folder in use; given back when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// For `up`: nobody else may use the folder.
    pub fn exclusive(dir: &Path) -> Result<Self> {
        Self::take(dir, File::try_lock)
    }

    /// For commands that work on a run of their own: they may stand beside each other.
    pub fn shared(dir: &Path) -> Result<Self> {
        Self::take(dir, File::try_lock_shared)
    }

    /// For opening the databases: waits until nobody else is at it, since a fresh folder's are made
    /// by whoever comes first.
    pub async fn opening(dir: &Path) -> Result<Self> {
        let path = dir.join(OPENING);
        let name = path.display().to_string();
        let waited = tokio::task::spawn_blocking(move || {
            let mut options = OpenOptions::new();
            let file = options.create(true).write(true).truncate(false).mode(0o600).open(path)?;
            file.lock()?;
            Ok(Self { _file: file })
        });
        waited
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e)))
            .map_err(|e| Error::failed(format!("cannot lock {name}"), e))
    }

    fn take(
        dir: &Path,
        lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Self> {
        let path = dir.join(LOCK);
        let failed = |e| Error::failed(format!("cannot lock {}", path.display()), e);
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match patiently(|| lock(&file)) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
            Err(TryLockError::WouldBlock) => Err(Error::failed(
                format!("{} is in use", dir.display()),
                "another metabuilder works with this folder",
            )
            .next("stop it, talk to it with METABUILDER_URL, or name another folder")),
        }
    }
}

/// The development token of a folder: made once, then kept, readable by its owner only.
pub fn dev_token(dir: &Path) -> Result<String> {
    let path = dir.join(TOKEN);
    let failed = |what: &str, e| Error::failed(format!("cannot {what} {}", path.display()), e);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let token = format!("mb_dev_{}", meta_runtime::clock::secret());
            let written = file.write_all(token.as_bytes()).and_then(|()| file.sync_all());
            written.map_err(|e| failed("write", e))?;
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let mut text = String::new();
            File::open(&path)
                .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
                .map_err(|e| failed("read", e))?;
            match text.trim() {
                "" => Err(Error::failed(format!("{} is empty", path.display()), "no token in it")
                    .next("remove the file; a new token is made")),
                token => Ok(token.to_owned()),
            }
        }
        Err(error) => Err(failed("write", error)),
    }
}

/// A folder for files of one moment, inside the data folder.
pub fn scratch(dir: &Path) -> Result<tempfile::TempDir> {
    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp)
        .and_then(|()| tempfile::tempdir_in(&tmp))
        .map_err(|e| Error::failed(format!("cannot make a folder in {}", tmp.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_data_folder_is_the_named_one_else_the_users() {
        let home = [("HOME", "/home/a"), ("XDG_DATA_HOME", "/data"), ("METABUILDER_DATA", "/mb")];
        let at = |n| local_dir(&vars(&home[..n])).unwrap();
        assert_eq!(at(3), Path::new("/mb"));
        assert_eq!(at(2), Path::new("/data/metabuilder"));
        assert_eq!(at(1), Path::new("/home/a/.local/share/metabuilder"));
        assert_eq!(local_dir(&vars(&[])).unwrap_err().exit, crate::error::Exit::Usage);
    }

    #[test]
    fn up_has_the_folder_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let up = Lock::exclusive(dir.path()).unwrap();
        assert!(Lock::exclusive(dir.path()).unwrap_err().to_string().contains("in use"));
        assert!(Lock::shared(dir.path()).is_err());
        drop(up);
        let build = Lock::shared(dir.path()).unwrap();
        let beside = Lock::shared(dir.path());
        assert!(beside.is_ok());
        assert!(Lock::exclusive(dir.path()).is_err());
        drop((build, beside));
        assert!(Lock::exclusive(dir.path()).is_ok());
    }

    #[tokio::test]
    async fn databases_are_opened_by_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _used = Lock::shared(dir.path()).unwrap();
        let first = Lock::opening(dir.path()).await.unwrap();
        let mut second = Box::pin(Lock::opening(dir.path()));
        let soon = std::time::Duration::from_millis(100);
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        drop(first);
        assert!(second.await.is_ok());
    }

    #[test]
    fn the_token_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let token = dev_token(dir.path()).unwrap();
        assert_eq!(dev_token(dir.path()).unwrap(), token);
        assert!(token.len() > 40);
        let mode = fs::metadata(dir.path().join(TOKEN)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
