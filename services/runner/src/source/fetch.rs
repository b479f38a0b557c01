//! Fetching a repository, behind the wall.

use super::LocalFolders;
use crate::error::Error;
use crate::git::{BOTS, CLONE, EXIT_REFUSED, Script};
use crate::nofollow::Owner;
use crate::sandbox::Sandbox;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Fetches a branch, tag or commit into an empty folder; answers how many commits at its head the
/// loop made.
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
) -> Result<u32, Error> {
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
    Ok(answer.split_line().0.trim().parse().unwrap_or(0))
}

/// How many commits at the head of a local folder's repository the loop made; 0 without one.
///
/// # Errors
/// When git cannot be started.
pub async fn bot_commits(
    sandbox: &Sandbox,
    data_dir: &Path,
    owner: Owner,
    repository: &Path,
    scratch: &Path,
    stop: &CancellationToken,
) -> Result<u32, Error> {
    if !repository.is_dir() {
        return Ok(0);
    }
    let script = Script::new(sandbox, data_dir, owner, scratch, BOTS)?
        .show_in_place(repository)
        .set("GIT_DIR", &repository.to_string_lossy());
    match script.run(&[], stop).await {
        Ok(answer) => Ok(answer.split_line().0.trim().parse().unwrap_or(0)),
        Err(error @ Error::Stopped) => Err(error),
        Err(error) => {
            tracing::info!(%error, "the source's own history cannot be read");
            Ok(0)
        }
    }
}
