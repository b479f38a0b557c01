//! A control group for one step, where a subtree was delegated to the runner.

use crate::config::Strict;
use crate::error::{Error, doing};
use std::path::{Path, PathBuf};

/// Microseconds in which a step's share of the processors is counted.
const CPU_PERIOD_US: u64 = 100_000;
/// How often a group that is still being emptied is tried to be removed, and how long between.
const REMOVE_TRIES: u32 = 50;
const REMOVE_WAIT: std::time::Duration = std::time::Duration::from_millis(10);

/// The group of one step; everything in it is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    folder: PathBuf,
}

impl Group {
    /// A group with the step's limits, if the configuration names a place for it.
    pub(super) fn open(limits: &Strict) -> Result<Option<Self>, Error> {
        let Some(parent) = &limits.cgroup else { return Ok(None) };
        let folder = parent.join(format!("step-{}", meta_runtime::new_id().simple()));
        std::fs::create_dir(&folder).map_err(doing("cannot make a control group"))?;
        let group = Self { folder };
        group.set("memory.max", &limits.memory.0.to_string())?;
        group.set("pids.max", &limits.processes.to_string())?;
        if limits.cpu_percent > 0 {
            let share = CPU_PERIOD_US * u64::from(limits.cpu_percent) / 100;
            group.set("cpu.max", &format!("{share} {CPU_PERIOD_US}"))?;
        }
        Ok(Some(group))
    }

    /// The file that takes the id of who enters.
    pub(super) fn entry(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let file = self.folder.join(name);
        std::fs::write(&file, value).map_err(doing(format!("cannot set {}", file.display())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.folder);
        if let Err(error) = std::fs::write(folder.join("cgroup.kill"), "1") {
            tracing::warn!(%error, "a step's control group cannot be ended");
        }
        let remove = move || remove(&folder);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn remove(folder: &Path) {
    for _ in 0..REMOVE_TRIES {
        if std::fs::remove_dir(folder).is_ok() {
            return;
        }
        std::thread::sleep(REMOVE_WAIT);
    }
    tracing::warn!(folder = %folder.display(), "a step's control group stays behind");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_limits_are_those_of_the_configuration() {
        let parent = tempfile::tempdir().unwrap();
        let cgroup = Some(parent.path().to_owned());
        let limits = Strict { cgroup, cpu_percent: 150, processes: 77, ..Strict::default() };
        let group = Group::open(&limits).unwrap().unwrap();
        let said = |name: &str| std::fs::read_to_string(group.folder.join(name)).unwrap();
        assert_eq!(said("memory.max"), (4u64 << 30).to_string());
        assert_eq!(said("pids.max"), "77");
        assert_eq!(said("cpu.max"), "150000 100000");
        assert!(Group::open(&Strict::default()).unwrap().is_none());
        // A plain folder is not emptied by the kernel; a group's own files go with it.
        let folder = group.folder.clone();
        for name in ["memory.max", "pids.max", "cpu.max"] {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
        drop(group);
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "it was told to end");
    }
}
