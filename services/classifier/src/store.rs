//! The rules in force, and how they change while the service runs.

use crate::core::{Error, Rules};
use crate::rules;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// How often the folder of an installation's own rules is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One rule file as the folder shows it: name, change time, length in bytes.
type Look = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// The rules in force. Readers get a set that never changes under them; [`Store::reload`] puts
/// a new one in its place at once.
#[derive(Debug)]
pub struct Store {
    dir: Option<PathBuf>,
    /// The folder as it was just before the first rules were read.
    first_look: Look,
    rules: ArcSwap<Rules>,
}

impl Store {
    /// Loads the product's rules and those of the folder.
    pub fn open(dir: Option<PathBuf>) -> Result<Self, Error> {
        let first_look = dir.as_deref().map(look).unwrap_or_default();
        let rules = rules::load(dir.as_deref())?;
        Ok(Self { dir, first_look, rules: ArcSwap::from_pointee(rules) })
    }

    /// The rules in force now.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Reads the folder again. A set that does not load leaves the one in force as it is.
    pub fn reload(&self) -> Result<usize, Error> {
        let fresh = rules::load(self.dir.as_deref())?;
        let count = fresh.len();
        self.rules.store(Arc::new(fresh));
        Ok(count)
    }

    /// Watches the folder until it is told to stop: a change brings the new rules into force, a
    /// faulty file is reported once and the old rules stay.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let Some(dir) = self.dir.clone() else { return stop.cancelled().await };
        let mut seen = self.first_look.clone();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let now = look(&dir);
            if now == seen {
                continue;
            }
            seen = now;
            let store = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || store.reload()).await {
                Ok(Ok(rules)) => tracing::info!(rules, "the changed rules are in force"),
                Ok(Err(error)) => {
                    let why = error.source_text();
                    tracing::error!(%error, why, "the changed rules are refused, the old ones stay");
                }
                Err(error) => tracing::error!(%error, "loading the changed rules died"),
            }
        }
    }
}

/// What the folder holds, to notice a change. A folder that cannot be read looks empty, so its
/// coming back is a change.
fn look(dir: &Path) -> Look {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut look: Look = entries
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "toml"))
        .map(|entry| {
            let about = entry.metadata().ok();
            let changed = about.as_ref().and_then(|about| about.modified().ok());
            (entry.path(), changed, about.map_or(0, |about| about.len()))
        })
        .collect();
    look.sort();
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: &str = "[[rule]]\nid = 'mine.widget'\ntype = 'policy'\nliterals = ['widget says no']\nline = '^widget says no'\nstrength = 82\nmatch = ['widget says no']\nno_match = ['widget says yes']\n";

    fn has(store: &Store, id: &str) -> bool {
        crate::core::check::list(&store.rules()).iter().any(|rule| rule.id == id)
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..100 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited too long until {what}");
    }

    #[test]
    fn a_faulty_file_keeps_the_old_rules_and_says_why() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, MINE).expect("written");
        let store = Store::open(Some(dir.path().to_owned())).expect("loads");
        let before = store.rules();
        std::fs::write(&file, MINE.replace("says yes", "says no!")).expect("written");
        let error = store.reload().expect_err("the example does not hold").to_string();
        assert!(error.contains("mine.widget") && error.contains("mine.toml"), "{error}");
        assert!(Arc::ptr_eq(&before, &store.rules()));
        std::fs::remove_file(&file).expect("removed");
        store.reload().expect("loads");
        assert!(!has(&store, "mine.widget"));
    }

    #[tokio::test]
    async fn a_file_that_is_written_comes_into_force_by_itself() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(Some(dir.path().to_owned())).expect("loads"));
        let stop = CancellationToken::new();
        let watch = tokio::spawn(Arc::clone(&store).watch(stop.clone()));
        assert!(!has(&store, "mine.widget"));
        std::fs::write(dir.path().join("mine.toml"), MINE).expect("written");
        until("the rule is in force", || has(&store, "mine.widget")).await;
        stop.cancel();
        watch.await.expect("ends");
    }
}
