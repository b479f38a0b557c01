//! Fresh copies of a workspace, in which fixers work and patches are verified.
//!
//! A copy has caches of its own, filled from the run's each time: what a rejected patch left in
//! them must never make a later step, or the next verification, pass.

use super::execute::Stage;
use super::{Job, Place};
use crate::error::Error;
use crate::folders::{CacheFolder, plain};
use crate::git::{LITTER, Order, Seen};
use crate::nofollow;
use meta_domain::plan::PlannedStep;
use std::path::{Path, PathBuf};

/// A copy; removed when it is dropped. Its repository is out of the fixer's reach, and what the fixer
/// keeps is out of a room's.
pub(super) struct Copy {
    root: PathBuf,
    pub(super) workspace: PathBuf,
    /// For the fixer's scratch files.
    pub(super) state: PathBuf,
    pub(super) caches: CacheFolder,
    /// Where commands see it.
    pub(super) mount: PathBuf,
}

impl Drop for Copy {
    fn drop(&mut self) {
        let gone = [&self.root, &self.state].map(|folder| folder.with_extension("gone"));
        for (folder, gone) in [&self.root, &self.state].into_iter().zip(&gone) {
            if let Err(error) = std::fs::rename(folder, gone) {
                tracing::warn!(%error, "a copy of a workspace stays behind");
            }
        }
        let remove = move || {
            for folder in gone {
                if let Err(error) = nofollow::remove_tree(&folder) {
                    tracing::warn!(%error, "a copy of a workspace stays behind");
                }
            }
        };
        // Nobody waits for what is thrown away.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

impl Copy {
    /// Empty folders for a copy.
    pub(super) fn new(job: &Job, place: &Place) -> Result<Self, Error> {
        let id: String = job.task_id.chars().filter(char::is_ascii_alphanumeric).collect();
        let root = place.run.heal().join(format!("copy-{id}"));
        let state = place.run.states().join(id);
        for folder in [&root, &state] {
            nofollow::remove_tree(folder)?;
            nofollow::remove_tree(&folder.with_extension("gone"))?;
        }
        nofollow::make_way(&place.run.heal(), job.owner)?;
        nofollow::make_way(&root, job.owner)?;
        let workspace = root.join("ws");
        let repository = root.join("git");
        let copy = Self {
            state,
            caches: CacheFolder::at(root.join("caches"), job.owner),
            mount: if place.mount == place.run.workspace() {
                workspace.clone()
            } else {
                place.mount.clone()
            },
            workspace,
            root,
        };
        for folder in [&copy.workspace, &repository, &copy.state] {
            nofollow::make_own(folder, job.owner)?;
        }
        Ok(copy)
    }

    /// An order on the copy and its repository.
    pub(super) fn order(&self, seen: &Seen, text: impl Into<String>) -> Order {
        let root = self.seen(seen);
        Order::on(seen, &root.join("ws"), &root.join("git"), text)
    }

    /// An order on the copy that first fills it, with the arguments that it takes.
    pub(super) fn filled(
        &self,
        seen: &Seen,
        place: &Place,
        steps: &[PlannedStep],
        text: String,
    ) -> Result<Order, Error> {
        let mut exclude = LITTER.to_owned();
        if copy_has_cargo(place) {
            exclude.push_str("target/\n");
        }
        let mut folders = vec![(place.caches.home()?, self.caches.home()?)];
        let mut kept: Vec<&String> = steps.iter().flat_map(|s| &s.cache).collect();
        kept.sort_unstable();
        kept.dedup();
        for path in kept {
            exclude.push_str(&format!("/{}\n", plain(path)));
            folders.push((place.caches.folder(path)?, self.caches.folder(path)?));
        }
        let (all, own) = (place.caches.root()?, self.caches.root()?);
        let to = self.seen(seen).join("caches");
        let inside = |folder: &Path, root: &Path, shown: &Path| {
            let below = folder.strip_prefix(root).unwrap_or(folder);
            shown.join(below).to_string_lossy().into_owned()
        };
        let pairs =
            folders.iter().flat_map(|(f, t)| [inside(f, all, &seen.caches), inside(t, own, &to)]);
        Ok(self
            .order(seen, text)
            .path("FROM", &seen.workspace)
            .path("HISTORY", &seen.history)
            .set("EXCLUDE", &exclude)
            .arguments(pairs))
    }

    /// Where a room sees it.
    fn seen(&self, seen: &Seen) -> PathBuf {
        seen.heal.join(self.root.file_name().unwrap_or_default())
    }

    /// Where a command of the step is executed in this copy.
    pub(super) fn stage(&self, place: &Place) -> Stage<'_> {
        Stage {
            workspace: self.workspace.clone(),
            mount: &self.mount,
            objects: place.run.objects(),
            caches: &self.caches,
        }
    }
}

fn copy_has_cargo(place: &Place) -> bool {
    place.run.workspace().join("Cargo.toml").symlink_metadata().is_ok()
}
