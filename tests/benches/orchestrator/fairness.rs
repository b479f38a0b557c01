//! How much one tenant's flood of work delays another tenant's steps.

use anyhow::{Context, Result};
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_proto::runner as work;
use meta_proto::runner::complete_task_request::Result as Answer;
use meta_proto::runner::task::Work;
use meta_runtime::auth::machine_call;
use meta_runtime::call;
use meta_tests::stack::{Stack, Without, caller};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Tasks that the runner carries out at once.
const SLOTS: usize = 8;
/// How long each step takes.
const STEP: Duration = Duration::from_millis(50);
/// Steps of a run, in sequence.
const STEPS: usize = 5;
/// Runs that are timed, one after the other.
const TIMED: usize = 40;
/// Runs of the flood, all at once.
const FLOOD: usize = 400;
/// How long a call may take.
const LIMIT: Duration = Duration::from_mins(1);

/// Times one tenant's steps, alone and beside the flood.
pub async fn measure() -> Result<Value> {
    let folder = tempfile::tempdir_in(std::env::current_dir()?.join("../target"))?;
    let config = orchestrator::Config {
        data_dir: folder.path().to_owned(),
        own_leases: true,
        limits: orchestrator::config::Limits::NONE,
        ..Default::default()
    };
    let stack = Arc::new(Stack::with(config, &[], Without::default()).await?);
    let runner = tokio::spawn(serve(Arc::clone(&stack)));
    let (quiet, loud) = (tenant(&stack, 1).await?, tenant(&stack, 2).await?);
    let spec = spec(&stack, &quiet).await?;
    let alone = timed(&stack, &quiet, &spec).await?;
    let flood = self::spec(&stack, &loud).await?;
    for _ in 0..FLOOD {
        create(&stack, &loud, &flood).await?;
    }
    let beside = timed(&stack, &quiet, &spec).await?;
    runner.abort();
    Ok(json!({
        "slots": SLOTS, "step_ms": STEP.as_millis(), "flood_steps": FLOOD * STEPS,
        "step_alone_ms": figures(&alone), "step_beside_a_flood_ms": figures(&beside),
    }))
}

async fn tenant(stack: &Stack, number: u128) -> Result<Principal> {
    let who = caller(TenantId(Uuid::from_u128((0x7000_8000 << 64) | number)), Role::Owner);
    let admin = Principal { role: Role::PlatformAdmin, ..who.clone() };
    let request =
        pb::CreateTenantRequest { name: format!("tenant {number}"), id: who.tenant.to_string() };
    let mut tenants = TenantServiceClient::new(stack.orchestrator.clone());
    tenants.create_tenant(call(&admin, LIMIT, request)).await?;
    Ok(who)
}

async fn spec(stack: &Stack, who: &Principal) -> Result<String> {
    let step = |n: usize| {
        let needs = if n == 0 { String::new() } else { format!("needs = ['s{}']\n", n - 1) };
        format!("[[step]]\nname = 's{n}'\nrun = 'true'\n{needs}")
    };
    let project = meta_domain::project::parse(&(0..STEPS).map(step).collect::<String>())
        .map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let request = pb::CreateSpecRequest {
        title: "fair".into(),
        mode: pb::SpecMode::Freeform.into(),
        steps: project.steps.into_iter().map(Into::into).collect(),
        ..Default::default()
    };
    let made = stack.specs().create_spec(call(who, LIMIT, request)).await?.into_inner();
    let id = made.spec.context("spec")?.id;
    let request = pb::CreatePlanRequest { spec_id: id.clone() };
    stack.plans().create_plan(call(who, LIMIT, request)).await?;
    Ok(id)
}

async fn create(stack: &Stack, who: &Principal, spec: &str) -> Result<String> {
    let request = pb::CreateRunRequest { spec_id: spec.to_owned(), ..Default::default() };
    let made = stack.runs().create_run(call(who, LIMIT, request)).await?.into_inner();
    Ok(made.run.context("run")?.id)
}

/// The time of a step of each run, in milliseconds: a run's divided by its steps.
async fn timed(stack: &Stack, who: &Principal, spec: &str) -> Result<Vec<f64>> {
    let mut times = Vec::with_capacity(TIMED);
    for _ in 0..TIMED {
        let began = Instant::now();
        let run_id = create(stack, who, spec).await?;
        let follow = pb::StreamEventsRequest { run_id, after_seq: 0, follow: true };
        let follow = call(who, LIMIT, follow);
        let mut events = stack.runs().stream_events(follow).await?.into_inner();
        while events.message().await?.is_some() {}
        times.push(began.elapsed().as_secs_f64() * 1e3 / f64::from(u32::try_from(STEPS)?));
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(times)
}

fn figures(times: &[f64]) -> Value {
    let at =
        |percent: usize| super::round(times[(times.len() * percent / 100).min(times.len() - 1)]);
    json!({ "median": at(50), "p99": at(99) })
}

/// A runner whose steps do nothing for a while.
async fn serve(stack: Arc<Stack>) {
    let room = Arc::new(Semaphore::new(SLOTS));
    loop {
        let Ok(one) = Arc::clone(&room).acquire_owned().await else { return };
        let mut permits = vec![one];
        while let Ok(more) = Arc::clone(&room).try_acquire_owned() {
            permits.push(more);
        }
        let request = work::PollTaskRequest {
            runner_id: "bench".into(),
            wait_ms: 20_000,
            sandbox: "none".into(),
            max_tasks: u32::try_from(permits.len()).unwrap_or(1),
            ..Default::default()
        };
        let answer = match stack.work().poll_task(machine_call(LIMIT, request)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => panic!("cannot poll: {status}"),
        };
        for task in answer.tasks {
            let (stack, permit) = (Arc::clone(&stack), permits.pop());
            tokio::spawn(async move {
                let result = if matches!(task.work, Some(Work::Prepare(_))) {
                    let commit = "base".to_owned();
                    Answer::Prepare(work::PrepareResult { commit, ..Default::default() })
                } else {
                    tokio::time::sleep(STEP).await;
                    let exit = meta_proto::common::ExitInfo { code: Some(0), ..Default::default() };
                    let execution = work::Execution { exit: Some(exit), ..Default::default() };
                    let execution = Some(execution);
                    Answer::Step(work::StepResult { execution, ..Default::default() })
                };
                drop(permit);
                if let Err(error) = stack.complete(&task, result).await {
                    panic!("cannot complete: {error:#}");
                }
            });
        }
    }
}
