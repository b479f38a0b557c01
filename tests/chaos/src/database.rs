//! What the orchestrators keep everything in, and what can be done to it.

use anyhow::{Context, Result, ensure};
use meta_storage::testing::Postgres;
use nix::sys::statvfs::statvfs;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the small file system.
const SMALL_DISK_MIB: u64 = 64;
/// File that fills it.
const FILLER: &str = "filler";

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// One file.
    Sqlite,
    /// A server, of this test's own.
    Postgres,
}

impl Kind {
    /// How far the orchestrators' clock may be from this machine's, in milliseconds.
    pub fn clock_slack_ms(self) -> i64 {
        match self {
            // set once, at the start, by a clock that is read in whole milliseconds
            Self::Sqlite => 2,
            Self::Postgres => 50,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// The database of a test.
pub struct Database {
    /// The server, if it is one.
    pub postgres: Option<Postgres>,
    setting: Option<String>,
    disk: Option<Disk>,
}

impl Database {
    /// Makes an empty one; a SQLite file is made by the orchestrator itself, in `data`.
    pub async fn start(kind: Kind, small_disk: bool, data: &Path) -> Result<Self> {
        let disk = if small_disk { Some(Disk::mount(data)?) } else { None };
        let (mut postgres, mut setting) = (None, None);
        if kind == Kind::Postgres {
            let server = Postgres::own().await;
            setting = Some(server.empty().await.to_setting());
            postgres = Some(server);
        }
        Ok(Self { postgres, setting, disk })
    }

    /// What the orchestrator is told; nothing for its own file.
    pub fn setting(&self) -> Option<String> {
        self.setting.clone()
    }

    /// The small file system, if there is one.
    pub fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("this test has no small disk")
    }
}

/// What SQLite itself says of every database file in a folder; empty when all are sound.
pub fn damage(data: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "db") {
            continue;
        }
        let checked = Command::new("sqlite3").arg(&path).arg("PRAGMA integrity_check").output();
        let checked = checked.context("sqlite3 is needed to look at a database file")?;
        let said = String::from_utf8_lossy(&checked.stdout);
        if said.trim() != "ok" {
            let error = String::from_utf8_lossy(&checked.stderr);
            found.push(format!("{}: {} {}", path.display(), said.trim(), error.trim()));
        }
    }
    Ok(found)
}

/// A file system in memory that can be filled; gone with the value.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(at: &Path) -> Result<Self> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o"]).arg(format!("size={SMALL_DISK_MIB}m"));
        let done = command.arg("chaos").arg(at).output().context("mount")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "cannot mount a small disk: {}", said.trim());
        Ok(Self { at: at.to_owned() })
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.at.join(FILLER))?;
        let zeros = vec![0; 64 * 1024];
        let mut piece = zeros.len();
        while piece > 0 {
            if std::io::Write::write_all(&mut file, &zeros[..piece]).is_err() {
                piece /= 2;
            }
        }
        let free = statvfs(&self.at)?.blocks_available();
        ensure!(free == 0, "the small disk still has {free} blocks");
        Ok(())
    }

    /// Frees it.
    pub fn free(&self) -> Result<()> {
        std::fs::remove_file(self.at.join(FILLER)).context("cannot free the small disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // lazily: a process that is about to end may still have a file open
        let done = Command::new("umount").arg("-l").arg(&self.at).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.at.display());
        }
    }
}
