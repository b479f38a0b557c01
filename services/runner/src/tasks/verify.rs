//! Executes a failing step on a second fresh copy that has the patch, then the steps that passed
//! before. What is reported are facts; whether they are good enough is decided elsewhere.

use super::execute::{Executed, counts, in_words};
use super::heal::Copy;
use super::{Job, Place, Workshop, reports};
use crate::core::protected::{Protected, protected};
use crate::error::Error;
use crate::git::{EXIT_PATCH, RESTORE, copy_with_patch, split_list};
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use meta_domain::plan::PlannedStep;
use meta_proto::convert::{Field, Required};
use meta_proto::runner::{Check, VerifyResult, VerifyWork};

/// Names of newly skipped tests that are reported.
const NEWLY_SKIPPED_MAX: usize = 20;

impl Workshop {
    pub(super) async fn verify(&self, job: &Job, work: VerifyWork) -> Result<VerifyResult, Error> {
        let step = PlannedStep::try_from(work.step.clone().required("step")?).field("step")?;
        let mut steps = vec![step];
        for sibling in work.siblings.clone() {
            steps.push(PlannedStep::try_from(sibling).field("siblings")?);
        }
        let place = self.place(job, &work.head, (&work.cache_key, &work.mount)).await?;
        let copy = Copy::new(job, &place)?;
        let mut result = VerifyResult::default();
        match self.lay_patch(job, &place, &copy, &steps, &work).await? {
            Ok((check_files, restored)) => {
                (result.check_files, result.restored) = (check_files, restored);
            }
            Err(why) => {
                result.detail = format!("the patch does not apply: {why}");
                return Ok(result);
            }
        }
        for (i, step) in steps.iter().enumerate() {
            let (check, executed) = self.check(job, &place, &copy, step, i == 0, &work).await?;
            result.checks.push(check);
            if !executed.exit.success() {
                let how = in_words(&executed.exit, step);
                result.detail = match (i, result.restored.as_slice()) {
                    (0, []) => format!("with the patch, {} {how}", step.name),
                    (0, files) => {
                        format!(
                            "with the patch but {} as before, {} {how}",
                            files.join(", "),
                            step.name
                        )
                    }
                    _ => format!("{} passed before, and with the patch it {how}", step.name),
                };
                return Ok(result);
            }
        }
        result.passed = true;
        Ok(result)
    }

    /// Makes the copy and applies the patch; answers which of its files are part of the check, and
    /// which of those were put back, or why it does not apply.
    async fn lay_patch(
        &self,
        job: &Job,
        place: &Place,
        copy: &Copy,
        steps: &[PlannedStep],
        work: &VerifyWork,
    ) -> Result<Result<(Vec<String>, Vec<String>), String>, Error> {
        let mut room = self.room(job, &place.run, Some(&place.caches)).await?;
        let order = copy
            .filled(&room.seen, place, steps, copy_with_patch())?
            .file("patch", work.patch.clone());
        let answer = room.carry_out(&order, &job.stop).await?;
        if answer.code == EXIT_PATCH {
            self.rooms.leave(room);
            return Ok(Err(answer.why().to_owned()));
        }
        let (changed, _) = split_list(&answer.stdout);
        let check_files: Vec<_> = changed.into_iter().filter(|p| protected(p).is_some()).collect();
        let owned = owned(&work.owned)?;
        let put_back = |path: &&String| {
            let asked = match protected(path) {
                Some(Protected::Test) => work.restore_tests,
                Some(Protected::Config) => work.restore_config,
                None => false,
            };
            asked && !owned.matched(path.as_str(), false).is_ignore()
        };
        let restored: Vec<String> = check_files.iter().filter(put_back).cloned().collect();
        if !restored.is_empty() {
            let order = copy.order(&room.seen, RESTORE).arguments(restored.iter().cloned());
            room.carry_out(&order, &job.stop).await?;
        }
        self.rooms.leave(room);
        Ok(Ok((check_files, restored)))
    }

    /// Executes one step: the failing one twice when it is known to be flaky, a flaky sibling again
    /// when it fails.
    async fn check(
        &self,
        job: &Job,
        place: &Place,
        copy: &Copy,
        step: &PlannedStep,
        failing: bool,
        work: &VerifyWork,
    ) -> Result<(Check, Executed), Error> {
        let name = &step.name;
        let header = if failing {
            format!(
                "[verify] {name} again, on a fresh copy with the patch (attempt {})",
                work.attempt
            )
        } else {
            format!("[verify] {name}, which passed before")
        };
        let mut executions = 1;
        let mut executed = self.execute(job, step, &copy.stage(place), Some(&header)).await?;
        let again = work.flaky.contains(name) && executed.exit.success() == failing;
        if again {
            executions += 1;
            let header = format!("[verify] {name} once more: it is known to be flaky");
            executed = self.execute(job, step, &copy.stage(place), Some(&header)).await?;
        }
        self.share_tally(job, &place.run, name).await?;
        let before = reports::most(&place.run, name);
        let mut newly_skipped = executed.tally.newly_skipped(&before);
        newly_skipped.truncate(NEWLY_SKIPPED_MAX);
        let check = Check {
            step: name.clone(),
            execution: Some(executed.execution.clone()),
            before: counts(&before),
            newly_skipped,
            executions,
        };
        Ok((check, executed))
    }
}

/// The files that the patch owns.
fn owned(globs: &[String]) -> Result<Gitignore, Error> {
    let mut builder = GitignoreBuilder::new("");
    for glob in globs {
        builder
            .add_line(None, glob)
            .map_err(|e| Error::refused(format!("owned: {glob:?} is not a glob: {e}")))?;
    }
    builder.build().map_err(|e| Error::refused(format!("owned: {e}")))
}
