//! Fetching a repository, behind the wall.

use super::LocalFolders;
use crate::error::Error;
use crate::git::{BOTS, CLONE, EXIT_REFUSED, Script};
use crate::nofollow::Owner;
use crate::sandbox::Sandbox;
use meta_domain::address::{Policy, Target};
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
    } else if let Some(policy) = &folders.addresses {
        for (name, value) in guarded(url, policy)
            .await
            .map_err(|why| Error::refused(format!("source.url: {why}")))?
        {
            script = script.set(name, &value);
        }
        script = script.set("GIT_ALLOW_PROTOCOL", "https").network();
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

/// Variables that hold git's settings, by number.
const SETTINGS: [(&str, &str); 2] =
    [("GIT_CONFIG_KEY_0", "GIT_CONFIG_VALUE_0"), ("GIT_CONFIG_KEY_1", "GIT_CONFIG_VALUE_1")];

/// Variables with which git calls an address that was checked, whatever its name resolves to a moment
/// later, and none that it is sent on to.
async fn guarded(url: &str, policy: &Policy) -> Result<Vec<(&'static str, String)>, String> {
    let target = Target::parse(url, policy)?;
    let mut settings = vec![("http.followRedirects", "false".to_owned())];
    if let Some(name) = target.name() {
        let found = tokio::net::lookup_host((name, 0)).await;
        let found = found.map_err(|e| format!("{name:?} cannot be resolved: {e}"))?;
        let found = policy.checked(name, found.map(|address| address.ip()).collect())?;
        let port = target.url.port_or_known_default().unwrap_or_default();
        let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
        let pinned = format!("{name}:{port}:{}", addresses.join(","));
        settings.push(("http.curloptResolve", pinned));
    }
    let mut vars = vec![("GIT_CONFIG_COUNT", settings.len().to_string())];
    for ((key, value), setting) in SETTINGS.into_iter().zip(settings) {
        vars.extend([(key, setting.0.to_owned()), (value, setting.1)]);
    }
    Ok(vars)
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

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::address::PORTS;

    #[tokio::test]
    async fn h15_a_source_that_leads_inside_is_refused_and_others_are_pinned() {
        let policy = Policy { ports: PORTS.to_vec(), ..Policy::default() };
        for url in [
            "http://127.0.0.1/x",
            "https://127.0.0.1/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://2130706433/x",
            "https://0/x",
            "https://localhost/x",
            "https://169.254.169.254/x",
            "https://10.0.0.1/x",
            "ssh://git@127.0.0.1/x",
            "git://127.0.0.1/x",
            "ext::sh -c id",
        ] {
            assert!(guarded(url, &policy).await.is_err(), "{url}");
        }
        let vars = guarded("https://8.8.8.8/x", &policy).await.unwrap();
        assert!(vars.contains(&("GIT_CONFIG_VALUE_0", "false".to_owned())), "{vars:?}");
        let networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let own = Policy { networks, ..policy };
        let vars = guarded("https://localhost/x", &own).await.unwrap();
        let pinned = &vars.iter().find(|(name, _)| *name == "GIT_CONFIG_VALUE_1").unwrap().1;
        assert!(pinned.starts_with("localhost:443:"), "{pinned}");
    }
}
