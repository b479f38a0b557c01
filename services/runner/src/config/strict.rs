//! What a step may use at most, and see, at the level `strict`.

use crate::core::amount::Bytes;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Limits and places of the level `strict`; every field has a default. Amounts have units, such as
/// `"8 GiB"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Strict {
    /// All files of a run: workspace, history, the copies that fixers work in.
    pub workspace: Bytes,
    /// How many files and folders those may be.
    pub workspace_files: u64,
    /// All caches of a source, the private home folder among them.
    pub caches: Bytes,
    /// How many files and folders those may be.
    pub caches_files: u64,
    /// `/tmp`, and as much again for each of `/var/tmp` and `/dev/shm`. It is memory.
    pub scratch: Bytes,
    /// Memory of a process; of a whole step where there is a `cgroup`.
    pub memory: Bytes,
    /// One file.
    pub file: Bytes,
    /// Processes and threads of a step.
    pub processes: u64,
    /// Open files of a process.
    pub open_files: u64,
    /// Hundredths of a processor that a step gets; 0 means all of them. Needs a `cgroup`.
    pub cpu_percent: u32,
    /// What sized folders are made of.
    pub store: Store,
    /// Further folders that steps see, read-only, such as `/opt/toolchains`.
    pub shown: Vec<PathBuf>,
    /// Further variables of the runner that steps see, such as `JAVA_HOME`.
    pub env: Vec<String>,
    /// First of the user ids that tenants get where the runner is root.
    pub ids_from: u32,
    /// How many of them there are.
    pub ids: u32,
    /// A delegated folder of cgroup v2 without processes of its own, in which each step gets one
    /// with the limits above.
    pub cgroup: Option<PathBuf>,
}

/// What folders of a limited size are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// An image where one can be mounted, else memory.
    Auto,
    /// A file with a file system in it; needs root and loop devices. It outlives the runner.
    Image,
    /// Memory; needs root, or a runner that was started in a user namespace.
    Memory,
}

impl Default for Strict {
    fn default() -> Self {
        Self {
            workspace: Bytes::gib(8),
            workspace_files: 1_000_000,
            caches: Bytes::gib(8),
            caches_files: 1_000_000,
            scratch: Bytes::gib(1),
            memory: Bytes::gib(4),
            file: Bytes::gib(4),
            processes: 1024,
            open_files: 8192,
            cpu_percent: 0,
            store: Store::Auto,
            shown: Vec::new(),
            env: Vec::new(),
            ids_from: 200_000,
            ids: 50_000,
            cgroup: None,
        }
    }
}
