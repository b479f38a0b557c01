//! Making folders inside of a tree that somebody else can write to, without following a link that
//! leads out of it.

use crate::error::{Error, calling};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

/// Who owns what the runner makes for a run: `None` is the runner's own user.
pub type Owner = Option<u32>;

/// What to do with a link or file that stands where a folder should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InTheWay {
    /// Remove it.
    Replace,
    /// Leave it and say so.
    Keep,
}

const FOLDER: OFlag =
    OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

/// Makes the folder `relative` below `root` and those above it; `false` when something is in the
/// way and was kept.
///
/// # Errors
/// When a folder cannot be made.
pub fn make_folder(
    root: &Path,
    relative: &Path,
    owner: Owner,
    in_the_way: InTheWay,
) -> Result<bool, Error> {
    let what = format!("cannot make the folder {}", root.join(relative).display());
    let mut folder = open(root, FOLDER, Mode::empty()).map_err(calling(&what))?;
    for part in relative.components() {
        match part {
            Component::Normal(name) => {
                match step_into(&folder, name, owner, in_the_way).map_err(calling(&what))? {
                    Some(inner) => folder = inner,
                    None => return Ok(false),
                }
            }
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Error::refused(format!("{what}: the path leaves its root")));
            }
        }
    }
    Ok(true)
}

/// Makes the empty file `relative` below `root`, and the folders above it.
///
/// # Errors
/// When it cannot be made.
pub fn make_file(root: &Path, relative: &Path, owner: Owner) -> Result<(), Error> {
    let what = format!("cannot make the file {}", root.join(relative).display());
    let parent = relative.parent().unwrap_or(Path::new(""));
    make_folder(root, parent, owner, InTheWay::Replace)?;
    let Some(name) = relative.file_name() else {
        return Err(Error::refused(format!("{what}: the path has no name")));
    };
    let mut folder = open(root, FOLDER, Mode::empty()).map_err(calling(&what))?;
    for part in parent {
        folder = openat(&folder, part, FOLDER, Mode::empty()).map_err(calling(&what))?;
    }
    let flags = OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
    let mode = Mode::from_bits_truncate(0o644);
    let made = openat(&folder, name, flags | OFlag::O_NONBLOCK, mode);
    if matches!(made, Err(Errno::ELOOP | Errno::EISDIR | Errno::ENXIO)) {
        return Err(Error::refused(format!("{what}: something else is in its place")));
    }
    made.map_err(calling(&what))?;
    give(&folder, name, owner).map_err(calling(&what))
}

/// Opens the regular file `relative` below `root` for reading; `None` when there is none, or a link
/// is on the way.
pub fn open_file(root: &Path, relative: &Path) -> Option<std::fs::File> {
    let mut folder = open(root, FOLDER, Mode::empty()).ok()?;
    for part in relative.parent()?.components() {
        let Component::Normal(name) = part else { return None };
        folder = openat(&folder, name, FOLDER, Mode::empty()).ok()?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file =
        std::fs::File::from(openat(&folder, relative.file_name()?, flags, Mode::empty()).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

fn step_into(
    folder: &OwnedFd,
    name: &OsStr,
    owner: Owner,
    in_the_way: InTheWay,
) -> Result<Option<OwnedFd>, Errno> {
    match openat(folder, name, FOLDER, Mode::empty()) {
        Ok(inner) => return Ok(Some(inner)),
        Err(Errno::ENOENT) => {}
        Err(Errno::ELOOP | Errno::ENOTDIR) if in_the_way == InTheWay::Keep => return Ok(None),
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?;
        }
        Err(other) => return Err(other),
    }
    match mkdirat(folder, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) => give(folder, name, owner)?,
        Err(Errno::EEXIST) => {}
        Err(other) => return Err(other),
    }
    openat(folder, name, FOLDER, Mode::empty()).map(Some)
}

fn give(folder: &OwnedFd, name: &OsStr, owner: Owner) -> Result<(), Errno> {
    let Some(id) = owner else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    fchownat(folder, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Makes a folder of the runner's own, readable by nobody else, and gives it to `owner`.
///
/// # Errors
/// When it cannot be made.
pub fn make_own(path: &Path, owner: Owner) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt, lchown};
    let what = format!("cannot make the folder {}", path.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(crate::error::doing(&what))?;
    if owner.is_some() {
        lchown(path, owner, owner).map_err(crate::error::doing(&what))?;
    }
    Ok(())
}

/// Makes a folder of the runner's own through which `owner` may pass, without seeing or changing
/// what else is in it.
///
/// # Errors
/// When it cannot be made.
pub fn make_way(path: &Path, owner: Owner) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    make_own(path, None)?;
    if owner.is_none() {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
        .map_err(crate::error::doing(format!("cannot open the way through {}", path.display())))
}

/// Removes a tree; one that its owner has locked is unlocked first. What is not there is fine.
///
/// # Errors
/// When something of it stays.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    let gone = |result: std::io::Result<()>| match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if gone(std::fs::remove_dir_all(path)).is_ok() {
        return Ok(());
    }
    unlock(path);
    gone(std::fs::remove_dir_all(path))
        .map_err(crate::error::doing(format!("cannot remove {}", path.display())))
}

/// Gives the owner back the right to list and change the folders of a tree.
fn unlock(path: &Path) {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return };
    if !meta.is_dir() {
        return;
    }
    let mode = Mode::from_bits_truncate(0o700);
    // Best effort: what stays locked makes the removal fail, and that is reported.
    let _unlocked = fchmodat(nix::fcntl::AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)
        .or_else(|_| fchmodat(nix::fcntl::AT_FDCWD, path, mode, FchmodatFlags::FollowSymlink));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            unlock(&entry.path());
        }
    }
}

/// Reads a regular file, not through a link, at most `bytes_max` bytes of it.
pub fn read_file(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_never_followed_out_of_the_tree() {
        let tree = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), tree.path().join("a")).unwrap();
        let path = Path::new("a/b");
        assert!(!make_folder(tree.path(), path, None, InTheWay::Keep).unwrap());
        assert!(make_folder(tree.path(), path, None, InTheWay::Replace).unwrap());
        assert!(!outside.path().join("b").exists());
        assert!(tree.path().join("a/b").is_dir());
        assert!(make_folder(tree.path(), Path::new("../x"), None, InTheWay::Replace).is_err());
    }

    #[test]
    fn a_locked_tree_is_removed() {
        use std::os::unix::fs::PermissionsExt;
        let tree = tempfile::tempdir().unwrap();
        let locked = tree.path().join("t/locked");
        std::fs::create_dir_all(locked.join("in")).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&tree.path().join("t")).unwrap();
        assert!(!tree.path().join("t").exists());
    }
}
