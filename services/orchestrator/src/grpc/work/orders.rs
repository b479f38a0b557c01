//! What a runner is told to do for a task.

use super::super::inspect::Asked;
use super::Work;
use crate::core::evidence::{put_back, siblings};
use crate::core::queue::Task;
use crate::core::run::{Phase, Run, State, Step};
use crate::core::transition::TaskKind;
use crate::judge::edits_of;
use crate::shell::{Leased, lease_lost};
use meta_domain::autofix::{FileEdit, FixerKind};
use meta_domain::fault::Fault;
use meta_proto::runner as pb;

/// How long a flake is remembered when patches are verified, in milliseconds.
const FLAKY_MS: i64 = 30 * 24 * 3_600_000;
/// Bytes of a failed attempt's log that a fixer gets.
const FIXER_LOG_BYTES_MAX: usize = 1024 * 1024;

impl Work {
    /// The order for a leased task.
    ///
    /// # Errors
    /// When the task does not fit its run any more, or the store fails.
    pub(super) async fn order(&self, leased: &Leased) -> Result<pb::Task, Fault> {
        let task = &leased.task;
        let (work, traceparent) = if let Some(run) = &leased.run {
            (self.work_of(run, task).await?, traced(run, task))
        } else {
            let mut asked = Asked::read(&task.payload)?;
            let place = std::mem::take(&mut asked.trace);
            (asked.order(), place)
        };
        Ok(pb::Task {
            task_id: task.id.to_string(),
            lease_epoch: u64::try_from(task.epoch).unwrap_or(0),
            lease_ms: u64::try_from(self.engine.lease_ms()).unwrap_or(0),
            tenant_id: task.tenant.to_string(),
            run_id: task.run.map(|r| r.to_string()).unwrap_or_default(),
            work: Some(work),
            traceparent,
        })
    }

    async fn work_of(&self, run: &Run, task: &Task) -> Result<pb::task::Work, Fault> {
        let step = run.step(&task.step);
        let needed = || step.ok_or_else(|| Fault::not_found("STEP_NOT_FOUND", "step", &task.step));
        Ok(match task.kind {
            TaskKind::Prepare => {
                pb::task::Work::Prepare(pb::PrepareWork { source: Some(run.source.clone().into()) })
            }
            TaskKind::Step => {
                let step = needed()?;
                pb::task::Work::Step(pb::StepWork {
                    step: Some(step.planned.clone().into()),
                    attempt: step.executions,
                    restore: step.executions > 1,
                    cache_key: run.cache_key.clone(),
                    mount: run.mount.clone(),
                    head: run.head.clone(),
                })
            }
            TaskKind::Propose => self.propose_work(run, needed()?).await?,
            TaskKind::Verify => self.verify_work(run, needed()?).await?,
            TaskKind::Collect => {
                let State::Healing(healing) = &needed()?.state else { return Err(lease_lost()) };
                let plan = healing.fixer().map(|f| f.context.clone().into());
                pb::task::Work::Collect(pb::CollectWork { plan, head: run.head.clone() })
            }
            TaskKind::Commit => commit_work(run, needed()?)?,
            TaskKind::Rollback => {
                pb::task::Work::Rollback(pb::RollbackWork { head: run.head.clone() })
            }
            TaskKind::Inspect
            | TaskKind::Judge
            | TaskKind::Review
            | TaskKind::Draft
            | TaskKind::Record
            | TaskKind::Expire
            | TaskKind::Deadline => {
                return Err(Fault::not_found("TASK_NOT_FOUND", "task", task.id));
            }
        })
    }

    async fn propose_work(&self, run: &Run, step: &Step) -> Result<pb::task::Work, Fault> {
        let State::Healing(healing) = &step.state else { return Err(lease_lost()) };
        let log = match step.logs.iter().rev().find(|l| !l.verification) {
            Some(log) => self.engine.logs.text((run.tenant, run.id), &log.name).await?,
            None => Vec::new(),
        };
        let from = log.len().saturating_sub(FIXER_LOG_BYTES_MAX);
        let edits: Vec<FileEdit> = if healing.fixer().is_some_and(|f| f.kind == FixerKind::Model) {
            let name = edits_of(&step.planned.name);
            let body = self.engine.tables.artifact(run.id, &name).await?.unwrap_or_default();
            serde_json::from_slice(&body).unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(pb::task::Work::Propose(pb::ProposeWork {
            step: Some(step.planned.clone().into()),
            fixer: healing.fixer().cloned().map(Into::into),
            signal: step.signal.clone().map(Into::into),
            log: log[from..].to_vec(),
            cache_key: run.cache_key.clone(),
            mount: run.mount.clone(),
            edits: edits.into_iter().map(Into::into).collect(),
            head: run.head.clone(),
        }))
    }

    async fn verify_work(&self, run: &Run, step: &Step) -> Result<pb::task::Work, Fault> {
        let State::Healing(healing) = &step.state else { return Err(lease_lost()) };
        let (Some(patch), Some(fixer)) = (&healing.patch, healing.fixer()) else {
            return Err(lease_lost());
        };
        let asks = healing.approval.is_some() || healing.approved_by.is_some();
        let put_back = put_back(step, fixer, asks);
        let since = self.engine.clock.now().plus_ms(-FLAKY_MS);
        let tables = &self.engine.tables;
        let mut flaky = tables.flaky_steps(run.tenant, &run.cache_key, since).await?;
        flaky.extend(run.steps.iter().filter(|s| s.flaky).map(|s| s.planned.name.clone()));
        let siblings = siblings(run, &step.planned.name);
        Ok(pb::task::Work::Verify(pb::VerifyWork {
            step: Some(step.planned.clone().into()),
            patch: patch.text.clone().into_bytes(),
            cache_key: run.cache_key.clone(),
            mount: run.mount.clone(),
            attempt: step.executions,
            siblings: siblings.into_iter().cloned().map(Into::into).collect(),
            restore_tests: put_back.tests,
            restore_config: put_back.config,
            owned: put_back.owned,
            flaky,
            head: run.head.clone(),
        }))
    }
}

/// The place of the task's step in the run's trace.
fn traced(run: &Run, task: &Task) -> String {
    run.place_of(&task.step).map(|place| place.to_string()).unwrap_or_default()
}

fn commit_work(run: &Run, step: &Step) -> Result<pb::task::Work, Fault> {
    let State::Healing(healing) = &step.state else { return Err(lease_lost()) };
    let (Some(patch), Some(fixer), Phase::Committing) =
        (&healing.patch, healing.fixer(), healing.phase)
    else {
        return Err(lease_lost());
    };
    let attempt = run.attempts.iter().filter(|a| a.step == step.planned.name).count() + 1;
    let name = &step.planned.name;
    let mut message = format!(
        "Heal step {name}: {}\n\nMetabuilder-Run: {}\nMetabuilder-Step: {name}\n\
         Metabuilder-Fixer: {}\nMetabuilder-Attempt: {attempt}\nMetabuilder-Patch: sha256:{}\n",
        fixer.title, run.id, fixer.id, patch.sha256
    );
    if let Some(actor) = &healing.approved_by {
        message.push_str(&format!("Metabuilder-Approved-By: {actor}\n"));
    }
    let patch = patch.text.clone().into_bytes();
    Ok(pb::task::Work::Commit(pb::CommitWork { patch, message, head: run.head.clone() }))
}
