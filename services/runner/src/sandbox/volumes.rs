//! Folders that cannot grow beyond a size and a number of files, each a file system of its own.
//!
//! A run's folder and the caches of a source are such folders where the level asks for it: whatever
//! a step writes, it fills its own and nothing else. Where it does not, they are plain folders.

use super::programs::TRUSTED_PATH;
use crate::config::Store;
use crate::error::{Error, doing};
use crate::nofollow;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::process::Command;
use tokio::sync::Mutex;

/// How much a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes.
    pub bytes: u64,
    /// Files and folders.
    pub files: u64,
}

/// Size of the folder that proves that one can be made.
const PROBE: Size = Size { bytes: 16 << 20, files: 1_000 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Image,
    Memory,
}

/// Makes, mounts and removes folders.
#[derive(Debug, Clone)]
pub struct Volumes {
    kind: Kind,
    data_dir: PathBuf,
    /// One change at a time.
    changing: Arc<Mutex<()>>,
}

impl Volumes {
    /// Plain folders without a limit.
    pub(super) fn plain(data_dir: &Path) -> Self {
        Self { kind: Kind::Plain, data_dir: data_dir.to_owned(), changing: Arc::default() }
    }

    /// Folders with limits, of a kind that works here.
    ///
    /// # Errors
    /// Says for each kind why it does not.
    pub(super) async fn sized(
        data_dir: &Path,
        scratch: &Path,
        wanted: Store,
    ) -> Result<Self, Error> {
        let kinds: &[Kind] = match wanted {
            Store::Auto => &[Kind::Image, Kind::Memory],
            Store::Image => &[Kind::Image],
            Store::Memory => &[Kind::Memory],
        };
        let mut faults = Vec::new();
        for kind in kinds {
            let volumes = Self { kind: *kind, ..Self::plain(data_dir) };
            match volumes.prove(&scratch.join("volume")).await {
                Ok(()) => return Ok(volumes),
                Err(fault) => faults.push(format!("{kind:?}: {fault}")),
            }
        }
        Err(Error::failed(format!(
            "folders of a limited size cannot be made here ({}). They need root with \
             CAP_SYS_ADMIN, or a runner that is started by `unshare --user --map-current-user \
             --keep-caps --mount`",
            faults.join("; ")
        )))
    }

    async fn prove(&self, at: &Path) -> Result<(), Error> {
        let made = self.make(at, PROBE).await;
        let removed = self.remove(at).await;
        made.and(removed)
    }

