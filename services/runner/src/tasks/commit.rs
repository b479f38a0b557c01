//! Moves a run's history: a verified patch forward, a rollback back (by a new commit).

use super::{Job, Report, Workshop, keep_report};
use crate::error::{Error, doing};
use crate::folders::RunFolder;
use crate::git::{
    Answer, COMBINED_BYTES_MAX, COMMIT, EXIT_PATCH, EXIT_TOO_LARGE, REPORT, ROLLBACK,
};
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
        let run = self.arrived(job, &work.head).await?;
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
        if answer.code == EXIT_TOO_LARGE {
            return Err(too_large());
        }
        let report = self.published(job, &run, &answer).await?;
        let (mut files, combined_patch) = (report.files, report.combined_patch);
        files.truncate(crate::source::FILES_MAX);
        Ok(CommitResult { commit: report.head, files, combined_patch })
    }

    pub(super) async fn roll_back(
        &self,
        job: &Job,
        work: &RollbackWork,
    ) -> Result<RollbackResult, Error> {
        let run = self.arrived(job, &work.head).await?;
        let script = self.history_script(job, &run, ROLLBACK)?.set("TASK", &job.task_id);
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let answer = script.run(&[], &job.stop).await?;
        match answer.code {
            EXIT_PATCH => {
                return Err(Error::refused(format!(
                    "commit {} cannot be taken back: later commits changed the same lines",
                    answer.why()
                )));
            }
            EXIT_TOO_LARGE => return Err(too_large()),
            _ if answer.split_line().0.is_empty() => return Ok(RollbackResult::default()),
            _ => {}
        }
        let report = self.published(job, &run, &answer).await?;
        Ok(RollbackResult { commit: report.head, combined_patch: report.combined_patch })
    }

    /// What is to be reported of a history that a script has moved, once others can have it.
    async fn published(
        &self,
        job: &Job,
        run: &RunFolder,
        answer: &Answer,
    ) -> Result<Report, Error> {
        let (commit, _) = answer.split_line();
        if self.publish(job, run, &commit).await? == commit {
            return keep_report(run, answer);
        }
        let answer = self.history_script(job, run, REPORT)?.run(&[], &job.stop).await?;
        if answer.code == EXIT_TOO_LARGE {
            return Err(too_large());
        }
        keep_report(run, &answer)
    }
}

/// Everything since the first commit would not fit into a message.
fn too_large() -> Error {
    Error::refused(format!(
        "everything since the first commit is too large a patch (expected at most \
         {COMBINED_BYTES_MAX} bytes)"
    ))
}
