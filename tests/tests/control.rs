//! What operators do with a run, over the real services, on both databases.

use anyhow::{Context, Result};
use meta_proto::common::{PlanOp, PlanOpKind};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::run_control_service_client::RunControlServiceClient;
use meta_proto::runner as work;
use meta_runtime::Transport;
use meta_runtime::auth::machine_call;
use meta_storage::testing::Fresh;
use meta_tests::stack::{Stack, Without, owner};
use std::time::Duration;

const TWO: &str = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n";
/// Long enough for anything that is about to come.
const SHORT: Duration = Duration::from_millis(300);

/// Each of these on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($body:ident;)+) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $body() -> anyhow::Result<()> {
                    super::$body(meta_storage::testing::Fresh::sqlite()).await
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test]
                async fn $body() -> anyhow::Result<()> {
                    super::$body(meta_storage::testing::Fresh::postgres().await).await
                }
            )+
        }
    };
}

on_both! {
    a_paused_run_starts_nothing_until_it_is_resumed;
    a_marked_step_is_passed_over;
    an_edited_plan_is_what_runs;
    a_run_that_takes_too_long_fails;
    the_run_of_greater_priority_goes_first;
    a_task_that_was_lost_on_its_way_is_leased_again_at_once;
}

async fn stack(fresh: &Fresh) -> Result<(Stack, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let config = orchestrator::Config {
        data_dir: folder.path().to_owned(),
        database: fresh.location().into(),
        own_leases: true,
        limits: orchestrator::config::Limits::NONE,
        ..Default::default()
    };
    Ok((Stack::with(config, &[], Without::default()).await?, folder))
}

fn control(stack: &Stack) -> RunControlServiceClient<Transport> {
    RunControlServiceClient::new(stack.orchestrator.clone())
}

/// The run's log and tables say the same.
async fn verified(stack: &Stack, run: &str) -> Result<()> {
    let request = pb::VerifyRunRequest { run_id: run.to_owned() };
    let found = control(stack).verify_run(owner(request)).await?.into_inner();
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.events, stack.get(run).await?.last_seq);
    Ok(())
}

async fn a_paused_run_starts_nothing_until_it_is_resumed(fresh: Fresh) -> Result<()> {
    let (stack, _folder) = stack(&fresh).await?;
    let run = stack.run(TWO, &[]).await?;
    let (task, _) = stack.next_step().await?;
    let request = pb::PauseRunRequest { run_id: run.clone(), reason: "maintenance".into() };
    let paused = control(&stack).pause_run(owner(request)).await?.into_inner();
    assert_eq!(paused.run.context("run")?.held_by, "user:test");
    stack.end_step(&task, 0, "").await?;
    assert!(stack.poll(SHORT).await?.is_none());
    let request = pb::ResumeRunRequest { run_id: run.clone() };
    control(&stack).resume_run(owner(request)).await?;
    assert_eq!(stack.step(0, "").await?, "b");
    let ended = stack.until(&run, |r| r.status() == pb::RunStatus::Succeeded).await?;
    assert_eq!(ended.held_by, "");
    verified(&stack, &run).await?;
    stack.end().await
}

async fn a_marked_step_is_passed_over(fresh: Fresh) -> Result<()> {
    let (stack, _folder) = stack(&fresh).await?;
    let run = stack.run(TWO, &[]).await?;
    let (task, name) = stack.next_step().await?;
    assert_eq!(name, "a");
    let mark = |reason: &str| pb::MarkStepRequest {
        run_id: run.clone(),
        step: "a".into(),
        mark: pb::StepMark::Skipped.into(),
        reason: reason.to_owned(),
    };
    let refused = control(&stack).mark_step(owner(mark(" "))).await.expect_err("it is refused");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    control(&stack).mark_step(owner(mark("not today"))).await?;
    let late = stack.end_step(&task, 0, "").await.expect_err("it is refused");
    assert!(format!("{late:#}").contains("leased to somebody else"), "{late:#}");
    assert_eq!(stack.step(0, "").await?, "b");
    let ended = stack.until(&run, |r| r.status() == pb::RunStatus::Succeeded).await?;
    assert_eq!(ended.steps[0].status(), pb::StepStatus::Skipped);
    assert_eq!(ended.steps[0].marked_by, "user:test");
    verified(&stack, &run).await?;
    stack.end().await
}

