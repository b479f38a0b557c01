//! Where things lie in the data folder.
//!
//! ```text
//! runs/<run>/ws             the workspace
//! runs/<run>/history.git    its history; never writable for a step
//! runs/<run>/combined.patch everything since the base commit
//! runs/<run>/restored       the head that the workspace's tracked files are at, until a step runs
//! runs/<run>/published      the newest commit of the history that other runners can have
//! runs/<run>/tally/         how many tests each step executed at most
//! runs/<run>/heal/          copies in which fixers and verifications work
//! runs/<run>/states/        scratch folders of the fixers at work
//! caches/<key>/home         private home folder of a source's steps
//! caches/<key>/folders/     their cache folders
//! ```

use crate::error::{Error, doing};
use crate::nofollow::{self, Owner};
use meta_domain::id::RunId;
use meta_domain::project::is_inside;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Name of the file that holds the newest published commit.
const PUBLISHED: &str = "published";

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The folder of that run.
    ///
    /// # Errors
    /// When the id is not one.
    pub fn new(data_dir: &Path, run_id: &str) -> Result<Self, Error> {
        let id: RunId = run_id.parse().map_err(|e| Error::refused(format!("run_id: {e}")))?;
        Ok(Self { root: data_dir.join("runs").join(id.to_string()) })
    }

    /// Everything of the run.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The workspace.
    pub fn workspace(&self) -> PathBuf {
        self.root.join("ws")
    }

    /// The history, a bare repository.
    pub fn history(&self) -> PathBuf {
        self.root.join("history.git")
    }

    /// Objects of the history.
    pub fn objects(&self) -> PathBuf {
        self.history().join("objects")
    }

    /// Where the combined patch is kept.
    pub fn combined_patch(&self) -> PathBuf {
        self.root.join("combined.patch")
    }

    /// Where fixers and verifications work.
    pub fn heal(&self) -> PathBuf {
        self.root.join("heal")
    }

    /// Where fixers find what they are told, and keep what they like.
    pub fn states(&self) -> PathBuf {
        self.root.join("states")
    }

    /// Where the most that a step's tests did is kept.
    pub fn tally(&self, step: &str) -> PathBuf {
        self.root.join("tally").join(hex(step.as_bytes()))
    }

    /// Says that the workspace's tracked files are those of a commit.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn mark_restored(&self, commit: &str) -> Result<(), Error> {
        std::fs::write(self.restored_mark(), commit).map_err(doing("cannot mark the workspace"))
    }

    /// Forgets what [`Self::mark_restored`] said, because a step is about to run; answers whether it
    /// had said it of this commit.
    ///
    /// # Errors
    /// When it cannot be forgotten.
    pub fn take_restored(&self, commit: &str) -> Result<bool, Error> {
        let mark = self.restored_mark();
        let Ok(said) = std::fs::read_to_string(&mark) else { return Ok(false) };
        std::fs::remove_file(mark).map_err(doing("cannot mark the workspace"))?;
        Ok(!commit.is_empty() && said == commit)
    }

    fn restored_mark(&self) -> PathBuf {
        self.root.join("restored")
    }

    /// Whether the workspace was prepared to the end.
    pub fn is_prepared(&self) -> bool {
        self.prepared_mark().is_file()
    }

    /// Says that the workspace is complete.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn mark_prepared(&self) -> Result<(), Error> {
        std::fs::write(self.prepared_mark(), "").map_err(doing("cannot mark the workspace"))
    }

    /// Refuses to work on a workspace that is not there.
    ///
    /// # Errors
    /// [`Error::Failed`] when it was not prepared here.
    pub fn require(&self) -> Result<(), Error> {
        if self.is_prepared() {
            return Ok(());
        }
        Err(Error::failed("the run's workspace is not on this runner (expected a prepare first)"))
    }

    /// The newest commit of the history that is in the object store and that the head descends
    /// from, as far as this runner knows.
    pub fn published(&self) -> Option<String> {
        std::fs::read_to_string(self.root.join(PUBLISHED)).ok().filter(|commit| !commit.is_empty())
    }

    /// Remembers the newest published commit.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn mark_published(&self, commit: &str) -> Result<(), Error> {
        let what = || doing("cannot remember the published commit");
        let mut file = tempfile::NamedTempFile::new_in(&self.root).map_err(what())?;
        std::io::Write::write_all(&mut file, commit.as_bytes()).map_err(what())?;
        file.persist(self.root.join(PUBLISHED)).map_err(|e| what()(e.error))?;
        Ok(())
    }

    fn prepared_mark(&self) -> PathBuf {
        self.root.join("prepared")
    }
}

