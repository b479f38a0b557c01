//! Folders: small projects, and whether they were touched.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every file below a folder: its kind and mode, and its content.
pub type Snapshot = BTreeMap<PathBuf, (u32, Vec<u8>)>;

/// Everything below a folder, byte by byte.
pub fn snapshot(folder: &Path) -> Result<Snapshot> {
    let mut all = Snapshot::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next)? {
            let path = entry?.path();
            let about = path.symlink_metadata()?;
            let content = if about.is_symlink() {
                path.read_link()?.into_os_string().into_encoded_bytes()
            } else if about.is_dir() {
                waiting.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path)?
            };
            let relative = path.strip_prefix(folder)?.to_owned();
            all.insert(relative, (about.permissions().mode(), content));
        }
    }
    Ok(all)
}

/// Writes files with their folders.
pub fn write_files(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Runs git in a folder, independent of the configuration of whoever runs the test.
pub fn git(folder: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Test", "-c", "user.email=test@example.com"]);
    command.args(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let done = command.args(args).current_dir(folder).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "git {} failed: {said}", args.join(" "));
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
