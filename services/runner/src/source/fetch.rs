//! Fetching a repository, behind the wall.

use super::LocalFolders;
use crate::error::Error;
use crate::git::{CLONE, EXIT_REFUSED, Script};
use crate::nofollow::Owner;
use crate::sandbox::Sandbox;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Fetches a branch, tag or commit into an empty folder.
///
/// # Errors
/// When the address is not allowed, or the repository cannot be reached.
pub async fn fetch(
    sandbox: &Sandbox,
    data_dir: &Path,
    owner: Owner,
    (url, reference): (&str, &str),
    folders: &LocalFolders,
    folder: &Path,
    stop: &CancellationToken,
) -> Result<(), Error> {
    if reference.starts_with('-') || reference.contains(['\0', ' ', ':']) {
        let problem = "is not a branch, tag or commit";
        return Err(Error::refused(format!("source.ref: {reference:?} {problem}")));
    }
    let mut script =
        Script::new(sandbox, data_dir, owner, folder, CLONE)?.set("URL", url).set("REF", reference);
    if let Some(path) = url.strip_prefix("file://") {
        let local = folders.resolve(path)?;
        script = script.set("GIT_ALLOW_PROTOCOL", "file").show_in_place(&local);
    } else if ["https://", "ssh://", "git://"].iter().any(|s| url.starts_with(s)) {
        script = script.set("GIT_ALLOW_PROTOCOL", "https:ssh:git").network();
    } else {
        return Err(Error::refused(format!(
            "source.url: {url:?} is not allowed (expected https://, ssh:// or git://)"
        )));
    }
    let answer = script.run(&[], stop).await?;
    if answer.code == EXIT_REFUSED {
        let why = answer.why();
        return Err(Error::refused(format!("source.url: {url:?} cannot be fetched ({why})")));
    }
    Ok(())
}