/// The caches of a source.
#[derive(Debug, Clone)]
pub struct CacheFolder {
    root: PathBuf,
    owner: Owner,
}

impl CacheFolder {
    /// The caches that a tenant keeps under a key.
    pub fn new(data_dir: &Path, tenant: &str, key: &str, owner: Owner) -> Self {
        let mut hash = Sha256::new();
        hash.update(tenant.as_bytes());
        hash.update([0]);
        hash.update(key.as_bytes());
        Self { root: data_dir.join("caches").join(short(&hash.finalize())), owner }
    }

    /// Caches of another place, for healing.
    pub fn at(root: PathBuf, owner: Owner) -> Self {
        Self { root, owner }
    }

    /// The folder of all of them, whether it is there or not.
    pub fn folder_of_all(&self) -> &Path {
        &self.root
    }

    /// The folder of all of them, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn root(&self) -> Result<&Path, Error> {
        nofollow::make_way(&self.root, self.owner)?;
        Ok(&self.root)
    }

    /// The private home folder, made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn home(&self) -> Result<PathBuf, Error> {
        nofollow::make_way(&self.root, self.owner)?;
        let home = self.root.join("home");
        nofollow::make_own(&home, self.owner)?;
        Ok(home)
    }

    /// The folder that keeps a cache path of the workspace, made when it is not there.
    ///
    /// # Errors
    /// When the path leaves the workspace, or the folder cannot be made.
    pub fn folder(&self, path: &str) -> Result<PathBuf, Error> {
        if !is_inside(path) {
            return Err(Error::refused(format!(
                "cache: {path:?} leaves the workspace (expected a relative path without '..')"
            )));
        }
        let folders = self.root.join("folders");
        nofollow::make_way(&self.root, self.owner)?;
        nofollow::make_way(&folders, self.owner)?;
        let folder = folders.join(plain(path).replace('%', "%25").replace('/', "%2F"));
        nofollow::make_own(&folder, self.owner)?;
        Ok(folder)
    }

    /// Empties the folder of a cache path.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn clean(&self, path: &str) -> Result<(), Error> {
        nofollow::remove_tree(&self.folder(path)?)
    }

    /// Says that a run uses these caches now; answers whether another run did before, so that
    /// what lies in them may be newer than the workspace's files and yet made from other ones.
    ///
    /// # Errors
    /// When that cannot be recorded.
    pub fn claim(&self, run_id: &str) -> Result<bool, Error> {
        nofollow::make_own(&self.root, None)?;
        let mark = self.root.join("last-run");
        let before = std::fs::read_to_string(&mark).unwrap_or_default();
        if before == run_id {
            return Ok(false);
        }
        std::fs::write(&mark, run_id).map_err(doing("cannot claim the caches"))?;
        Ok(!before.is_empty())
    }
}

/// A file name for any bytes.
fn hex(bytes: &[u8]) -> String {
    short(&Sha256::digest(bytes))
}

fn short(digest: &[u8]) -> String {
    let mut name = String::new();
    for byte in digest.iter().take(16) {
        let _infallible = write!(name, "{byte:02x}");
    }
    name
}

/// A cache path without empty and `.` parts.
pub fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_that_is_a_path_is_refused() {
        assert!(RunFolder::new(Path::new("/d"), "../../etc").is_err());
        assert!(RunFolder::new(Path::new("/d"), "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f").is_ok());
    }

    #[test]
    fn tenants_never_share_a_cache() {
        let of = |tenant, key| CacheFolder::new(Path::new("/d"), tenant, key, None).root;
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_eq!(of("a", "b"), of("a", "b"));
    }

    #[test]
    fn a_second_run_is_told_of_the_first() {
        let data = tempfile::tempdir().unwrap();
        let cache = CacheFolder::new(data.path(), "t", "k", None);
        assert!(!cache.claim("one").unwrap());
        assert!(!cache.claim("one").unwrap());
        assert!(cache.claim("two").unwrap());
    }
}
