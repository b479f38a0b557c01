//! Moves a run's history: a verified patch forward, a rollback back (by a new commit).

use super::{Job, Workshop, keep_report};
use crate::error::{Error, doing};
use crate::git::{COMMIT, EXIT_PATCH, EXIT_REFUSED, ROLLBACK};
use meta_proto::runner::{CommitResult, CommitWork, RollbackResult, RollbackWork};
use std::io::Write;
use std::os::unix::fs::fchown;

impl Workshop {
    pub(super) async fn commit(&self, job: &Job, work: &CommitWork) -> Result<CommitResult, Error> {
        if work.patch.is_empty() || work.message.trim().is_empty() {
            return Err(Error::refused(
                "patch, message: is empty (expected a patch and a message)",
            ));
        }
        let run = self.run_folder(job)?;
        run.require()?;
        let what = || doing("cannot write the patch");
        let mut patch = tempfile::NamedTempFile::new_in(run.root()).map_err(what())?;
        patch.write_all(&work.patch).map_err(what())?;
        fchown(patch.as_file(), job.owner, job.owner).map_err(what())?;
        let script = self
            .history_script(job, &run, COMMIT)?
            .path("PATCH", self.sandbox.show(patch.path(), "patch", false))
            .set("MESSAGE", &work.message);
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let answer = script.run(&[], &job.stop).await?;
        if answer.code == EXIT_PATCH {
            let why = answer.why();
            return Err(Error::refused(format!("patch: does not apply to the head ({why})")));
        }
        let report = keep_report(&run, &answer)?;
        let (mut files, combined_patch) = (report.files, report.combined_patch);
        files.truncate(crate::source::FILES_MAX);
        Ok(CommitResult { commit: report.head, files, combined_patch })
    }

    pub(super) async fn roll_back(
        &self,
        job: &Job,
        work: &RollbackWork,
    ) -> Result<RollbackResult, Error> {
        let id = work.commit.as_str();
        if !id.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Error::refused(format!("commit: {id:?} is not a commit id")));
        }
        let run = self.run_folder(job)?;
        run.require()?;
        let script =
            self.history_script(job, &run, ROLLBACK)?.set("TARGET", id).set("TASK", &job.task_id);
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let answer = script.run(&[], &job.stop).await?;
        if answer.code == EXIT_REFUSED {
            return Err(Error::refused(format!("commit: {}", answer.why())));
        }
        if answer.split_line().0.is_empty() {
            return Ok(RollbackResult::default());
        }
        let report = keep_report(&run, &answer)?;
        Ok(RollbackResult { commit: report.head, combined_patch: report.combined_patch })
    }
}
