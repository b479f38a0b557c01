//! Whether tracked files are as they were, read from git's index without starting git.
//!
//! The index of a run's history holds, for each tracked file, what the file system said of it when
//! git last looked (Documentation/gitformat-index, versions 2 to 4). A file for which it still says
//! the same did not change. Whatever is not sure counts as changed: git then looks itself.

use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstatat};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of an index that is read; a larger one is git's business.
const INDEX_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of an entry before its flags' extension and its name.
const ENTRY_BYTES: usize = 62;
/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 20;
/// Flag of an entry: it has more flags.
const EXTENDED: u16 = 0x4000;
/// Flag of an entry: what the file system says is not to be believed, or a merge is under way.
const NOT_PLAIN: u16 = 0x8000 | 0x3000;
const MODE_TYPE: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;

/// Whether every tracked file of the workspace is surely as the history's index knows it.
pub fn is_unchanged(history: &Path, workspace: &Path) -> bool {
    unchanged(history, workspace).unwrap_or(false)
}

fn unchanged(history: &Path, workspace: &Path) -> Option<bool> {
    let path = history.join("index");
    let meta = std::fs::symlink_metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > INDEX_BYTES_MAX {
        return None;
    }
    let written = (meta.mtime(), meta.mtime_nsec());
    let bytes = std::fs::read(&path).ok()?;
    let root = std::fs::File::open(workspace).ok()?;
    let mut entries = Entries::new(&bytes)?;
    while let Some(entry) = entries.next()? {
        // A path through a link that a step put there is another file's.
        let stat = stat_below(&root, &entry.name)?;
        if !entry.is(&stat) || entry.mtime >= written {
            return Some(false);
        }
    }
    Some(true)
}

/// What the file system says of a path whose folders are real folders.
fn stat_below(root: &std::fs::File, name: &[u8]) -> Option<FileStat> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(name);
    let path = Path::new(name);
    let mut above = Path::new("");
    for part in path.parent()?.ancestors().collect::<Vec<_>>().into_iter().rev().skip(1) {
        above = part;
        let stat = fstatat(root.as_fd(), part, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        if stat.st_mode & MODE_TYPE != 0o040_000 {
            return None;
        }
    }
    debug_assert_eq!(above, path.parent()?);
    fstatat(root.as_fd(), path, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
}

/// What the index says of one file.
struct Entry {
    ctime: (i64, i64),
    mtime: (i64, i64),
    inode: u32,
    mode: u32,
    size: u32,
    name: Vec<u8>,
}

impl Entry {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the index keeps the low 32 bits"
    )]
    fn is(&self, stat: &FileStat) -> bool {
        let kind = self.mode & MODE_TYPE;
        let executable = |mode: u32| mode & 0o100 != 0;
        let same_kind = stat.st_mode & MODE_TYPE == kind
            && match kind {
                TYPE_FILE => executable(stat.st_mode) == executable(self.mode),
                TYPE_LINK => true,
                _ => false,
            };
        same_kind
            && (stat.st_mtime, stat.st_mtime_nsec) == self.mtime
            && (stat.st_ctime, stat.st_ctime_nsec) == self.ctime
            && stat.st_size as u32 == self.size
            && stat.st_ino as u32 == self.inode
    }
}

