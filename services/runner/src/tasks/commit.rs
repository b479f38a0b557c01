//! Moves a run's history: a verified patch forward, a rollback back (by a new commit).

use super::{Job, Report, Workshop, keep_report};
use crate::error::Error;
use crate::folders::RunFolder;
use crate::git::{
    Answer, COMBINED_BYTES_MAX, COMMIT, EXIT_PATCH, EXIT_TOO_LARGE, REPORT, ROLLBACK,
};
use meta_proto::runner::{CommitResult, CommitWork, RollbackResult, RollbackWork};

impl Workshop {
    pub(super) async fn commit(&self, job: &Job, work: &CommitWork) -> Result<CommitResult, Error> {
        if work.patch.is_empty() || work.message.trim().is_empty() {
            return Err(Error::refused(
                "patch, message: is empty (expected a patch and a message)",
            ));
        }
        let run = self.arrived(job, &work.head).await?;
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let answer = self
            .ask(job, &run, COMMIT, |order| {
                order
                    .file("patch", work.patch.clone())
                    .set("MESSAGE", tidy(&work.message))
                    .set("KNOWN", &work.head)
                    .set("DELETES", if deletes(&work.patch) { "1" } else { "" })
            })
            .await?;
        if answer.code == EXIT_PATCH {
            let why = answer.why();
            return Err(Error::refused(format!("patch: does not apply to the head ({why})")));
        }
        if answer.code == EXIT_TOO_LARGE {
            return Err(too_large());
        }
        let report = self.published(job, &run, &answer).await?;
        run.mark_restored(&report.head)?;
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
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let answer = self.ask(job, &run, ROLLBACK, |order| order.set("TASK", &job.task_id)).await?;
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
        let answer = self.ask(job, run, REPORT, |order| order).await?;
        if answer.code == EXIT_TOO_LARGE {
            return Err(too_large());
        }
        keep_report(run, &answer)
    }
}

/// A message as git keeps it: no blanks at the ends of lines, no empty lines around it or doubled.
fn tidy(message: &str) -> String {
    let mut lines: Vec<&str> = message.lines().map(str::trim_end).collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    lines.join("\n").trim_matches('\n').to_owned()
}

/// Whether a patch may remove a file.
fn deletes(patch: &[u8]) -> bool {
    const SAYS: &[u8] = b"\ndeleted file mode ";
    const NOTHING: &[u8] = b"+++ /dev/null";
    let has = |words: &[u8]| patch.windows(words.len()).any(|window| window == words);
    has(SAYS) || has(NOTHING)
}

/// Everything since the first commit would not fit into a message.
fn too_large() -> Error {
    Error::refused(format!(
        "everything since the first commit is too large a patch (expected at most \
         {COMBINED_BYTES_MAX} bytes)"
    ))
}

#[cfg(test)]
mod tests {
    use super::{deletes, tidy};

    #[test]
    fn a_message_is_kept_as_git_would_keep_it() {
        assert_eq!(tidy("\nFix it \n\n\n# 1\nKey: x\n\n"), "Fix it\n\n# 1\nKey: x");
    }

    #[test]
    fn a_patch_that_removes_a_file_says_so() {
        assert!(deletes(b"diff --git a/x b/x\ndeleted file mode 100644\n"));
        assert!(deletes(b"--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n"));
        assert!(!deletes(b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"));
    }
}
