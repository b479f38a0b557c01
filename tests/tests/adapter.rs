//! The orchestrator's adapter to the classifier, the flag-resolver and the auto-fixer: what it asks
//! them, and what it makes of their answers. All three are real.

use anyhow::Result;
use meta_proto::common::{
    ExitInfo, FailureType, GateType, Outcome, Overrides, Strategy, TryVerdict,
};
use meta_proto::orchestrator::{RunStatus, StepStatus};
use meta_proto::runner as work;
use meta_proto::runner::complete_task_request::Result as Answer;
use meta_proto::runner::task::Work;
use meta_tests::stack::{Stack, Without, owner};
use std::time::Duration;

const ONE: &str = "[[step]]\nname = 'a'\nrun = './job'\n";
const REFUSED: &str = "curl: (7) Failed to connect to 127.0.0.1 port 1: Connection refused\n";
const RUFF: &str = "src/a.py:1:8: F401 [*] `os` imported but unused\nFound 1 error.\n";
const LINT: &str = "[[step]]\nname = 'lint'\nrun = 'ruff check src'\n";
const PATCH: &str = "diff --git a/src/a.py b/src/a.py\nindex 1111111..2222222 100644\n--- a/src/a.py\n\
    +++ b/src/a.py\n@@ -1,2 +1 @@\n-import os\n print(1)\n";

/// Answers the next task, which has to be a fixer's, with a patch.
async fn propose(stack: &Stack, patch: &str) -> Result<work::Task> {
    let task = stack.next().await?;
    assert!(matches!(task.work, Some(Work::Propose(_))), "{task:?}");
    let result = work::ProposeResult { patch: patch.into(), ..Default::default() };
    stack.complete(&task, Answer::Propose(result)).await?;
    Ok(task)
}

/// Answers the next task, which has to be a verification.
async fn verify(stack: &Stack, passed: bool) -> Result<()> {
    let task = stack.next().await?;
    assert!(matches!(task.work, Some(Work::Verify(_))), "{task:?}");
    let result = work::VerifyResult { passed, detail: "exit 1".into(), ..Default::default() };
    stack.complete(&task, Answer::Verify(result)).await
}

