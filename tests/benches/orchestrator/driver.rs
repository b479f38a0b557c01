//! A client and a runner in one: it makes runs, and carries out their tasks by saying so.

use anyhow::{Context, Result, ensure};
use meta_proto::orchestrator as pb;
use meta_proto::runner as work;
use meta_proto::runner::complete_task_request::Result as Answer;
use meta_proto::runner::task::Work;
use meta_runtime::auth::machine_call;
use meta_telemetry::trace::{KeyValue, Kind, Span};
use meta_tests::stack::{Stack, Without, owner};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Tasks in hand at once.
const CAPACITY: usize = 64;

/// Who waits for a run, or that it has ended already.
type Ends = Arc<Mutex<HashMap<String, Option<oneshot::Sender<()>>>>>;

/// The step that fails twice.
const FLAKY: &str = "flaky";
/// What it prints then.
const REFUSED: &str =
    "curl: (7) Failed to connect to registry.example port 443: Connection refused\n";

/// The product with a client and a runner that does nothing.
#[derive(Clone)]
pub struct Driver {
    stack: Arc<Stack>,
    ends: Ends,
    steps: Arc<AtomicU64>,
    runner: Arc<JoinHandle<()>>,
    folder: Arc<tempfile::TempDir>,
}

impl Driver {
    /// Everything on a fresh folder and this database.
    pub async fn start(database: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(std::env::current_dir()?.join("../target"))?;
        let config = orchestrator::Config {
            data_dir: folder.path().to_owned(),
            database: database.into(),
            own_leases: true,
            limits: orchestrator::config::Limits::NONE,
            ..Default::default()
        };
        let vars = [("META_V3_BACKOFF_CAP_SECONDS", "60")];
        let stack = Arc::new(Stack::with(config, &vars, Without::default()).await?);
        let (ends, steps) = (Ends::default(), Arc::new(AtomicU64::new(0)));
        let runner = tokio::spawn(serve(Arc::clone(&stack), Arc::clone(&ends), Arc::clone(&steps)));
        Ok(Self { stack, ends, steps, runner: Arc::new(runner), folder: Arc::new(folder) })
    }

    /// A spec of steps in sequence.
    pub async fn spec(&self, steps: usize) -> Result<String> {
        let step = |n: usize| {
            let last = if n + 1 == steps { "-last" } else { "" };
            let needs = if n == 0 { String::new() } else { format!("needs = ['s{}']\n", n - 1) };
            format!("[[step]]\nname = 's{n}{last}'\nrun = 'true'\n{needs}")
        };
        self.stack.spec(&(0..steps).map(step).collect::<String>()).await
    }

    /// Makes a run and waits for its end.
    pub async fn run(&self, spec: &str) -> Result<String> {
        let request = pb::CreateRunRequest { spec_id: spec.to_owned(), ..Default::default() };
        let run = self.stack.runs().create_run(owner(request)).await?.into_inner().run;
        let id = run.context("run")?.id;
        let (sender, ended) = oneshot::channel();
        let early = locked(&self.ends).insert(id.clone(), Some(sender));
        if early.is_none() {
            tokio::time::timeout(LIMIT, ended).await.context("the run does not end")??;
        }
        locked(&self.ends).remove(&id);
        Ok(id)
    }

    /// A run of one step that fails twice and passes then: how long it took beyond its waits.
    pub async fn failing(&self) -> Result<Duration> {
        let spec = self.stack.spec(&format!("[[step]]\nname = '{FLAKY}'\nrun = 'false'\n")).await?;
        let began = Instant::now();
        let id = self.run(&spec).await?;
        let took = began.elapsed();
        let run = self.stack.get(&id).await?;
        let attempts: Vec<u64> = run.attempts.iter().map(|a| a.backoff_ms).collect();
        ensure!(attempts.len() == 2, "two retries, not {attempts:?}");
        Ok(took.saturating_sub(Duration::from_millis(attempts.iter().sum())))
    }

    /// Steps that were completed.
    pub fn steps_completed(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Ends everything.
    pub fn end(self) {
        self.runner.abort();
        drop(self.folder);
    }
}

fn locked(ends: &Ends) -> std::sync::MutexGuard<'_, HashMap<String, Option<oneshot::Sender<()>>>> {
    ends.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls, and reports each task as done.
async fn serve(stack: Arc<Stack>, ends: Ends, steps: Arc<AtomicU64>) {
    let room = Arc::new(Semaphore::new(CAPACITY));
    loop {
        let Ok(one) = Arc::clone(&room).acquire_owned().await else { return };
        let mut permits = vec![one];
        while let Ok(more) = Arc::clone(&room).try_acquire_owned() {
            permits.push(more);
        }
        let request = work::PollTaskRequest {
            runner_id: "bench".into(),
            wait_ms: 20_000,
            run_id: String::new(),
            sandbox: "none".into(),
            max_tasks: u32::try_from(permits.len()).unwrap_or(1),
            ..Default::default()
        };
        let answer = match stack.work().poll_task(machine_call(LIMIT, request)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => panic!("cannot poll: {status}"),
        };
        for task in answer.tasks {
            // as a runner does
            let span = match task.traceparent.parse() {
                Ok(place) => Span::under(place, Kind::Consumer, "execute", || {
                    vec![
                        KeyValue::new("cicd.pipeline.run.id", task.run_id.clone()),
                        KeyValue::new("metabuilder.task.id", task.task_id.clone()),
                    ]
                }),
                Err(_) => Span::none(),
            };
            drop(span);
            let permit = permits.pop();
            let (stack, ends, steps) = (Arc::clone(&stack), Arc::clone(&ends), Arc::clone(&steps));
            tokio::spawn(async move {
                drop(permit);
                if let Err(error) = carry_out(&stack, &ends, &steps, task).await {
                    panic!("cannot complete: {error:#}");
                }
            });
        }
    }
}

async fn carry_out(stack: &Stack, ends: &Ends, steps: &AtomicU64, task: work::Task) -> Result<()> {
    match &task.work {
        Some(Work::Prepare(_)) => {
            let result = work::PrepareResult { commit: "base".into(), ..Default::default() };
            stack.complete(&task, Answer::Prepare(result)).await
        }
        Some(Work::Step(step)) => {
            let name = step.step.as_ref().map(|s| s.name.clone()).unwrap_or_default();
            if name == FLAKY && step.attempt < 3 {
                return stack.end_step(&task, 7, REFUSED).await;
            }
            let exit = meta_proto::common::ExitInfo { code: Some(0), ..Default::default() };
            let execution = work::Execution { exit: Some(exit), ..Default::default() };
            let result = work::StepResult { execution: Some(execution), ..Default::default() };
            stack.complete(&task, Answer::Step(result)).await?;
            steps.fetch_add(1, Ordering::Relaxed);
            if name == FLAKY || name.ends_with("-last") {
                let waiting = locked(ends).insert(task.run_id.clone(), None);
                if let Some(Some(sender)) = waiting {
                    // A client that gave up waits no more.
                    let _ = sender.send(());
                }
            }
            Ok(())
        }
        other => anyhow::bail!("nothing else is asked for: {other:?}"),
    }
}
