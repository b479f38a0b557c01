//! Executes a failing step on a second fresh copy that has the patch.

use super::execute::in_words;
use super::heal::Copy;
use super::{Job, Workshop};
use crate::error::{Error, doing};
use crate::git::{EXIT_PATCH, copy_with_patch};
use meta_domain::plan::PlannedStep;
use meta_proto::convert::{Field, Required};
use meta_proto::runner::{VerifyResult, VerifyWork};
use std::os::unix::fs::lchown;

impl Workshop {
    pub(super) async fn verify(&self, job: &Job, work: VerifyWork) -> Result<VerifyResult, Error> {
        let step = PlannedStep::try_from(work.step.required("step")?).field("step")?;
        let place = self.place(job, &work.cache_key, &work.mount)?;
        let copy = Copy::new(job, &place)?;
        let patch = copy.state.join("patch");
        std::fs::write(&patch, &work.patch).map_err(doing("cannot write the patch"))?;
        lchown(&patch, job.owner, job.owner).map_err(doing("cannot write the patch"))?;
        let (script, pairs) = self.copy_script(job, &place, &copy, &step, copy_with_patch())?;
        let script = script.path("PATCH", self.sandbox.show(&patch, "patch", false));
        let answer = script.run(&pairs, &job.stop).await?;
        if answer.code == EXIT_PATCH {
            let detail = format!("the patch does not apply: {}", answer.why());
            return Ok(VerifyResult { passed: false, detail, execution: None });
        }
        let header = format!(
            "[verify] {} again, on a fresh copy with the patch (attempt {})",
            step.name, work.attempt
        );
        let executed = self.execute(job, &step, &copy.stage(&place), Some(&header)).await?;
        let passed = executed.exit.success();
        let detail = if passed {
            String::new()
        } else {
            format!("with the patch, {} {}", step.name, in_words(&executed.exit, &step))
        };
        Ok(VerifyResult { passed, detail, execution: Some(executed.execution) })
    }
}
