//! Makes a run's workspace and the first commit of its history.

use super::{Job, Workshop};
use crate::error::Error;
use crate::folders::RunFolder;
use crate::git::{HEAD, LIST, PREPARE, Script, split_list};
use crate::nofollow;
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
        let mut bot_commits = 0;
        let text = if run.is_prepared() {
            format!("{HEAD}{LIST}")
        } else {
            self.rooms.close(&run);
            nofollow::remove_tree(run.root())?;
            nofollow::make_own(run.root(), None)?;
            nofollow::make_own(&run.workspace(), job.owner)?;
            nofollow::make_own(&run.history(), job.owner)?;
            bot_commits = self.bring(job, &run, source).await?;
            PREPARE.to_owned()
        };
        let script = Script::new(&self.sandbox, &self.data_dir, job.owner, &run.workspace(), text)?
            .history(&run.history());
        let answer = script.run(&[], &job.stop).await?;
        let (commit, rest) = answer.split_line();
        let (mut files, _) = split_list(rest);
        files.truncate(source::FILES_MAX);
        run.mark_prepared()?;
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
