//! The orchestrator over its real store and queue, with the test as its runner: durability, order,
//! fencing, control, approvals, streams.

use anyhow::Result;
use meta_domain::role::Role;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::{RunStatus, StepStatus};
use meta_proto::runner as work;
use meta_proto::runner::complete_task_request::Result as Answer;
use meta_proto::runner::task::Work;
use meta_runtime::auth::machine_call;
use meta_runtime::call;
use meta_tests::stack::{Stack, Without, caller, owner};
use orchestrator::DEFAULT_TENANT;
use std::time::Duration;
use tonic::Code;

const DIAMOND: &str = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n\
    [[step]]\nname='c'\nrun='t'\nneeds=['a']\n[[step]]\nname='d'\nrun='t'\nneeds=['b','c']\n";
const ONE: &str = "[[step]]\nname='a'\nrun='./job'\n";
const REFUSED: &str = "curl: (7) Failed to connect to 127.0.0.1 port 1: Connection refused\n";
const SECRET: &str = "ERROR: leaks found: 1\nFinding: aws_secret_access_key in config/app.env\n";
const SHORT: Duration = Duration::from_millis(300);

async fn gated(stack: &Stack) -> Result<String> {
    let id = stack.run("[[step]]\nname='audit'\nrun='gitleaks detect'\n", &[]).await?;
    stack.step(1, SECRET).await?;
    stack.until_status(&id, RunStatus::PausedAwaitingApproval).await?;
    Ok(id)
}

#[tokio::test]
async fn branches_are_leased_beside_each_other_and_a_join_waits_for_both() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(DIAMOND, &[]).await?;
    assert_eq!(stack.step(0, "").await?, "a");
    let (first, one) = stack.next_step().await?;
    let (second, two) = stack.next_step().await?;
    assert_eq!((one.as_str(), two.as_str()), ("b", "c"));
    stack.end_step(&first, 0, "").await?;
    assert!(stack.poll(SHORT).await?.is_none(), "d waits for c");
    stack.end_step(&second, 0, "").await?;
    assert_eq!(stack.step(0, "").await?, "d");
    stack.until_status(&id, RunStatus::Succeeded).await?;
    Ok(())
}

#[tokio::test]
async fn the_event_log_is_dense_and_resumes_anywhere() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(DIAMOND, &[]).await?;
    for _ in 0..4 {
        stack.step(0, "").await?;
    }
    stack.until_status(&id, RunStatus::Succeeded).await?;
    let events = stack.events(&id).await?;
    let seqs: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>());
    let request = pb::StreamEventsRequest { run_id: id.clone(), after_seq: 5, follow: true };
    let mut rest = stack.runs().stream_events(owner(request)).await?.into_inner();
    let mut next = 6;
    while let Some(answer) = rest.message().await? {
        assert_eq!(answer.event.unwrap().seq, next);
        next += 1;
    }
    assert_eq!(next, events.len() as u64 + 1);
    Ok(())
}

