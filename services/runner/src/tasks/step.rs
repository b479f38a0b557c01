//! Executes a step in the run's workspace.

use super::execute::Stage;
use super::{Job, Workshop, keep_report, reports};
use crate::error::Error;
use crate::folders::RunFolder;
use crate::git::{
    AFTER_STEP, BEFORE_STEP, COMBINED_BYTES_MAX, EXIT_TOO_LARGE, Order, REPORT, Script,
    is_unchanged,
};
use meta_domain::plan::PlannedStep;
use meta_proto::convert::{Field, Required};
use meta_proto::runner::{StepResult, StepWork};

impl Workshop {
    pub(super) async fn step(&self, job: &Job, work: StepWork) -> Result<StepResult, Error> {
        let step = PlannedStep::try_from(work.step.required("step")?).field("step")?;
        let place = self.place(job, &work.head, (&work.cache_key, &work.mount)).await?;
        // Tools compare the times of files with those of what they left in a cache folder.
        let foreign = !step.cache.is_empty() && place.caches.claim(&job.run_id)?;
        if step.clean_cache {
            for path in &step.cache {
                place.caches.clean(path)?;
            }
        }
        let restore = !place.run.take_restored(&work.head)? && work.restore;
        if restore || foreign {
            let flag = |on: bool| if on { "1" } else { "" };
            let mut room = self.room(job, &place.run, Some(&place.caches)).await?;
            let order = Order::on_history(&room.seen, BEFORE_STEP)
                .set("RESTORE", flag(restore))
                .set("TOUCH", flag(foreign));
            let lock = self.history_lock(&job.run_id);
            let _writing = lock.lock().await;
            room.carry_out(&order, &job.stop).await?;
            self.rooms.leave(room);
        }
        let stage = Stage {
            workspace: place.run.workspace(),
            mount: &place.mount,
            objects: place.run.objects(),
            caches: &place.caches,
        };
        let executed = self.execute(job, &step, &stage, None).await?;
        reports::remember(&place.run, &step.name, executed.tally)?;
        self.share_tally(job, &place.run, &step.name).await?;
        let lock = self.history_lock(&job.run_id);
        let _writing = lock.lock().await;
        let execution = Some(executed.execution);
        let passed = executed.exit.success();
        let history = place.run.history();
        if is_at(&history, &work.head)
            && (!passed || is_unchanged(&history, &place.run.workspace()))
        {
            return Ok(StepResult { execution, commit: work.head, combined_patch: None });
        }
        let mut room = self.room(job, &place.run, Some(&place.caches)).await?;
        let order = Order::on_history(&room.seen, AFTER_STEP)
            .set("PASSED", if passed { "1" } else { "" })
            .set("KNOWN", &work.head)
            .set("MESSAGE", format!("output of step {}", step.name));
        let answer = room.carry_out(&order, &job.stop).await?;
        self.rooms.leave(room);
        let (commit, _) = answer.split_line();
        let (head, answer) = match self.publish(job, &place.run, &commit).await? {
            head if head == commit => (commit, answer),
            head => (head, self.ask(job, &place.run, REPORT, |order| order).await?),
        };
        let (_, moved) = answer.split_line();
        let combined_patch = if answer.code == EXIT_TOO_LARGE {
            let line = format!(
                "the tracked files changed by more than {COMBINED_BYTES_MAX} bytes; the run's \
                 patch leaves that out"
            );
            tracing::warn!(run_id = %job.run_id, step = %step.name, "{line}");
            job.log.note(&line, meta_runtime::now());
            None
        } else if moved.is_empty() {
            None
        } else {
            Some(keep_report(&place.run, &answer)?.combined_patch)
        };
        Ok(StepResult { execution, commit: head, combined_patch })
    }

    /// A script on the run's workspace and history.
    pub(super) fn history_script(
        &self,
        job: &Job,
        run: &RunFolder,
        text: impl Into<String>,
    ) -> Result<Script<'_>, Error> {
        let workspace = run.workspace();
        let script = Script::new(&self.sandbox, &self.data_dir, job.owner, &workspace, text)?;
        Ok(script.history(&run.history()))
    }
}

/// Whether the history's branch, as a plain file, says this commit.
fn is_at(history: &std::path::Path, commit: &str) -> bool {
    let branch = history.join("refs/heads/metabuilder");
    !commit.is_empty() && std::fs::read_to_string(branch).is_ok_and(|said| said.trim() == commit)
}
