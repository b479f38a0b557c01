//! Power loss: what a database file holds for sure after one is what was synced. A library that is
//! loaded into the orchestrator keeps that beside each file (`shim/power_loss.c`); once the process
//! is killed, its files become what the machine could have found.

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("../shim/power_loss.c");
/// What reaches a disk whole or not at all, most of the time, in bytes.
const PAGE: usize = 4096;
/// How long a sync takes, in milliseconds: what is lost is what was written meanwhile.
const SYNC_MS: u32 = 15;
/// A page that was not synced is on the disk with this chance.
const KEPT: f64 = 0.5;
/// One that is, is there only in part with this chance.
const TORN: f64 = 0.2;

/// The files of an orchestrator that may lose its power.
#[derive(Debug)]
pub struct Power {
    library: PathBuf,
    live: PathBuf,
    durable: PathBuf,
}

/// Whether the library can be made here.
pub fn is_possible() -> bool {
    Command::new("cc").arg("--version").output().is_ok_and(|done| done.status.success())
}

impl Power {
    /// Makes the library, for the database files directly in `live`.
    pub fn prepare(place: &Path, live: &Path) -> Result<Self> {
        let source = place.join("power_loss.c");
        let library = place.join("power_loss.so");
        std::fs::write(&source, SOURCE)?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source);
        let done = command.args(["-ldl", "-lpthread"]).output().context("cc")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr).trim());
        let durable = place.join("durable");
        std::fs::create_dir_all(&durable)?;
        Ok(Self { library, live: live.canonicalize()?, durable: durable.canonicalize()? })
    }

    /// What the process has to be started with.
    pub fn vars(&self) -> [(String, String); 4] {
        let path = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("POWER_LOSS_LIVE", path(&self.live)),
            ("POWER_LOSS_DURABLE", path(&self.durable)),
            ("POWER_LOSS_SYNC_MS", SYNC_MS.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// The process is gone, and so is what was never synced, or some of it. Answers how many pages
    /// that were.
    pub fn fail(&self, rng: &mut StdRng) -> Result<usize> {
        let mut lost = 0;
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.live)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<std::io::Result<_>>()?;
        files.sort();
        for live in files {
            let name = live.file_name().context("a name")?.to_string_lossy().into_owned();
            if name.ends_with(".db-shm") {
                std::fs::remove_file(&live)?;
            }
            if ![".db", ".db-wal", ".db-journal"].iter().any(|end| name.ends_with(end)) {
                continue;
            }
            let durable = self.durable.join(&name);
            let after = std::fs::read(&live)?;
            let before = std::fs::read(&durable).unwrap_or_default();
            let (found, missing) = survived(&before, &after, rng);
            lost += missing;
            std::fs::write(&live, &found)?;
            std::fs::write(&durable, &found)?;
        }
        Ok(lost)
    }
}

/// What a disk holds that was told to keep `synced` and was written to as far as `written`; and of
/// how many pages something is missing.
fn survived(synced: &[u8], written: &[u8], rng: &mut StdRng) -> (Vec<u8>, usize) {
    let grown = synced.len() != written.len() && rng.random_bool(KEPT);
    let mut found = synced.to_vec();
    found.resize(if grown { written.len() } else { synced.len() }, 0);
    let mut missing = usize::from(!grown && synced.len() != written.len());
    for (page, there) in found.chunks_mut(PAGE).enumerate() {
        let from = (page * PAGE).min(written.len());
        let to = (from + there.len()).min(written.len());
        let wanted = &written[from..to];
        if there.get(..wanted.len()) == Some(wanted) {
            continue;
        }
        if !rng.random_bool(KEPT) {
            missing += 1;
            continue;
        }
        let mut keep = wanted.len();
        if rng.random_bool(TORN) {
            keep = rng.random_range(0..=keep);
            missing += 1;
        }
        there[..keep].copy_from_slice(&wanted[..keep]);
    }
    (found, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn what_was_synced_survives_and_nothing_appears_that_was_not_written() {
        let synced = vec![1; 3 * PAGE];
        let mut written = synced.clone();
        written[PAGE..2 * PAGE].fill(2);
        written.extend([3; PAGE]);
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..64 {
            let (found, missing) = survived(&synced, &written, &mut StdRng::seed_from_u64(seed));
            assert_eq!(found[..PAGE], synced[..PAGE]);
            assert_eq!(found[2 * PAGE..3 * PAGE], synced[2 * PAGE..]);
            let known = |at: usize| {
                found[at] == 0 && at >= 3 * PAGE
                    || synced.get(at) == Some(&found[at])
                    || written.get(at) == Some(&found[at])
            };
            assert!((0..found.len()).all(known), "seed {seed}");
            kept += usize::from(found == written);
            lost += usize::from(missing > 0);
        }
        assert!(kept > 0 && lost > 0, "kept {kept}, lost {lost}");
        assert_eq!(survived(&written, &written, &mut StdRng::seed_from_u64(1)), (written, 0));
    }
}
