//! Fresh copies of a workspace, in which fixers work and patches are verified.
//!
//! A copy has caches of its own, filled from the run's each time: what a rejected patch left in
//! them must never make a later step, or the next verification, pass.

use super::execute::Stage;
use super::{Job, Place, Workshop};
use crate::error::Error;
use crate::folders::{CacheFolder, plain};
use crate::git::{LITTER, OBJECTS, Script};
use crate::nofollow;
use meta_domain::plan::PlannedStep;
use std::path::PathBuf;

/// A copy; removed when it is dropped.
pub(super) struct Copy {
    root: PathBuf,
    pub(super) workspace: PathBuf,
    /// Its repository, out of the fixer's reach.
    pub(super) repository: PathBuf,
    /// For the fixer's scratch files.
    pub(super) state: PathBuf,
    pub(super) caches: CacheFolder,
    /// Where commands see it.
    pub(super) mount: PathBuf,
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = nofollow::remove_tree(&self.root) {
            tracing::warn!(%error, "a copy of a workspace stays behind");
        }
    }
}

impl Copy {
    /// Empty folders for a copy.
    pub(super) fn new(job: &Job, place: &Place) -> Result<Self, Error> {
        let id: String = job.task_id.chars().filter(char::is_ascii_alphanumeric).collect();
        let root = place.run.heal().join(format!("copy-{id}"));
        nofollow::remove_tree(&root)?;
        let workspace = root.join("ws");
        let copy = Self {
            repository: root.join("git"),
            state: root.join("state"),
            caches: CacheFolder::at(root.join("caches"), job.owner),
            mount: if place.mount == place.run.workspace() {
                workspace.clone()
            } else {
                place.mount.clone()
            },
            workspace,
            root,
        };
        for folder in [&copy.workspace, &copy.repository, &copy.state] {
            nofollow::make_own(folder, job.owner)?;
        }
        Ok(copy)
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

impl Workshop {
    /// A script on the copy that first fills it, with the arguments that it takes.
    pub(super) fn copy_script(
        &self,
        job: &Job,
        place: &Place,
        copy: &Copy,
        steps: &[PlannedStep],
        text: String,
    ) -> Result<(Script<'_>, Vec<String>), Error> {
        let sandbox = &self.sandbox;
        let mut exclude = LITTER.to_owned();
        if copy_has_cargo(place) {
            exclude.push_str("target/\n");
        }
        let mut folders = vec![(place.caches.home()?, copy.caches.home()?)];
        let mut kept: Vec<&String> = steps.iter().flat_map(|s| &s.cache).collect();
        kept.sort_unstable();
        kept.dedup();
        for path in kept {
            exclude.push_str(&format!("/{}\n", plain(path)));
            folders.push((place.caches.folder(path)?, copy.caches.folder(path)?));
        }
        let mut script = self
            .repository_script(job, place, copy, text)?
            .path("FROM", sandbox.show(&place.run.workspace(), "from", false))
            .path("HISTORY", sandbox.show(&place.run.history(), "base.git", false))
            .set("EXCLUDE", &exclude);
        let mut pairs = Vec::new();
        for (i, (from, to)) in folders.iter().enumerate() {
            for (folder, name, writable) in [(from, "from", false), (to, "to", true)] {
                let bind = sandbox.show(folder, &format!("cache-{i}-{name}"), writable);
                pairs.push(bind.inside.to_string_lossy().into_owned());
                script = script.path(&format!("CACHE_{i}_{name}"), bind);
            }
        }
        Ok((script, pairs))
    }

    /// A script on the copy and its repository.
    pub(super) fn repository_script(
        &self,
        job: &Job,
        place: &Place,
        copy: &Copy,
        text: String,
    ) -> Result<Script<'_>, Error> {
        let sandbox = &self.sandbox;
        let script = Script::new(sandbox, &self.data_dir, job.owner, &copy.workspace, text)?;
        let tree = script.mount().to_string_lossy().into_owned();
        let objects = sandbox.show(&place.run.objects(), OBJECTS, false);
        Ok(script
            .path("OBJECTS", objects)
            .path("GIT_DIR", sandbox.show(&copy.repository, "git", true))
            .set("GIT_WORK_TREE", &tree))
    }
}

fn copy_has_cargo(place: &Place) -> bool {
    place.run.workspace().join("Cargo.toml").symlink_metadata().is_ok()
}
