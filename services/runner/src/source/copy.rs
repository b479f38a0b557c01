//! Bringing files into a workspace on the host: nothing of the project is executed here.

use crate::error::{Error, doing};
use crate::nofollow::Owner;
use meta_domain::limits::INLINE_BYTES_MAX;
use meta_domain::project::is_inside;
use nix::fcntl::OFlag;
use std::collections::BTreeMap;
use std::fs::{File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::Path;

/// Folders that tools make again by themselves.
const REGENERABLE: &[&str] =
    &[".mypy_cache", ".ruff_cache", ".pytest_cache", ".metabuilder", "__pycache__"];

/// Copies a folder with its ignored files, but without repositories, caches of tools and Rust's
/// build output. Links stay links; what is neither file, folder nor link is left out.
///
/// # Errors
/// When a file cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path, owner: Owner) -> Result<(), Error> {
    let rust = from.join("Cargo.toml").is_file();
    let listing = |e| doing(format!("cannot list {}", from.display()))(e);
    for entry in std::fs::read_dir(from).map_err(listing)? {
        let entry = entry.map_err(listing)?;
        let (name, source) = (entry.file_name(), entry.path());
        let target = to.join(&name);
        let kind = entry.file_type().map_err(listing)?;
        if name == ".git" {
            continue;
        }
        let failed = || doing(format!("cannot copy {}", source.display()));
        if kind.is_symlink() {
            let link = std::fs::read_link(&source).map_err(failed())?;
            symlink(link, &target).map_err(failed())?;
            lchown(&target, owner, owner).map_err(failed())?;
        } else if kind.is_dir() {
            let build_output = rust && name == "target";
            if build_output || REGENERABLE.iter().any(|r| name == *r) {
                continue;
            }
            std::fs::create_dir(&target).map_err(failed())?;
            copy_tree(&source, &target, owner)?;
            let mode = std::fs::symlink_metadata(&source).map_err(failed())?.permissions().mode();
            std::fs::set_permissions(&target, own_bits(mode)).map_err(failed())?;
            lchown(&target, owner, owner).map_err(failed())?;
        } else if kind.is_file() {
            copy_file(&source, &target, owner).map_err(failed())?;
        }
    }
    Ok(())
}

/// Writes files that a spec brings itself.
///
/// # Errors
/// When a path leaves the workspace, or they are too many bytes.
pub fn write_inline(
    files: &BTreeMap<String, String>,
    to: &Path,
    owner: Owner,
) -> Result<(), Error> {
    let bytes: usize = files.values().map(String::len).sum();
    if bytes > INLINE_BYTES_MAX {
        return Err(Error::refused(format!(
            "source.files: {bytes} bytes are too many (expected at most {INLINE_BYTES_MAX})"
        )));
    }
    for (path, text) in files {
        if !is_inside(path) {
            return Err(Error::refused(format!(
                "source.files: {path:?} leaves the workspace (expected a relative path without \
                 '..')"
            )));
        }
        let relative = Path::new(path);
        crate::nofollow::make_file(to, relative, owner)?;
        std::fs::write(to.join(relative), text)
            .map_err(doing(format!("cannot write the inline file {path:?}")))?;
    }
    Ok(())
}

fn copy_file(source: &Path, target: &Path, owner: Owner) -> io::Result<()> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut reader = OpenOptions::new().read(true).custom_flags(flags).open(source)?;
    let meta = reader.metadata()?;
    let mut writer = File::create_new(target)?;
    io::copy(&mut reader, &mut writer)?;
    writer.set_permissions(own_bits(meta.permissions().mode()))?;
    writer.set_times(FileTimes::new().set_modified(meta.modified()?))?;
    fchown(&writer, owner, owner)
}

/// The bits that say how a file is used, without those that change who uses it; its owner can
/// always read and write it.
fn own_bits(mode: u32) -> Permissions {
    Permissions::from_mode((mode & 0o777) | 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_links_and_build_output_is_left_out() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = from.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        };
        let files =
            ["Cargo.toml", "target/a", "src/main.rs", ".git/HEAD", "sub/.git", "out/target/b"];
        for path in files {
            file(path);
        }
        symlink("/etc", from.path().join("link")).unwrap();
        nix::unistd::mkfifo(&from.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        copy_tree(from.path(), to.path(), None).unwrap();
        let has = |path: &str| to.path().join(path).symlink_metadata().is_ok();
        assert!(has("src/main.rs") && has("out/target/b") && has("sub"));
        assert!(!has("target") && !has(".git") && !has("sub/.git") && !has("fifo"));
        assert_eq!(std::fs::read_link(to.path().join("link")).unwrap(), Path::new("/etc"));
    }

    #[test]
    fn an_inline_path_that_leaves_is_refused() {
        let to = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/x", "a/../../x", ".git/config"] {
            let files = BTreeMap::from([(path.to_owned(), String::new())]);
            assert!(write_inline(&files, to.path(), None).is_err(), "{path}");
        }
    }
}
