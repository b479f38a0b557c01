//! Reading a source: listing it for the planner, and bringing its files into a workspace.

mod copy;
mod fetch;
mod listing;

pub use copy::{copy_tree, write_inline};
pub use fetch::fetch;
pub use listing::{FILES_MAX, list_inline, list_tree};

use crate::config::PathSources;
use crate::error::Error;
use std::path::{Path, PathBuf};

/// A local folder that may be built.
///
/// # Errors
/// When it is missing, no folder, or not allowed.
pub fn local_folder(path: &str, allowed: &PathSources) -> Result<PathBuf, Error> {
    if allowed.is_none() {
        return Err(Error::refused(format!(
            "source.path: {path:?} is a local folder, and this runner builds none (expected a git \
             or inline source, or path_sources in the runner's configuration)"
        )));
    }
    if !Path::new(path).is_absolute() {
        let problem = format!("source.path: {path:?} is not absolute (expected a form like /a/b)");
        return Err(Error::refused(problem));
    }
    let missing = |e| Error::refused(format!("source.path: {path:?} cannot be read ({e})"));
    let folder = Path::new(path).canonicalize().map_err(missing)?;
    if !folder.is_dir() {
        return Err(Error::refused(format!("source.path: {path:?} is not a folder")));
    }
    if !allowed.allows(&folder) {
        return Err(Error::refused(format!(
            "source.path: {path:?} is outside of the folders that this runner builds"
        )));
    }
    Ok(folder)
}
