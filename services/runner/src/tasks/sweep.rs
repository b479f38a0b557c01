//! Which workspaces are here, and taking one away that nobody works in.

use super::Workshop;
use crate::error::{Error, doing};
use crate::folders::RunFolder;
use crate::nofollow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::RwLock;

/// How the folder of a run is called while it is removed.
const GONE: &str = "gone-";

/// A run's folder that is here.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Whose it is.
    pub run_id: String,
    /// How long nothing has changed in it, as far as its own time says.
    pub idle: Duration,
}

impl Workshop {
    /// The lock that every task of a run shares, and that whoever removes its folder has alone.
    pub(super) fn use_lock(&self, run_id: &str) -> Arc<RwLock<()>> {
        let mut locks = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(run_id.to_owned()).or_default())
    }

    /// The runs whose folders are here.
    pub fn kept(&self) -> Vec<Kept> {
        let now = meta_runtime::now();
        let mut kept = Vec::new();
        for path in folders(&self.data_dir.join("runs")) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let is_a_run = RunFolder::new(&self.data_dir, name).is_ok_and(|run| run.root() == path);
            if is_a_run {
                kept.push(Kept { run_id: name.to_owned(), idle: idle(&path, now.0) });
            }
        }
        kept
    }

    /// Removes what was being removed when an earlier process ended.
    pub async fn remove_leftovers(&self) {
        let gone = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GONE))
        };
        let leftovers: Vec<_> =
            folders(&self.data_dir.join("runs")).into_iter().filter(gone).collect();
        for path in leftovers {
            if let Err(error) = removed(path).await {
                tracing::warn!(%error, "what is left of a workspace stays behind");
            }
        }
    }

    /// Removes a run's folder, unless a task works in it; answers whether it is gone.
    ///
    /// # Errors
    /// When something of it stays.
    pub async fn take_away(&self, run_id: &str) -> Result<bool, Error> {
        let run = RunFolder::new(&self.data_dir, run_id)?;
        let lock = self.use_lock(run_id);
        let Ok(_alone) = lock.try_write() else { return Ok(false) };
        self.rooms.close(&run);
        let gone = run.root().with_file_name(format!("{GONE}{run_id}"));
        // Out of the way at once; what is mounted cannot be moved, and goes where it is.
        let moved = std::fs::rename(run.root(), &gone).is_ok();
        self.sandbox.volumes().remove(run.root()).await?;
        if moved {
            removed(gone).await?;
        }
        Ok(true)
    }
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn idle(folder: &Path, now_ms: i64) -> Duration {
    let changed = std::fs::symlink_metadata(folder).and_then(|meta| meta.modified());
    let since_start = changed.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    since_start.map_or(Duration::ZERO, |at| now.saturating_sub(at))
}

async fn removed(path: PathBuf) -> Result<(), Error> {
    let removing = tokio::task::spawn_blocking(move || nofollow::remove_tree(&path));
    let ended = removing.await.map_err(std::io::Error::other);
    ended.map_err(doing("cannot remove a workspace"))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, SandboxMode};
    use crate::sandbox::Sandbox;
    use std::collections::BTreeMap;

    const RUN: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f";

    #[tokio::test]
    async fn a_folder_in_which_a_task_works_is_not_taken_away() {
        let data = tempfile::tempdir().unwrap();
        let config = Config {
            data_dir: data.path().to_owned(),
            sandbox: SandboxMode::Off,
            ..Config::default()
        };
        let sandbox = Sandbox::open(&config, &BTreeMap::new()).await.unwrap();
        let workshop = Workshop::new(&config, sandbox, None).unwrap();
        let folder = data.path().join("runs").join(RUN);
        std::fs::create_dir_all(folder.join("ws/deep")).unwrap();
        std::fs::create_dir_all(data.path().join("runs/not-a-run")).unwrap();
        let kept: Vec<String> = workshop.kept().into_iter().map(|kept| kept.run_id).collect();
        assert_eq!(kept, [RUN]);

        let lock = workshop.use_lock(RUN);
        let working = lock.read().await;
        assert!(!workshop.take_away(RUN).await.unwrap());
        assert!(folder.join("ws/deep").is_dir());
        drop(working);
        assert!(workshop.take_away(RUN).await.unwrap());
        assert!(!folder.exists());
        assert!(workshop.take_away("../..").await.is_err(), "only a run has a folder");
    }
}
