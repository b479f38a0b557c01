//! Reads rule files: the product's own and a user's folder.

use crate::core::{Error, Rules, Source};
use std::path::Path;

/// The rules of the product and, when a folder is given, every `*.toml` in it, which outrank them.
///
/// A folder that cannot be read is an error: rules that silently do not apply are worse than a
/// service that does not start.
pub fn load(extra_dir: Option<&Path>) -> Result<Rules, Error> {
    Rules::from_sources(&sources(extra_dir)?)
}

/// The texts behind [`load`], the product's own first, a user's in the order of their names.
pub fn sources(extra_dir: Option<&Path>) -> Result<Vec<Source>, Error> {
    let mut sources = Rules::embedded_sources();
    let Some(dir) = extra_dir else { return Ok(sources) };
    let read = |path: &Path, source| Error::Read { file: path.display().to_string(), source };
    let entries = std::fs::read_dir(dir).map_err(|error| read(dir, error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| read(dir, error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| read(&path, error))?;
        sources.push(Source { name: path.display().to_string(), text, user: true });
    }
    Ok(sources)
}
