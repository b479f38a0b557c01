//! Which user id belongs to which tenant, on a runner that is root.

use crate::error::{Error, doing};
use crate::nofollow::Owner;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The ids that were given out. No two tenants ever share one, and a tenant keeps its own: its
/// caches belong to it. Runners that share a data folder share them.
#[derive(Debug, Clone)]
pub(super) struct Owners {
    file: PathBuf,
    ids: Range<u32>,
    known: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Owners {
    /// Ids of this range, remembered in the data folder.
    pub(super) fn new(data_dir: &Path, ids: Range<u32>) -> Self {
        Self { file: data_dir.join("owners"), ids, known: Arc::default() }
    }

    /// The id of a tenant.
    pub(super) fn of(&self, tenant: &str) -> Result<Owner, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.get(tenant) {
            return Ok(Some(*id));
        }
        let what = || doing("cannot read the owners of user ids");
        let mut options = OpenOptions::new();
        let mut file: File =
            options.read(true).append(true).create(true).open(&self.file).map_err(what())?;
        file.lock().map_err(what())?;
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).map_err(what())?;
        file.read_to_string(&mut text).map_err(what())?;
        *known = read(&text);
        if let Some(id) = known.get(tenant) {
            return Ok(Some(*id));
        }
        let id = free(tenant, &self.ids, &known.values().copied().collect()).ok_or_else(|| {
            Error::failed(format!(
                "all {} user ids from {} on belong to tenants (expected more of them)",
                self.ids.len(),
                self.ids.start
            ))
        })?;
        file.write_all(format!("{id} {tenant}\n").as_bytes()).map_err(what())?;
        known.insert(tenant.to_owned(), id);
        Ok(Some(id))
    }
}

fn read(text: &str) -> BTreeMap<String, u32> {
    let entry = |line: &str| {
        let (id, tenant) = line.split_once(' ')?;
        Some((tenant.to_owned(), id.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// The first free id from the one on that the tenant's name points to.
fn free(tenant: &str, ids: &Range<u32>, taken: &BTreeSet<u32>) -> Option<u32> {
    let count = u32::try_from(ids.len()).ok().filter(|count| *count > 0)?;
    let hash = Sha256::digest(tenant.as_bytes());
    let first = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % count;
    (0..count).map(|i| ids.start + (first + i) % count).find(|id| !taken.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_never_share_an_id_and_keep_theirs() {
        let data = tempfile::tempdir().unwrap();
        let owners = Owners::new(data.path(), 1000..1003);
        let ids: Vec<Owner> = ["a", "b", "c"].map(|t| owners.of(t).unwrap()).into();
        let distinct: BTreeSet<Owner> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), 3);
        assert!(ids.iter().all(|id| (1000..1003).contains(&id.unwrap())));
        let later = Owners::new(data.path(), 1000..1003);
        assert_eq!(later.of("b").unwrap(), ids[1]);
        let full = later.of("d").unwrap_err().to_string();
        assert!(full.contains("all 3 user ids from 1000 on"), "{full}");
        assert_eq!(owners.of("a").unwrap(), ids[0]);
    }
}
