//! Takes a run's commits to the object store and from there to this runner, so that a step may run
//! on another machine than the one before. Without an object store it does nothing.
//!
//! Only what is committed travels. Files that are not tracked (`node_modules`, `target`) stay where
//! they were made, and caches belong to a machine.

use super::{Job, Workshop, reports};
use crate::commits::{Commits, First};
use crate::core::tally::Tally;
use crate::error::{Error, doing};
use crate::folders::RunFolder;
use crate::git::{Answer, EXIT_REFUSED, HEAD_AND_LIST, PACK, arrive, follow, follow_and_replay};
use std::path::Path;
use tempfile::TempDir;

/// How often a commit is put on top of others' before it is given up.
const REPLAYS_MAX: usize = 100;

impl Workshop {
    fn commits<'a>(&'a self, job: &'a Job) -> Result<Option<Commits<'a>>, Error> {
        self.objects.as_ref().map(|objects| Commits::new(objects, job)).transpose()
    }

    /// The run's folder, with its workspace at the newest commit from `head` on.
    pub(super) async fn arrived(&self, job: &Job, head: &str) -> Result<RunFolder, Error> {
        let run = self.run_folder(job)?;
        let Some(commits) = self.commits(job)? else {
            run.require()?;
            return Ok(run);
        };
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        if run.is_prepared() && run.published().is_none() {
            // It was prepared when commits did not travel yet.
            let answer = self.history_script(job, &run, HEAD_AND_LIST)?;
            let head = answer.run(&[], &job.stop).await?.split_line().0;
            self.publish(job, &run, &head).await?;
        }
        let from = match (head, run.published().filter(|_| run.is_prepared())) {
            ("", Some(published)) => published,
            ("", None) => match commits.first().await? {
                Some(first) => first.commit,
                None => return run.require().map(|()| run),
            },
            (head, _) => head.to_owned(),
        };
        let last = commits.last_from(&from).await?;
        self.reach(job, &run, &commits, &last).await?;
        Ok(run)
    }

    /// Takes over the workspace of a run that another runner prepared; answers how many commits at
    /// the head of the source the loop made. Called under the history's lock.
    pub(super) async fn prepared_elsewhere(
        &self,
        job: &Job,
        run: &RunFolder,
    ) -> Result<Option<u32>, Error> {
        let Some(commits) = self.commits(job)? else { return Ok(None) };
        let Some(first) = commits.first().await? else { return Ok(None) };
        let last = commits.last_from(&first.commit).await?;
        self.reach(job, run, &commits, &last).await?;
        Ok(Some(first.bot_commits))
    }

    /// Publishes the first commit; answers which one it is. Called under the history's lock.
    pub(super) async fn begin(
        &self,
        job: &Job,
        run: &RunFolder,
        first: &First,
    ) -> Result<String, Error> {
        let Some(commits) = self.commits(job)? else { return Ok(first.commit.clone()) };
        self.send(job, run, &commits, "", &first.commit).await?;
        let begun = commits.begin(first).await?;
        if begun == first.commit {
            run.mark_published(&begun)?;
            return Ok(begun);
        }
        // Somebody else made it too, and was first.
        let last = commits.last_from(&begun).await?;
        self.reach(job, run, &commits, &last).await?;
        Ok(last)
    }

    /// Publishes what was committed up to `head`; answers the head afterwards, which is another one
    /// when another runner committed meanwhile. Called under the history's lock.
    pub(super) async fn publish(
        &self,
        job: &Job,
        run: &RunFolder,
        head: &str,
    ) -> Result<String, Error> {
        let Some(commits) = self.commits(job)? else { return Ok(head.to_owned()) };
        let mut head = head.to_owned();
        for _ in 0..REPLAYS_MAX {
            let Some(published) = run.published() else {
                let first = First { commit: head, bot_commits: 0 };
                return self.begin(job, run, &first).await;
            };
            if published == head {
                return Ok(head);
            }
            let last = commits.last_from(&published).await?;
            if last != published {
                head = self.replay(job, run, &commits, &last).await?;
                run.mark_published(&last)?;
                continue;
            }
            self.send(job, run, &commits, &published, &head).await?;
            if commits.put_after(&published, &head).await? == head {
                run.mark_published(&head)?;
                return Ok(head);
            }
        }
        Err(Error::failed(format!("other runners committed {REPLAYS_MAX} times meanwhile")))
    }