/// Walks through an index.
struct Entries<'a> {
    rest: &'a [u8],
    left: u32,
    version: u32,
    name: Vec<u8>,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"DIRC")?;
        let (version, left) = (number(rest, 0)?, number(rest, 4)?);
        let end = rest.len().checked_sub(CHECKSUM_BYTES)?;
        (2..=4).contains(&version).then(|| Self {
            rest: rest.get(8..end).unwrap_or_default(),
            left,
            version,
            name: Vec::new(),
        })
    }

    /// The next entry, or none at the end; nothing at all when it cannot be read.
    #[expect(clippy::option_option, reason = "an end is not a fault")]
    fn next(&mut self) -> Option<Option<Entry>> {
        if self.left == 0 {
            return Some(None);
        }
        self.left -= 1;
        let at = |offset| number(self.rest, offset);
        let time = |offset| Some((i64::from(at(offset)?), i64::from(at(offset + 4)?)));
        let flags = u16::from_be_bytes(self.rest.get(60..62)?.try_into().ok()?);
        if flags & NOT_PLAIN != 0 {
            return None;
        }
        let (ctime, mtime) = (time(0)?, time(8)?);
        let (inode, mode, size) = (at(20)?, at(24)?, at(36)?);
        let mut start = ENTRY_BYTES;
        if flags & EXTENDED != 0 {
            // Sparse or intent-to-add: not a plain file.
            if self.version < 3 || self.rest.get(start..start + 2)? != [0, 0] {
                return None;
            }
            start += 2;
        }
        let used = if self.version == 4 { self.compressed(start)? } else { self.plain(start)? };
        self.rest = self.rest.get(used..)?;
        Some(Some(Entry { ctime, mtime, inode, mode, size, name: self.name.clone() }))
    }

    /// Versions 2 and 3: the name, then one to eight zero bytes up to a multiple of eight.
    fn plain(&mut self, start: usize) -> Option<usize> {
        let name = self.rest.get(start..)?;
        let len = name.iter().position(|b| *b == 0)?;
        self.name = name[..len].to_vec();
        Some((start + len + 8) & !7)
    }

    /// Version 4: how much of the last name is cut off, then what comes in its place.
    fn compressed(&mut self, start: usize) -> Option<usize> {
        let mut at = start;
        let mut byte = *self.rest.get(at)?;
        let mut cut = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            at += 1;
            byte = *self.rest.get(at)?;
            cut = cut.checked_add(1)?.checked_mul(128)? | usize::from(byte & 0x7f);
        }
        let rest = self.rest.get(at + 1..)?;
        let len = rest.iter().position(|b| *b == 0)?;
        let kept = self.name.len().checked_sub(cut)?;
        self.name.truncate(kept);
        self.name.extend_from_slice(&rest[..len]);
        Some(at + 1 + len + 1)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;
    use std::time::Duration;

    /// A repository of the test's own, with an index of this version.
    fn repository(version: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        for (name, text) in [("a.txt", "a"), ("src/b.txt", "bb"), ("src/bc.txt", "")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("a.txt", folder.path().join("link")).unwrap();
        // what is written in the same instant as the index is not sure
        std::thread::sleep(Duration::from_millis(20));
        for words in [&["init", "-q"][..], &["config", "index.version", version], &["add", "-A"]] {
            let done = Command::new("git").args(words).current_dir(&folder).status().unwrap();
            assert!(done.success());
        }
        folder
    }

    fn check(folder: &Path) -> bool {
        is_unchanged(&folder.join(".git"), folder)
    }

    #[test]
    fn what_nobody_touched_is_unchanged_in_every_version() {
        for version in ["2", "3", "4"] {
            let folder = repository(version);
            assert!(check(folder.path()), "version {version}");
            std::fs::write(folder.path().join("untracked"), "x").unwrap();
            assert!(check(folder.path()), "untracked files do not count");
        }
    }

    #[test]
    fn every_kind_of_change_is_seen() {
        use std::os::unix::fs::PermissionsExt;
        type Change = fn(&Path);
        let changes: [Change; 6] = [
            |f| std::fs::write(f.join("a.txt"), "b").unwrap(),
            |f| std::fs::remove_file(f.join("src/b.txt")).unwrap(),
            |f| {
                std::fs::set_permissions(f.join("a.txt"), PermissionsExt::from_mode(0o755))
                    .unwrap();
            },
            |f| {
                std::fs::remove_file(f.join("link")).unwrap();
                std::fs::write(f.join("link"), "a.txt").unwrap();
            },
            |f| std::fs::rename(f.join("src"), f.join("other")).unwrap(),
            |f| {
                std::fs::rename(f.join("src"), f.join("other")).unwrap();
                std::os::unix::fs::symlink("other", f.join("src")).unwrap();
            },
        ];
        for (n, change) in changes.iter().enumerate() {
            let folder = repository("2");
            change(folder.path());
            assert!(!check(folder.path()), "change {n}");
        }
    }

    #[test]
    fn what_is_not_an_index_is_not_sure() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!check(folder.path()));
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        std::fs::write(folder.path().join(".git/index"), b"DIRC\0\0\0\x02\0\0\0\x09").unwrap();
        assert!(!check(folder.path()));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..400), version in 0_u8..6) {
            let mut index = b"DIRC\0\0\0".to_vec();
            index.push(version);
            index.extend(bytes);
            if let Some(mut entries) = Entries::new(&index) {
                while let Some(Some(_)) = entries.next() {}
            }
        }
    }
}