#[tokio::test]
async fn a_result_with_an_old_lease_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let stack = Stack::on(dir.path(), &[], Without::default()).await?;
    let id = stack.run(ONE, &[]).await?;
    let (old, _) = stack.next_step().await?;
    stack.end().await?;
    let stack = Stack::on(dir.path(), &[], Without::default()).await?;
    let (new, _) = stack.next_step().await?;
    assert_eq!(old.task_id, new.task_id);
    assert!(new.lease_epoch > old.lease_epoch);
    let late = stack.end_step(&old, 0, "").await.unwrap_err();
    let status = late.downcast_ref::<tonic::Status>().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    stack.end_step(&new, 0, "").await?;
    let run = stack.until_status(&id, RunStatus::Succeeded).await?;
    assert_eq!(run.steps[0].executions, 2);
    let passed = stack.events(&id).await?;
    assert_eq!(passed.iter().filter(|e| e.r#type == "step.succeeded").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_result_is_recorded_once() -> Result<()> {
    let stack = Stack::start().await?;
    stack.run(DIAMOND, &[]).await?;
    let (task, _) = stack.next_step().await?;
    stack.end_step(&task, 0, "").await?;
    let again = stack.end_step(&task, 1, "").await.unwrap_err();
    let status = again.downcast_ref::<tonic::Status>().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    Ok(())
}

#[tokio::test]
async fn a_heartbeat_keeps_a_lease_and_cancel_stops_the_task() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    let (task, _) = stack.next_step().await?;
    let beat = || {
        let lease = work::Lease { task_id: task.task_id.clone(), lease_epoch: task.lease_epoch };
        let request =
            work::HeartbeatRequest { runner_id: "test-runner".into(), leases: vec![lease] };
        machine_call(Duration::from_secs(5), request)
    };
    let answer = stack.work().heartbeat(beat()).await?.into_inner();
    assert!(answer.stop_task_ids.is_empty());
    stack.runs().cancel_run(owner(pb::CancelRunRequest { run_id: id.clone() })).await?;
    let answer = stack.work().heartbeat(beat()).await?.into_inner();
    assert_eq!(answer.stop_task_ids, std::slice::from_ref(&task.task_id));
    assert!(stack.end_step(&task, 0, "").await.is_err(), "a canceled step has no result");
    let run = stack.get(&id).await?;
    assert_eq!((run.status(), run.steps[0].status()), (RunStatus::Canceled, StepStatus::Canceled));
    Ok(())
}

#[tokio::test]
async fn everything_survives_a_restart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let stack = Stack::on(dir.path(), &[], Without::default()).await?;
    let id = stack.run(DIAMOND, &["x"]).await?;
    stack.step(0, "hello\n").await?;
    let before = stack.get(&id).await?;
    stack.end().await?;
    let stack = Stack::on(dir.path(), &[], Without::default()).await?;
    assert_eq!(stack.get(&id).await?, before);
    for _ in 0..3 {
        stack.step(0, "").await?;
    }
    stack.until_status(&id, RunStatus::Succeeded).await?;
    let request = pb::StreamLogsRequest { run_id: id, step: "a".into(), follow: false };
    let mut logs = stack.runs().stream_logs(owner(request)).await?.into_inner();
    assert_eq!(logs.message().await?.unwrap().text, b"hello\n");
    Ok(())
}

#[tokio::test]
async fn the_same_request_id_starts_one_run() -> Result<()> {
    let stack = Stack::start().await?;
    let spec = stack.spec(ONE).await?;
    let request = || {
        owner(pb::CreateRunRequest {
            spec_id: spec.clone(),
            request_id: "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f".into(),
            ..Default::default()
        })
    };
    let (mut one, mut two) = (stack.runs(), stack.runs());
    let (first, second) = tokio::join!(one.create_run(request()), two.create_run(request()));
    let id = |answer: tonic::Response<pb::CreateRunResponse>| answer.into_inner().run.unwrap().id;
    assert_eq!(id(first?), id(second?));
    let list = stack.runs().list_runs(owner(pb::ListRunsRequest::default())).await?;
    assert_eq!(list.into_inner().total, 1);
    Ok(())
}

#[tokio::test]
async fn a_gate_is_decided_once_by_whoever_is_first() -> Result<()> {
    let stack = Stack::start().await?;
    let id = gated(&stack).await?;
    let (yes, no) = tokio::join!(stack.decide(&id, true), stack.decide(&id, false));
    assert_ne!(yes.is_ok(), no.is_ok(), "exactly one wins");
    let gate = stack.get(&id).await?.gates[0].clone();
    let request = pb::DecideGateRequest { gate_id: gate.id, approve: true, ..Default::default() };
    let late = stack.approvals().decide_gate(owner(request)).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted);
    assert_eq!(meta_proto::status::from_status(&late).reason, "GATE_ALREADY_DECIDED");
    assert_eq!(stack.get(&id).await?.gates.len(), 1);
    Ok(())
}

