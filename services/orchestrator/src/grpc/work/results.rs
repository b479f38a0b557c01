//! What a runner's result is for its run.

use crate::core::event::Execution;
use crate::core::evidence::{Check, Evidence, TestCount};
use crate::core::queue::Task;
use crate::core::transition::{Input, TaskKind};
use crate::judge::{before_of, context_of};
use meta_domain::autofix::{SourceFile, TryVerdict};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::masking::mask_secrets;
use meta_proto::convert::word_opt;
use meta_proto::runner as pb;

type Artifacts = Vec<(String, Vec<u8>)>;

/// What a runner's result is for the run.
pub(super) fn input(
    task: &Task,
    result: pb::complete_task_request::Result,
) -> Result<(Input, Artifacts), Fault> {
    use pb::complete_task_request::Result as R;
    let step = task.step.clone();
    let files =
        |files: &[String]| ("files".to_owned(), serde_json::to_vec(files).unwrap_or_default());
    let patch = |patch: Vec<u8>| ("patch".to_owned(), patch);
    Ok(match (task.kind, result) {
        (TaskKind::Prepare, R::Prepare(p)) => {
            let artifacts = vec![files(&p.files)];
            let (files, bot_commits) = (p.files.len(), p.bot_commits);
            (Input::Prepared { commit: p.commit, files, bot_commits }, artifacts)
        }
        (TaskKind::Step, R::Step(s)) => {
            let artifacts = s.combined_patch.map(patch).into_iter().collect();
            let execution = execution(s.execution.unwrap_or_default());
            (Input::StepFinished { step, execution, commit: s.commit }, artifacts)
        }
        (TaskKind::Collect, R::Collect(c)) => {
            let list: Vec<SourceFile> = c.files.into_iter().map(Into::into).collect();
            let artifact = (context_of(&step), serde_json::to_vec(&list).unwrap_or_default());
            (Input::Collected { step, files: list.len() }, vec![artifact])
        }
        (TaskKind::Propose, R::Propose(mut p)) => {
            let before = std::mem::take(&mut p.before);
            let list: Vec<SourceFile> = before.into_iter().map(Into::into).collect();
            let artifact = (before_of(&step), serde_json::to_vec(&list).unwrap_or_default());
            (proposed(step, p)?, vec![artifact])
        }
        (TaskKind::Verify, R::Verify(v)) => {
            (Input::Verified { step, evidence: Box::new(evidence(v)) }, Vec::new())
        }
        (TaskKind::Commit, R::Commit(c)) => {
            let artifacts = vec![patch(c.combined_patch), files(&c.files)];
            (Input::Committed { step, commit: c.commit }, artifacts)
        }
        (TaskKind::Rollback, R::Rollback(r)) => {
            let artifacts =
                if r.commit.is_empty() { Vec::new() } else { vec![patch(r.combined_patch)] };
            (Input::RolledBack { step, commit: r.commit }, artifacts)
        }
        (kind, R::Error(e)) => (Input::TaskFailed { kind, step, message: e.message }, Vec::new()),
        (kind, _) => {
            let text = format!("a {kind} task was answered with another kind of result");
            return Err(Fault::new(ErrorKind::InvalidArgument, "WRONG_RESULT", text));
        }
    })
}

/// A result whose texts, which people are shown, hold nothing that looks like a secret. Runners mask
/// what they know; this is for what a runner does not.
pub(super) fn without_secrets(
    result: pb::complete_task_request::Result,
) -> pb::complete_task_request::Result {
    use pb::complete_task_request::Result as R;
    let hidden = |text: String| -> String {
        text.split_inclusive('\n').map(|line| mask_secrets(line).into_owned()).collect()
    };
    match result {
        R::Error(e) => R::Error(pb::TaskError { message: hidden(e.message), ..e }),
        R::Verify(v) => R::Verify(pb::VerifyResult { detail: hidden(v.detail), ..v }),
        R::Propose(p) => R::Propose(pb::ProposeResult { detail: hidden(p.detail), ..p }),
        other => other,
    }
}

/// What a verification showed, as far as the runner can say.
fn evidence(v: pb::VerifyResult) -> Evidence {
    Evidence {
        passed: v.passed,
        detail: v.detail,
        checks: v.checks.into_iter().map(check).collect(),
        check_files: v.check_files,
        restored: v.restored,
        ..Evidence::default()
    }
}

fn check(c: pb::Check) -> Check {
    let count = |c: pb::TestCount| TestCount {
        tool: c.tool,
        executed: c.executed,
        failed: c.failed,
        skipped: c.skipped,
    };
    let execution = c.execution.unwrap_or_default();
    Check {
        step: c.step,
        exit: execution.exit.unwrap_or_default().into(),
        duration_ms: execution.duration_ms,
        before: c.before.into_iter().map(count).collect(),
        after: execution.tests.into_iter().map(count).collect(),
        newly_skipped: c.newly_skipped,
        executions: c.executions,
    }
}

fn proposed(step: String, p: pb::ProposeResult) -> Result<Input, Fault> {
    let verdict: Option<TryVerdict> = word_opt("verdict", p.verdict)?;
    let result = match verdict {
        Some(verdict) => Err((verdict, p.detail)),
        None if p.patch.is_empty() => Err((TryVerdict::NoChange, p.detail)),
        None => match String::from_utf8(p.patch) {
            Ok(text) => Ok(text),
            Err(_) => Err((TryVerdict::GuardReject, "the patch is not text in UTF-8".to_owned())),
        },
    };
    Ok(Input::Proposed { step, result })
}

fn execution(e: pb::Execution) -> Execution {
    Execution {
        exit: e.exit.unwrap_or_default().into(),
        duration_ms: e.duration_ms,
        cut_bytes: e.cut_bytes,
        sandbox: e.sandbox,
    }
}