async fn an_edited_plan_is_what_runs(fresh: Fresh) -> Result<()> {
    let (stack, _folder) = stack(&fresh).await?;
    let run = stack.run(TWO, &[]).await?;
    let (task, _) = stack.next_step().await?;
    let set = PlanOp {
        kind: PlanOpKind::SetEnv.into(),
        step: "b".into(),
        env: [("MODE".to_owned(), "slow".to_owned())].into(),
        ..Default::default()
    };
    let edit = |plan_version| pb::EditPlanRequest {
        run_id: run.clone(),
        ops: vec![set.clone()],
        plan_version,
    };
    let stale = control(&stack).edit_plan(owner(edit(9))).await.expect_err("it is refused");
    assert_eq!(stale.code(), tonic::Code::Aborted);
    let edited = control(&stack).edit_plan(owner(edit(1))).await?.into_inner();
    assert_eq!(edited.run.context("run")?.plan_version, 2);
    stack.end_step(&task, 0, "").await?;
    let (task, name) = stack.next_step().await?;
    let Some(meta_proto::runner::task::Work::Step(work)) = &task.work else { panic!("{task:?}") };
    assert_eq!(
        (name.as_str(), &work.step.as_ref().context("step")?.env["MODE"][..]),
        ("b", "slow")
    );
    stack.end_step(&task, 0, "").await?;
    stack.until(&run, |r| r.status() == pb::RunStatus::Succeeded).await?;
    verified(&stack, &run).await?;
    stack.end().await
}

async fn a_run_that_takes_too_long_fails(fresh: Fresh) -> Result<()> {
    let (stack, _folder) = stack(&fresh).await?;
    let spec = stack.spec(TWO).await?;
    let request = pb::CreateRunRequest { spec_id: spec, timeout_seconds: 1, ..Default::default() };
    let run = stack.runs().create_run(owner(request)).await?.into_inner().run.context("run")?.id;
    stack.prepare(&[]).await?;
    let (task, _) = stack.next_step().await?;
    let ended = stack.until(&run, |r| r.status() == pb::RunStatus::Failed).await?;
    assert_eq!(ended.reason, "the run did not end within 1 s");
    assert!(stack.end_step(&task, 0, "").await.is_err(), "its late result is refused");
    verified(&stack, &run).await?;
    stack.end().await
}

async fn the_run_of_greater_priority_goes_first(fresh: Fresh) -> Result<()> {
    let (stack, _folder) = stack(&fresh).await?;
    let spec = stack.spec(TWO).await?;
    let mut ids = Vec::new();
    for priority in [0, 5, -5, 5] {
        let request =
            pb::CreateRunRequest { spec_id: spec.clone(), priority, ..Default::default() };
        let run = stack.runs().create_run(owner(request)).await?.into_inner().run;
        ids.push(run.context("run")?.id);
    }
    let mut order = Vec::new();
    for _ in &ids {
        order.push(stack.next().await?.run_id);
    }
    assert_eq!(order, [ids[1].clone(), ids[3].clone(), ids[0].clone(), ids[2].clone()]);
    stack.end().await
}

async fn a_task_that_was_lost_on_its_way_is_leased_again_at_once(fresh: Fresh) -> Result<()> {
    let (stack, _folder) = stack(&fresh).await?;
    stack.run(TWO, &[]).await?;
    let poll = |recovering, held| work::PollTaskRequest {
        runner_id: "r".into(),
        wait_ms: 300,
        recovering,
        held,
        ..Default::default()
    };
    let limit = Duration::from_secs(10);
    let answer = stack.work().poll_task(machine_call(limit, poll(false, Vec::new()))).await;
    let first = answer?.into_inner().tasks.remove(0);
    let lease = work::Lease { task_id: first.task_id.clone(), lease_epoch: first.lease_epoch };
    let kept = stack.work().poll_task(machine_call(limit, poll(true, vec![lease]))).await;
    assert!(kept?.into_inner().tasks.is_empty(), "what it has stays its own");
    let again = stack.work().poll_task(machine_call(limit, poll(true, Vec::new()))).await;
    let again = again?.into_inner().tasks.remove(0);
    assert_eq!((again.task_id, again.lease_epoch), (first.task_id, first.lease_epoch + 1));
    stack.end().await
}