#[tokio::test]
async fn rejecting_a_gate_fails_the_run_and_retry_goes_on_from_there() -> Result<()> {
    let stack = Stack::start().await?;
    let id = gated(&stack).await?;
    stack.decide(&id, false).await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    assert!(run.reason.contains("rejected by user:test"), "{}", run.reason);
    stack.runs().retry_run(owner(pb::RetryRunRequest { run_id: id.clone() })).await?;
    stack.step(0, "").await?;
    stack.until_status(&id, RunStatus::Succeeded).await?;
    let again = stack.runs().retry_run(owner(pb::RetryRunRequest { run_id: id })).await;
    assert_eq!(again.unwrap_err().code(), Code::FailedPrecondition);
    Ok(())
}

#[tokio::test]
async fn another_tenants_objects_are_not_found() -> Result<()> {
    let stack = Stack::start().await?;
    let id = gated(&stack).await?;
    let stranger = caller(meta_runtime::new_id().into(), Role::Owner);
    let ask = |id: &str| {
        call(&stranger, Duration::from_secs(5), pb::GetRunRequest { run_id: id.to_owned() })
    };
    let foreign = stack.runs().get_run(ask(&id)).await.unwrap_err();
    let unknown =
        stack.runs().get_run(ask("0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f")).await.unwrap_err();
    assert_eq!((foreign.code(), unknown.code()), (Code::NotFound, Code::NotFound));
    let gates = call(&stranger, Duration::from_secs(5), pb::ListGatesRequest::default());
    assert!(stack.approvals().list_gates(gates).await?.into_inner().gates.is_empty());
    let gate = stack.get(&id).await?.gates[0].id.clone();
    let request = pb::DecideGateRequest { gate_id: gate, approve: true, ..Default::default() };
    let request = call(&stranger, Duration::from_secs(5), request);
    let denied = stack.approvals().decide_gate(request).await.unwrap_err();
    assert_eq!(denied.code(), Code::NotFound);
    let list = call(&stranger, Duration::from_secs(5), pb::ListRunsRequest::default());
    assert_eq!(stack.runs().list_runs(list).await?.into_inner().total, 0);
    Ok(())
}

#[tokio::test]
async fn a_viewer_may_look_but_neither_run_nor_approve() -> Result<()> {
    let stack = Stack::start().await?;
    let id = gated(&stack).await?;
    let viewer = caller(DEFAULT_TENANT, Role::Viewer);
    let limit = Duration::from_secs(5);
    let look = call(&viewer, limit, pb::GetRunRequest { run_id: id.clone() });
    stack.runs().get_run(look).await?;
    let request = pb::DecideGateRequest { run_id: id.clone(), approve: true, ..Default::default() };
    let approve = stack.approvals().decide_gate(call(&viewer, limit, request)).await;
    assert_eq!(approve.unwrap_err().code(), Code::PermissionDenied);
    let cancel = call(&viewer, limit, pb::CancelRunRequest { run_id: id });
    assert_eq!(stack.runs().cancel_run(cancel).await.unwrap_err().code(), Code::PermissionDenied);
    Ok(())
}

#[tokio::test]
async fn a_commit_waits_until_no_other_step_uses_the_workspace() -> Result<()> {
    let stack = Stack::start().await?;
    let steps = "[[step]]\nname='lint'\nrun='ruff check src'\n[[step]]\nname='slow'\nrun='t'\n";
    let id = stack.run(steps, &["src/a.py"]).await?;
    let (lint, name) = stack.next_step().await?;
    assert_eq!(name, "lint");
    let (slow, _) = stack.next_step().await?;
    stack.end_step(&lint, 1, "src/a.py:1:8: F401 [*] `os` imported but unused\n").await?;
    let task = stack.next().await?;
    assert!(matches!(task.work, Some(Work::Propose(_))));
    let patch = "diff --git a/src/a.py b/src/a.py\nindex 1111111..2222222 100644\n--- a/src/a.py\n\
                 +++ b/src/a.py\n@@ -1,2 +1 @@\n-import os\n print(1)\n";
    let result = work::ProposeResult { patch: patch.into(), ..Default::default() };
    stack.complete(&task, Answer::Propose(result)).await?;
    let task = stack.next().await?;
    let result = work::VerifyResult { passed: true, ..Default::default() };
    stack.complete(&task, Answer::Verify(result)).await?;
    assert!(stack.poll(SHORT).await?.is_none(), "the commit waits for the slow step");
    stack.end_step(&slow, 0, "").await?;
    let task = stack.next().await?;
    assert!(matches!(task.work, Some(Work::Commit(_))));
    let result = work::CommitResult { commit: "c".into(), ..Default::default() };
    stack.complete(&task, Answer::Commit(result)).await?;
    // The slow step passed on the tree before the patch, and was not seen with it.
    let mut again = [stack.step(0, "").await?, stack.step(0, "").await?];
    again.sort();
    assert_eq!(again, ["lint", "slow"]);
    stack.until_status(&id, RunStatus::Succeeded).await?;
    Ok(())
}