    /// What folders are made of, for the log.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Plain => "plain folders",
            Kind::Image => "images",
            Kind::Memory => "memory",
        }
    }

    /// Makes a new and empty folder; what was there before goes.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn make(&self, at: &Path, size: Size) -> Result<(), Error> {
        let _one = self.changing.lock().await;
        self.remove_now(at).await?;
        self.make_now(at, size).await
    }

    /// Makes a folder unless it is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn keep(&self, at: &Path, size: Size) -> Result<(), Error> {
        if self.kind == Kind::Plain || is_mounted(at) {
            return Ok(());
        }
        let _one = self.changing.lock().await;
        match self.kind {
            _ if is_mounted(at) => Ok(()),
            Kind::Image if self.image(at).is_file() => self.mount(at).await,
            // What lies there has no limit: it was made at another level, or its memory is gone.
            _ => {
                self.remove_now(at).await?;
                self.make_now(at, size).await
            }
        }
    }

    /// Mounts a folder that a runner before this one has made; without one it does nothing.
    ///
    /// # Errors
    /// When it is there and cannot be mounted.
    pub async fn attach(&self, at: &Path) -> Result<(), Error> {
        if self.kind != Kind::Image || is_mounted(at) || !self.image(at).is_file() {
            return Ok(());
        }
        let _one = self.changing.lock().await;
        if is_mounted(at) { Ok(()) } else { self.mount(at).await }
    }

    /// Removes a folder with all that is in it.
    ///
    /// # Errors
    /// When something of it stays.
    pub async fn remove(&self, at: &Path) -> Result<(), Error> {
        let _one = self.changing.lock().await;
        self.remove_now(at).await
    }

    async fn make_now(&self, at: &Path, size: Size) -> Result<(), Error> {
        nofollow::make_own(at, None)?;
        match self.kind {
            Kind::Plain => Ok(()),
            Kind::Image => {
                let image = self.image(at);
                nofollow::make_own(&self.data_dir.join("volumes"), None)?;
                let file = File::create(&image).map_err(doing("cannot make an image"))?;
                file.set_len(size.bytes).map_err(doing("cannot make an image"))?;
                let mut format = Self::command("mkfs.ext4");
                format.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-b", "4096"]);
                format.args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"]);
                format.arg("-N").arg(size.files.to_string()).arg(&image);
                Self::run(format, "cannot format an image").await?;
                self.mount(at).await?;
                nofollow::remove_tree(&at.join("lost+found"))
            }
            Kind::Memory => {
                let (bytes, files) = (size.bytes, size.files);
                let mut mount = Self::command("mount");
                mount.args(["-t", "tmpfs", "-o"]);
                mount.arg(format!("size={bytes},nr_inodes={files},mode=0700,nosuid,nodev"));
                mount.arg("metabuilder").arg(at);
                Self::run(mount, "cannot mount memory").await
            }
        }
    }

    async fn mount(&self, at: &Path) -> Result<(), Error> {
        nofollow::make_own(at, None)?;
        let mut mount = Self::command("mount");
        mount.args(["-t", "ext4", "-o", "loop,nosuid,nodev,noatime"]).arg(self.image(at)).arg(at);
        Self::run(mount, "cannot mount an image").await
    }

    async fn remove_now(&self, at: &Path) -> Result<(), Error> {
        if self.kind != Kind::Plain && is_mounted(at) {
            let mut unmount = Self::command("umount");
            // A sandbox that still works in it keeps it until it ends; here it is gone.
            unmount.arg("-l").arg(at);
            Self::run(unmount, "cannot unmount a folder").await?;
        }
        if self.kind == Kind::Image {
            remove_image(&self.image(at))?;
        }
        nofollow::remove_tree(at)
    }

    fn image(&self, at: &Path) -> PathBuf {
        image(&self.data_dir, at)
    }

    fn command(program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", TRUSTED_PATH).env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(std::process::Stdio::null());
        command
    }

    async fn run(mut command: Command, what: &str) -> Result<(), Error> {
        let output = command.output().await.map_err(doing(what))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Err(Error::failed(format!("{what}: {said}")))
    }
}

fn image(data_dir: &Path, at: &Path) -> PathBuf {
    let below = at.strip_prefix(data_dir).unwrap_or(at).to_string_lossy();
    data_dir.join("volumes").join(format!("{}.img", below.replace('/', "-")))
}

/// Unmounts what a killed runner left mounted in its scratch folder.
pub(super) fn let_go(data_dir: &Path, scratch: &Path) -> Result<(), Error> {
    let what = || doing("cannot unmount what a killed runner left");
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        let at = entry.path();
        if !is_mounted(&at) {
            continue;
        }
        let mut unmount = std::process::Command::new("umount");
        unmount.env_clear().env("PATH", TRUSTED_PATH).arg("-l").arg(&at);
        unmount.status().map_err(what())?;
        remove_image(&image(data_dir, &at))?;
    }
    Ok(())
}

fn remove_image(image: &Path) -> Result<(), Error> {
    match std::fs::remove_file(image) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(doing("cannot remove an image")),
    }
}

/// Whether something else is mounted at a folder.
fn is_mounted(at: &Path) -> bool {
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|meta| meta.dev());
    let above = at.parent().and_then(device);
    device(at).is_some_and(|own| above.is_some_and(|above| own != above))
}