/// Lets every fixer that is still asked say that it has nothing to do.
async fn no_more_fixers(stack: &Stack) -> Result<()> {
    while let Some(task) = stack.poll(Duration::from_secs(1)).await? {
        let Some(Work::Propose(_)) = task.work else { panic!("{task:?}") };
        let verdict = TryVerdict::NoChange.into();
        let result = work::ProposeResult { verdict, ..Default::default() };
        stack.complete(&task, Answer::Propose(result)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_log_and_the_exit_code_reach_the_classifier() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    let run = stack.until(&id, |r| !r.attempts.is_empty()).await?;
    let signal = run.attempts[0].signal.clone().unwrap();
    assert_eq!(signal.r#type(), FailureType::Transient);
    assert!(signal.evidence.iter().any(|e| e.text.contains("Connection refused")));
    assert!(!signal.fingerprint.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_transient_failure_is_retried_and_the_pass_is_flaky() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    stack.step(0, "ok\n").await?;
    let run = stack.until_status(&id, RunStatus::Succeeded).await?;
    assert_eq!(run.attempts.len(), 1);
    assert_eq!(run.attempts[0].strategy(), Strategy::RetryStep);
    assert_eq!(run.attempts[0].outcome(), Outcome::Retried);
    assert!(run.steps[0].flaky);
    assert_eq!(run.steps[0].executions, 2);
    Ok(())
}

#[tokio::test]
async fn retries_of_a_type_are_bounded_by_its_own_maximum() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    for _ in 0..4 {
        stack.step(7, REFUSED).await?;
    }
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    assert_eq!(run.steps[0].executions, 4, "one execution and three retries");
    assert_eq!(run.attempts.last().unwrap().outcome(), Outcome::GaveUp);
    Ok(())
}

#[tokio::test]
async fn the_flag_off_means_giving_up_at_once() -> Result<()> {
    let stack = Stack::start().await?;
    stack.set(Overrides { autofix_enabled: Some(false), ..Default::default() }).await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    assert_eq!(run.steps[0].executions, 1);
    assert!(run.reason.contains("autofix_enabled"), "{}", run.reason);
    Ok(())
}

#[tokio::test]
async fn production_heals_nothing_unless_told() -> Result<()> {
    let vars = [("META_BUILDER_ENV", "production")];
    let stack = Stack::start_with(&vars, Without::default()).await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    stack.until_status(&id, RunStatus::Failed).await?;
    Ok(())
}

#[tokio::test]
async fn a_flag_resolver_that_is_away_fails_closed() -> Result<()> {
    let without = Without { flags: true, ..Default::default() };
    let stack = Stack::start_with(&[], without).await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    assert_eq!(run.steps[0].executions, 1, "no retry with unknown settings");
    Ok(())
}

#[tokio::test]
async fn a_classifier_that_is_away_loses_no_result() -> Result<()> {
    let without = Without { classifier: true, ..Default::default() };
    let dir = tempfile::tempdir()?;
    let stack = Stack::on(dir.path(), &[], without).await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    assert!(stack.poll(Duration::from_millis(300)).await?.is_none());
    assert_eq!(stack.get(&id).await?.status(), RunStatus::Running);
    stack.end().await?;
    let stack = Stack::on(dir.path(), &[], Without::default()).await?;
    let run = stack.until(&id, |r| !r.attempts.is_empty()).await?;
    assert_eq!(run.attempts[0].signal.clone().unwrap().r#type(), FailureType::Transient);
    stack.step(0, "").await?;
    stack.until_status(&id, RunStatus::Succeeded).await?;
    Ok(())
}

#[tokio::test]
async fn a_tenants_budget_for_a_step_is_kept() -> Result<()> {
    let stack = Stack::start().await?;
    stack.set(Overrides { max_per_step_attempts: Some(1), ..Default::default() }).await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    stack.step(7, REFUSED).await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    assert_eq!(run.steps[0].executions, 2);
    Ok(())
}

#[tokio::test]
async fn the_budget_of_the_run_counts_over_its_steps() -> Result<()> {
    let stack = Stack::start().await?;
    stack.set(Overrides { max_total_attempts: Some(2), ..Default::default() }).await?;
    let steps = "[[step]]\nname='a'\nrun='./a'\n[[step]]\nname='b'\nrun='./b'\nneeds=['a']\n";
    let id = stack.run(steps, &[]).await?;
    stack.step(7, REFUSED).await?;
    stack.step(0, "").await?;
    stack.step(7, REFUSED).await?;
    stack.step(7, REFUSED).await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    let paid = run.attempts.iter().filter(|a| a.outcome() == Outcome::Retried).count();
    assert_eq!(paid, 2);
    Ok(())
}

#[tokio::test]
async fn a_runs_own_overrides_are_in_force_for_it() -> Result<()> {
    let stack = Stack::start().await?;
    let request = meta_proto::orchestrator::CreateRunRequest {
        spec_id: stack.spec(ONE).await?,
        overrides: Some(Overrides { autofix_enabled: Some(false), ..Default::default() }),
        ..Default::default()
    };
    let answer = stack.runs().create_run(owner(request)).await?;
    let id = answer.into_inner().run.unwrap().id;
    stack.prepare(&[]).await?;
    stack.step(7, REFUSED).await?;
    stack.until_status(&id, RunStatus::Failed).await?;
    Ok(())
}

#[tokio::test]
async fn a_lint_finding_goes_to_the_fixer_of_its_tool() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(LINT, &["src/a.py"]).await?;
    stack.step(1, RUFF).await?;
    let task = propose(&stack, PATCH).await?;
    let Some(Work::Propose(proposal)) = task.work else { unreachable!() };
    let fixer = proposal.fixer.unwrap();
    assert!(fixer.title.contains("ruff check"), "{}", fixer.title);
    assert!(String::from_utf8_lossy(&proposal.log).contains("F401"));
    verify(&stack, true).await?;
    let task = stack.next().await?;
    let Some(Work::Commit(commit)) = &task.work else { panic!("{task:?}") };
    for trailer in ["Metabuilder-Run: ", "Metabuilder-Fixer: ", "Metabuilder-Patch: sha256:"] {
        assert!(commit.message.contains(trailer), "{}", commit.message);
    }
    let result = work::CommitResult {
        commit: "c1".into(),
        files: vec!["src/a.py".into()],
        combined_patch: PATCH.into(),
    };
    stack.complete(&task, Answer::Commit(result)).await?;
    stack.step(0, "All checks passed!\n").await?;
    let run = stack.until_status(&id, RunStatus::Succeeded).await?;
    assert_eq!(run.attempts[0].outcome(), Outcome::PatchApplied);
    assert_eq!(run.attempts[0].tries[0].verdict(), TryVerdict::Accepted);
    assert_eq!((run.attempts[0].tries[0].added, run.attempts[0].tries[0].removed), (0, 1));
    assert_eq!(run.head_commit, "c1");
    Ok(())
}

#[tokio::test]
async fn a_patch_outside_the_policy_is_refused_before_anything_runs() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(LINT, &["src/a.py"]).await?;
    stack.step(1, RUFF).await?;
    propose(&stack, &PATCH.replace("src/a.py", "../../etc/a.py")).await?;
    no_more_fixers(&stack).await?;
    stack.until_status(&id, RunStatus::Failed).await?;
    let events = stack.events(&id).await?;
    let tried = events.iter().find(|e| e.r#type == "autofix.tried").unwrap();
    assert!(tried.data_json.contains("guard_reject"), "{}", tried.data_json);
    Ok(())
}

#[tokio::test]
async fn a_patch_that_does_not_verify_is_not_committed() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(LINT, &["src/a.py"]).await?;
    stack.step(1, RUFF).await?;
    propose(&stack, PATCH).await?;
    verify(&stack, false).await?;
    no_more_fixers(&stack).await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    assert!(run.attempts.iter().all(|a| a.outcome() != Outcome::PatchApplied));
    assert_eq!(run.attempts.last().unwrap().tries[0].verdict(), TryVerdict::VerifyFail);
    Ok(())
}

#[tokio::test]
async fn a_security_finding_opens_a_gate_and_accepting_it_goes_on() -> Result<()> {
    let stack = Stack::start().await?;
    let steps = "[[step]]\nname='audit'\nrun='bandit -r src'\n[[step]]\nname='z'\nrun='t'\nneeds=['audit']\n";
    let id = stack.run(steps, &["src/a.py"]).await?;
    let log = ">> Issue: [B602:subprocess_popen_with_shell_equals_true] subprocess call with shell=True \
               identified, security issue.\n   Severity: High   Confidence: High\n   Location: src/a.py:3:0\n";
    stack.step(1, log).await?;
    let run = stack.until_status(&id, RunStatus::PausedAwaitingApproval).await?;
    assert_eq!(run.gates[0].r#type(), GateType::Security);
    assert_eq!(run.attempts[0].outcome(), Outcome::Escalated);
    stack.decide(&id, true).await?;
    assert_eq!(stack.step(0, "").await?, "z");
    let run = stack.until_status(&id, RunStatus::Succeeded).await?;
    assert!(run.steps[0].reason.contains("accepted by user:test"));
    Ok(())
}

#[tokio::test]
async fn an_unknown_failure_ends_with_a_human_within_its_budget() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    let mut executions = 0;
    while let Some(task) = stack.poll(Duration::from_secs(1)).await? {
        executions += 1;
        assert!(executions <= 6, "within the budget");
        stack.end_step(&task, 42, "").await?;
    }
    let run = stack.until_status(&id, RunStatus::PausedAwaitingApproval).await?;
    assert_eq!(run.gates[0].r#type(), GateType::Unknown);
    assert_eq!(run.attempts[0].signal.clone().unwrap().r#type(), FailureType::Unknown);
    Ok(())
}

#[tokio::test]
async fn an_outside_kill_is_infra_whatever_the_log_says() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    let (task, _) = stack.next_step().await?;
    let exit = ExitInfo { signal: Some(9), oom_killed: true, ..Default::default() };
    stack.end_step_as(&task, exit, "FAILED tests/test_a.py::test_b - assert 1 == 2\n").await?;
    let run = stack.until(&id, |r| !r.attempts.is_empty()).await?;
    assert_eq!(run.attempts[0].signal.clone().unwrap().r#type(), FailureType::Infra);
    Ok(())
}

#[tokio::test]
async fn a_failed_test_is_run_once_more_on_the_same_commit() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run("[[step]]\nname='test'\nrun='pytest -q'\n", &["tests/test_a.py"]).await?;
    let log = "FAILED tests/test_a.py::test_b - assert 1 == 2\n1 failed, 3 passed in 0.1s\n";
    stack.step(1, log).await?;
    stack.step(0, "4 passed in 0.1s\n").await?;
    let run = stack.until_status(&id, RunStatus::Succeeded).await?;
    assert!(run.steps[0].flaky);
    assert_eq!(run.steps[0].status(), StepStatus::Succeeded);
    Ok(())
}
