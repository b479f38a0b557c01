//! Makes a run's workspace and the first commit of its history.

use super::{Job, Workshop};
use crate::commits::First;
use crate::error::Error;
use crate::folders::RunFolder;
use crate::git::{HEAD_AND_LIST, PREPARE, split_list};
use crate::source;
use meta_domain::source::Source;
use meta_proto::convert::{Field, Required};
use meta_proto::runner::{PrepareResult, PrepareWork};

impl Workshop {
    pub(super) async fn prepare(
        &self,
        job: &Job,
        work: PrepareWork,
    ) -> Result<PrepareResult, Error> {
        let source = Source::try_from(work.source.required("source")?).field("source")?;
        let run = self.run_folder(job)?;
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let mut bot_commits = self.prepared_elsewhere(job, &run).await?.unwrap_or(0);
        let text = if run.is_prepared() {
            HEAD_AND_LIST
        } else {
            self.make_run(job, &run).await?;
            bot_commits = self.bring(job, &run, source).await?;
            PREPARE
        };
        let script = self.history_script(job, &run, text)?;
        let answer = script.run(&[], &job.stop).await?;
        run.mark_prepared()?;
        let first = First { commit: answer.split_line().0, bot_commits };
        let commit = match run.published() {
            Some(_) => self.publish(job, &run, &first.commit).await?,
            None => self.begin(job, &run, &first).await?,
        };
        let answer = if commit == first.commit {
            answer
        } else {
            self.history_script(job, &run, HEAD_AND_LIST)?.run(&[], &job.stop).await?
        };
        let (mut files, _) = split_list(answer.split_line().1);
        files.truncate(source::FILES_MAX);
        Ok(PrepareResult { commit, files, bot_commits })
    }

    /// Brings the files; answers how many commits at the head of the source the loop made.
    async fn bring(&self, job: &Job, run: &RunFolder, source: Source) -> Result<u32, Error> {
        let (to, owner) = (run.workspace(), job.owner);
        match source {
            Source::Git { url, reference } => {
                let from = (url.as_str(), reference.as_str());
                let (sandbox, data_dir) = (&self.sandbox, &self.data_dir);
                source::fetch(sandbox, data_dir, owner, from, &self.folders, &to, &job.stop).await
            }
            Source::Path { path } => {
                let from = self.folders.resolve(&path)?;
                let (repository, scratch) = (from.join(".git"), to.clone());
                blocking(move || source::copy_tree(&from, &to, owner)).await?;
                let (sandbox, data_dir) = (&self.sandbox, &self.data_dir);
                let stop = &job.stop;
                source::bot_commits(sandbox, data_dir, owner, &repository, &scratch, stop).await
            }
            Source::Inline { files } => {
                blocking(move || source::write_inline(&files, &to, owner)).await?;
                Ok(0)
            }
        }
    }
}

/// Work on files that may take long, away from the threads that serve.
async fn blocking(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::failed(format!("bringing the source failed: {e}")))?
}
