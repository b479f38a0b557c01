//! Scratch folders: one for this process, and a corner of it for each command.

use super::volumes;
use crate::error::{Error, doing};
use crate::nofollow;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// Empty corners that are kept for the next command: making a folder costs as much as starting a
/// small program.
const IDLE_MAX: usize = 64;
/// What a launch may leave in a corner.
pub(super) const LAUNCH_FILES: [&str; 2] = ["launch", "passwd"];

/// A folder for what lives as long as this process; the lock says that it does.
#[derive(Debug)]
pub(super) struct Scratch {
    idle: Mutex<Vec<TempDir>>,
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes the folder, and removes those whose process was killed.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Error> {
        let what = || doing("cannot make a scratch folder");
        let all = data_dir.join("scratch");
        nofollow::make_own(&all, None)?;
        // One process at a time looks, so that none sees a folder before its lock is taken.
        let looking = File::create(data_dir.join("scratch.lock")).map_err(what())?;
        looking.lock().map_err(what())?;
        for entry in std::fs::read_dir(&all).map_err(what())?.flatten() {
            let lock = File::open(entry.path().join("lock"));
            if lock.map_or(true, |lock| lock.try_lock().is_ok()) {
                volumes::let_go(data_dir, &entry.path())?;
                nofollow::remove_tree(&entry.path())?;
            }
        }
        let folder = tempfile::Builder::new().tempdir_in(&all).map_err(what())?;
        let lock = File::create(folder.path().join("lock")).map_err(what())?;
        lock.lock().map_err(what())?;
        Ok(Self { idle: Mutex::default(), folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An empty folder for one command.
    pub(super) fn corner(self: &Arc<Self>) -> Result<Corner, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let folder = match idle {
            Some(folder) => folder,
            None => tempfile::Builder::new()
                .tempdir_in(self.path())
                .map_err(doing("cannot make a scratch folder"))?,
        };
        Ok(Corner { folder: Some(folder), of: Arc::clone(self) })
    }
}

/// A folder for one command. When that has ended it is kept for another one, if nothing is in it;
/// otherwise it is removed.
#[derive(Debug)]
pub(super) struct Corner {
    folder: Option<TempDir>,
    of: Arc<Scratch>,
}

impl Corner {
    pub(super) fn path(&self) -> &Path {
        self.folder.as_ref().map_or(self.of.path(), TempDir::path)
    }
}

impl Drop for Corner {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        for name in LAUNCH_FILES {
            // Most commands leave one of them, or none.
            let _absent = std::fs::remove_file(folder.path().join(name));
        }
        let is_empty = std::fs::read_dir(folder.path()).is_ok_and(|mut left| left.next().is_none());
        let mut idle = self.of.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if is_empty && idle.len() < IDLE_MAX {
            idle.push(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_lasts_as_long_as_its_process() {
        let data = tempfile::tempdir().unwrap();
        let left_behind = data.path().join("scratch/killed");
        std::fs::create_dir_all(&left_behind).unwrap();
        let first = Scratch::open(data.path()).unwrap();
        let second = Scratch::open(data.path()).unwrap();
        assert!(first.path().exists() && second.path().exists() && !left_behind.exists());
    }

    #[test]
    fn a_corner_is_used_again_only_when_it_was_left_empty() {
        let data = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(data.path()).unwrap());
        let path = |corner: &Corner| corner.path().to_owned();
        let first = scratch.corner().unwrap();
        let other = scratch.corner().unwrap();
        let (left, used) = (path(&first), path(&other));
        assert_ne!(left, used);
        std::fs::write(left.join("launch"), "x").unwrap();
        std::fs::write(used.join("cache"), "x").unwrap();
        drop((first, other));
        assert!(!used.exists() && std::fs::read_dir(&left).unwrap().next().is_none());
        assert_eq!(path(&scratch.corner().unwrap()), left);
    }
}