#[tokio::test]
async fn a_backoff_is_a_durable_timer() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let vars = [("META_V3_BACKOFF_CAP_SECONDS", "10")];
    let stack = Stack::on(dir.path(), &vars, Without::default()).await?;
    let id = stack.run(ONE, &[]).await?;
    stack.step(7, REFUSED).await?;
    let run = stack.until(&id, |r| !r.attempts.is_empty()).await?;
    assert!(
        (1_000..=1_100).contains(&run.attempts[0].backoff_ms),
        "{}",
        run.attempts[0].backoff_ms
    );
    assert!(run.steps[0].due_at.is_some());
    stack.end().await?;
    let stack = Stack::on(dir.path(), &vars, Without::default()).await?;
    let due = meta_proto::convert::instant(&run.steps[0].due_at.unwrap());
    stack.step(0, "").await?;
    assert!(meta_runtime::now() >= due, "not before its time");
    stack.until_status(&id, RunStatus::Succeeded).await?;
    Ok(())
}

#[tokio::test]
async fn lists_are_filtered_and_paged() -> Result<()> {
    let stack = Stack::start().await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = stack.run(ONE, &[]).await?;
        stack.step(0, "").await?;
        stack.until_status(&id, RunStatus::Succeeded).await?;
        ids.push(id);
    }
    let paused = gated(&stack).await?;
    let list = async |request: pb::ListRunsRequest| -> Result<pb::ListRunsResponse> {
        Ok(stack.runs().list_runs(owner(request)).await?.into_inner())
    };
    let first = list(pb::ListRunsRequest { page_size: 2, ..Default::default() }).await?;
    assert_eq!((first.total, first.runs.len()), (4, 2));
    assert_eq!(first.runs[0].id, paused, "newest first");
    let request = pb::ListRunsRequest { page_token: first.next_page_token, ..Default::default() };
    let second = list(request).await?;
    assert_eq!(second.runs.len(), 2);
    assert!(second.next_page_token.is_empty());
    let status = RunStatus::PausedAwaitingApproval.into();
    let only = list(pb::ListRunsRequest { status, ..Default::default() }).await?;
    assert_eq!((only.total, only.runs[0].id.as_str()), (1, paused.as_str()));
    let failure_type = meta_proto::common::FailureType::Security.into();
    let only = list(pb::ListRunsRequest { failure_type, ..Default::default() }).await?;
    assert_eq!(only.total, 1);
    let gates = stack.approvals().list_gates(owner(pb::ListGatesRequest::default())).await?;
    assert_eq!(gates.into_inner().gates.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_run_without_a_plan_and_a_plan_without_a_source_are_refused_clearly() -> Result<()> {
    let stack = Stack::start().await?;
    let request = pb::CreateSpecRequest {
        title: "empty".into(),
        mode: pb::SpecMode::Guided.into(),
        ..Default::default()
    };
    let spec = stack.specs().create_spec(owner(request)).await?.into_inner().spec.unwrap();
    let run = pb::CreateRunRequest { spec_id: spec.id.clone(), ..Default::default() };
    let early = stack.runs().create_run(owner(run)).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    let plan = pb::CreatePlanRequest { spec_id: spec.id };
    let nothing = stack.plans().create_plan(owner(plan)).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    assert!(nothing.message().contains("metabuilder.toml"), "{}", nothing.message());
    Ok(())
}

#[tokio::test]
async fn secrets_of_steps_reach_the_runner_and_nobody_else() -> Result<()> {
    let stack = Stack::start().await?;
    let steps = "[[step]]\nname='a'\nrun='t'\nenv={ NPM_TOKEN = 'hush', CI = 'yes' }\n";
    let id = stack.run(steps, &[]).await?;
    let (task, _) = stack.next_step().await?;
    let Some(Work::Step(step)) = &task.work else { unreachable!() };
    assert_eq!(step.step.as_ref().unwrap().env["NPM_TOKEN"], "hush");
    let run = format!("{:?}", stack.get(&id).await?);
    let events = format!("{:?}", stack.events(&id).await?);
    for shown in [run, events] {
        assert!(!shown.contains("hush") && shown.contains("NPM_TOKEN"), "{shown}");
    }
    Ok(())
}

#[tokio::test]
async fn a_canceled_step_holds_the_workspace_until_its_runner_ended_it() -> Result<()> {
    let stack = Stack::start().await?;
    let id = stack.run(ONE, &[]).await?;
    let (old, _) = stack.next_step().await?;
    stack.runs().cancel_run(owner(pb::CancelRunRequest { run_id: id.clone() })).await?;
    stack.runs().retry_run(owner(pb::RetryRunRequest { run_id: id.clone() })).await?;
    assert!(stack.poll(SHORT).await?.is_none(), "the old process may still be there");
    let stopped = work::TaskError { message: "stopped".into(), retryable: false };
    assert!(stack.complete(&old, Answer::Error(stopped)).await.is_err());
    stack.step(0, "").await?;
    stack.until_status(&id, RunStatus::Succeeded).await?;
    Ok(())
}

#[tokio::test]
async fn parallel_failures_do_not_overdraw_the_budget_of_the_run() -> Result<()> {
    let stack = Stack::start().await?;
    let one = meta_proto::common::Overrides { max_total_attempts: Some(1), ..Default::default() };
    stack.set(one).await?;
    let steps = "[[step]]\nname='a'\nrun='./a'\n[[step]]\nname='b'\nrun='./b'\n";
    let id = stack.run(steps, &[]).await?;
    let (a, _) = stack.next_step().await?;
    let (b, _) = stack.next_step().await?;
    let (one, two) = tokio::join!(stack.end_step(&a, 7, REFUSED), stack.end_step(&b, 7, REFUSED));
    one.and(two)?;
    stack.step(0, "").await?;
    let run = stack.until_status(&id, RunStatus::Failed).await?;
    let retried = meta_proto::common::Outcome::Retried;
    assert_eq!(run.attempts.iter().filter(|a| a.outcome() == retried).count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_plan_is_made_from_what_a_runner_reads() -> Result<()> {
    let stack = Stack::start().await?;
    let source = meta_domain::source::Source::Path { path: "/some/where".into() };
    let request = pb::CreateSpecRequest {
        title: "detected".into(),
        mode: pb::SpecMode::Guided.into(),
        source: Some(source.into()),
        ..Default::default()
    };
    let spec = stack.specs().create_spec(owner(request)).await?.into_inner().spec.unwrap();
    let mut plans = stack.plans();
    let plan = plans.create_plan(owner(pb::CreatePlanRequest { spec_id: spec.id }));
    let read = async {
        let task = stack.next().await?;
        assert!(matches!(task.work, Some(Work::Inspect(_))), "{task:?}");
        let listing = meta_domain::source::SourceListing {
            files: vec!["Cargo.toml".into(), "src/lib.rs".into()],
            manifests: [("Cargo.toml".to_owned(), "[package]\nname='a'\n".to_owned())].into(),
        };
        let result = work::InspectResult { listing: Some(listing.into()) };
        stack.complete(&task, Answer::Inspect(result)).await
    };
    let (plan, read) = tokio::join!(plan, read);
    read?;
    let graph = plan?.into_inner().plan.unwrap().graph.unwrap();
    let names: Vec<_> = graph.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["fmt", "clippy", "test"]);
    Ok(())
}