    /// Brings history and workspace to the commit `to`; what was committed here and never published
    /// is given up.
    async fn reach(
        &self,
        job: &Job,
        run: &RunFolder,
        commits: &Commits<'_>,
        to: &str,
    ) -> Result<(), Error> {
        let here = run.published().filter(|_| run.is_prepared());
        if here.as_deref() == Some(to) {
            return Ok(());
        }
        let text = if here.is_some() {
            follow()
        } else {
            self.make_run(job, run).await?;
            arrive()
        };
        self.receive(job, run, commits, (here.as_deref(), to), text).await?;
        run.mark_published(to)?;
        run.mark_prepared()
    }

    /// Puts what was committed here on top of the commit `last`; answers the head afterwards.
    async fn replay(
        &self,
        job: &Job,
        run: &RunFolder,
        commits: &Commits<'_>,
        last: &str,
    ) -> Result<String, Error> {
        let here = run.published();
        let way = (here.as_deref(), last);
        let answer = self.receive(job, run, commits, way, follow_and_replay()).await?;
        Ok(answer.split_line().0)
    }

    /// Fetches the bundles of the commits after the one that is here up to `to`, and gives them to a
    /// script.
    async fn receive(
        &self,
        job: &Job,
        run: &RunFolder,
        commits: &Commits<'_>,
        (here, to): (Option<&str>, &str),
        text: String,
    ) -> Result<Answer, Error> {
        let folder = bundles(run.root(), job)?;
        let mut names: Vec<String> = Vec::new();
        let mut next = Some(to.to_owned());
        while let Some(commit) = next.filter(|commit| here != Some(commit)) {
            if names.contains(&commit) {
                return Err(Error::failed(format!("the bundle of {commit} builds on itself")));
            }
            next = commits.fetch(&commit, &folder.path().join(&commit)).await?.after;
            names.push(commit);
        }
        names.reverse();
        let script = self
            .history_script(job, run, text)?
            .path("BUNDLES", self.sandbox.show(folder.path(), "bundles", false))
            .set("AFTER", here.unwrap_or_default())
            .set("TO", to);
        let answer = script.run(&names, &job.stop).await?;
        if answer.code == EXIT_REFUSED {
            let why = answer.why();
            return Err(Error::failed(format!("a bundle in the object store: {why}")));
        }
        tracing::info!(run_id = %job.run_id, commit = to, bundles = names.len(), "commits came");
        Ok(answer)
    }

    /// Sends the commits after `after` up to `head`, the head.
    async fn send(
        &self,
        job: &Job,
        run: &RunFolder,
        commits: &Commits<'_>,
        after: &str,
        head: &str,
    ) -> Result<(), Error> {
        let folder = bundles(run.root(), job)?;
        let script = self
            .history_script(job, run, PACK)?
            .path("BUNDLES", self.sandbox.show(folder.path(), "bundles", true))
            .set("AFTER", after);
        script.run(&[], &job.stop).await?;
        let bundle = folder.path().join("head");
        if !bundle.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            return Err(Error::failed("git made no bundle"));
        }
        let bytes = commits.send(head, &bundle).await?;
        tracing::info!(run_id = %job.run_id, commit = head, bytes, "a commit is published");
        Ok(())
    }

    /// Gives other runners the most that a step's tests did, and takes theirs.
    pub(super) async fn share_tally(
        &self,
        job: &Job,
        run: &RunFolder,
        step: &str,
    ) -> Result<(), Error> {
        let Some(commits) = self.commits(job)? else { return Ok(()) };
        let name = run.tally(step);
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stored: Tally = match commits.tally(&name).await? {
            Some(text) => serde_json::from_slice(&text).unwrap_or_default(),
            None => Tally::default(),
        };
        reports::remember(run, step, stored.clone())?;
        let most = reports::most(run, step);
        if most == stored {
            return Ok(());
        }
        let text = serde_json::to_vec(&most)
            .map_err(|e| Error::failed(format!("cannot share the tests' numbers: {e}")))?;
        commits.put_tally(&name, text).await
    }
}

/// A folder for bundles, in which git may write.
fn bundles(root: &Path, job: &Job) -> Result<TempDir, Error> {
    let what = || doing("cannot make a folder for bundles");
    let folder = tempfile::Builder::new().prefix("bundles-").tempdir_in(root).map_err(what())?;
    std::os::unix::fs::lchown(folder.path(), job.owner, job.owner).map_err(what())?;
    Ok(folder)
}
