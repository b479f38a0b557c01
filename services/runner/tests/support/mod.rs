//! An orchestrator's side of the work protocol, and a runner that pulls from it.

#![expect(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use meta_domain::plan::{ApprovalMode, Command, PlannedStep};
use meta_domain::source::Source;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::task::Work;
use meta_proto::runner::work_service_server::{WorkService, WorkServiceServer};
use meta_proto::runner::*;
use meta_runtime::auth::{Auth, Mode};
use meta_runtime::{Host, Service, Wiring};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub const TENANT: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f";
pub const KEY: &str = "a source";
/// Workspaces that nothing touched for longer are not needed, in milliseconds.
pub const OLD_MS: u64 = 3_600_000;

/// What the orchestrator's side remembers.
#[derive(Default)]
pub struct Queue {
    tasks: Mutex<VecDeque<Task>>,
    results: Mutex<HashMap<String, Outcome>>,
    logs: Mutex<HashMap<String, Vec<LogChunk>>>,
    stops: Mutex<Vec<String>>,
    /// Every call fails while this is set.
    pub away: Mutex<bool>,
    /// Results (but no errors) are refused that way, once for each code.
    pub refusals: Mutex<VecDeque<tonic::Code>>,
    /// Results are refused, as if the lease was somebody else's.
    pub lost: Mutex<bool>,
    changed: Notify,
}

impl Queue {
    fn check(&self) -> Result<(), Status> {
        if *self.away.lock().unwrap() { Err(Status::unavailable("away")) } else { Ok(()) }
    }
}

#[tonic::async_trait]
impl WorkService for Queue {
    async fn poll_task(
        &self,
        request: Request<PollTaskRequest>,
    ) -> Result<Response<PollTaskResponse>, Status> {
        let wait = Duration::from_millis(request.get_ref().wait_ms);
        let found = tokio::time::timeout(wait, async {
            loop {
                let changed = self.changed.notified();
                self.check()?;
                if let Some(task) = self.tasks.lock().unwrap().pop_front() {
                    return Ok::<_, Status>(task);
                }
                changed.await;
            }
        });
        let tasks = found.await.ok().transpose()?.into_iter().collect();
        Ok(Response::new(PollTaskResponse { tasks }))
    }

    async fn heartbeat(
        &self,
        _request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        self.check()?;
        let stop_task_ids = self.stops.lock().unwrap().clone();
        Ok(Response::new(HeartbeatResponse { stop_task_ids, stop: Vec::new() }))
    }

    async fn sweep_runs(
        &self,
        request: Request<SweepRunsRequest>,
    ) -> Result<Response<SweepRunsResponse>, Status> {
        self.check()?;
        let old = request.into_inner().workspaces.into_iter().filter(|w| w.idle_ms > OLD_MS);
        Ok(Response::new(SweepRunsResponse { run_ids: old.map(|w| w.run_id).collect() }))
    }

    async fn append_log(
        &self,
        request: Request<Streaming<AppendLogRequest>>,
    ) -> Result<Response<AppendLogResponse>, Status> {
        self.check()?;
        let mut stream = request.into_inner();
        while let Some(message) = stream.next().await {
            let message = message?;
            let mut logs = self.logs.lock().unwrap();
            logs.entry(message.task_id).or_default().extend(message.chunks);
        }
        Ok(Response::new(AppendLogResponse { bytes: 0 }))
    }

    async fn complete_task(
        &self,
        request: Request<CompleteTaskRequest>,
    ) -> Result<Response<CompleteTaskResponse>, Status> {
        self.check()?;
        if *self.lost.lock().unwrap() {
            return Err(Status::failed_precondition("the lease is lost"));
        }
        let request = request.into_inner();
        let result = request.result.expect("a result");
        if !matches!(result, Outcome::Error(_))
            && let Some(code) = self.refusals.lock().unwrap().pop_front()
        {
            return Err(Status::new(code, "not that"));
        }
        self.results.lock().unwrap().insert(request.task_id, result);
        self.changed.notify_waiters();
        Ok(Response::new(CompleteTaskResponse {}))
    }
}

/// A runner at work, with its data and home folders.
pub struct Rig {
    pub queue: Arc<Queue>,
    pub mounts: Mounts,
    pub data: tempfile::TempDir,
    pub home: tempfile::TempDir,
    pub run_id: String,
    pub status: meta_runtime::Transport,
    pub stop: CancellationToken,
    pub ended: tokio::task::JoinHandle<()>,
    pub lease_ms: u64,
}

/// What is mounted in a data folder would outlive it.
pub struct Mounts(PathBuf);

impl Mounts {
    /// Unmounts it, as a machine that was started again would find it.
    pub fn let_go(&self) -> usize {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let own: Vec<&str> = places.filter(|place| Path::new(place).starts_with(&self.0)).collect();
        for place in &own {
            let _gone = std::process::Command::new("umount").args(["-l", place]).status();
        }
        own.len()
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(|_| {}, &[]).await
    }

    /// A runner with another configuration and more variables.
    pub async fn with(change: impl FnOnce(&mut runner::Config), vars: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut config = runner::Config {
            data_dir: data.path().to_owned(),
            capacity: 2,
            profile: runner::Profile::Local,
            path_sources: runner::PathSources::Any(true),
            ..runner::Config::default()
        };
        change(&mut config);
        let mut env: BTreeMap<String, String> = std::env::vars()
            .filter(|(name, _)| ["PATH", "RUSTUP_HOME", "CARGO_HOME"].contains(&name.as_str()))
            .collect();
        env.insert("HOME".to_owned(), home.path().to_string_lossy().into_owned());
        env.extend(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let queue = Arc::new(Queue::default());
        let auth = Auth::new(Mode::None, "", None);
        let server = WorkServiceServer::from_arc(Arc::clone(&queue))
            .max_decoding_message_size(meta_domain::limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(meta_domain::limits::MESSAGE_BYTES_MAX);
        let routes = Wiring::default().serve(server).grpc_routes(auth);
        let peer = meta_runtime::transport::in_process(routes, "");
        let host = Host::new(env).with_peer("orchestrator", peer);
        let mut wiring = runner::Runner::wire(config, &host)
            .await
            .unwrap_or_else(|e| panic!("these tests need a working sandbox: {e}"));
        let status = wiring.in_process("token");
        let stop = CancellationToken::new();
        let drain = meta_runtime::serve::Drain {
            lame_duck: Duration::ZERO,
            grace: Duration::from_secs(10),
        };
        let token = stop.clone();
        let ended = tokio::spawn(async move {
            meta_runtime::serve::run(vec![], &mut wiring, token, drain).await.unwrap();
        });
        let run_id = meta_runtime::new_id().to_string();
        let mounts = Mounts(data.path().to_owned());
        Self { queue, mounts, data, home, run_id, status, stop, ended, lease_ms: 10_000 }
    }

    /// Hands a task out; answers its id.
    pub fn submit(&self, work: Work) -> String {
        let task_id = meta_runtime::new_id().to_string();
        self.submit_as(&task_id, work);
        task_id
    }

    /// Hands a task out (again) under that id.
    pub fn submit_as(&self, task_id: &str, work: Work) {
        self.queue.tasks.lock().unwrap().push_back(Task {
            task_id: task_id.to_owned(),
            lease_epoch: 1,
            lease_ms: self.lease_ms,
            tenant_id: TENANT.to_owned(),
            run_id: self.run_id.clone(),
            work: Some(work),
            traceparent: String::new(),
        });
        self.queue.changed.notify_waiters();
    }

    /// Waits for the result of a task.
    pub async fn result(&self, task_id: &str) -> Outcome {
        let wait = async {
            loop {
                if let Some(result) = self.queue.results.lock().unwrap().remove(task_id) {
                    return result;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.expect("a result in time")
    }

    pub fn has_result(&self, task_id: &str) -> bool {
        self.queue.results.lock().unwrap().contains_key(task_id)
    }

    pub fn stop_task(&self, task_id: &str) {
        self.queue.stops.lock().unwrap().push(task_id.to_owned());
    }

    pub fn away(&self, away: bool) {
        *self.queue.away.lock().unwrap() = away;
        self.queue.changed.notify_waiters();
    }

    pub fn log(&self, task_id: &str) -> String {
        String::from_utf8_lossy(&self.log_bytes(task_id)).into_owned()
    }

    pub fn log_bytes(&self, task_id: &str) -> Vec<u8> {
        let logs = self.queue.logs.lock().unwrap();
        logs.get(task_id).into_iter().flatten().flat_map(|c| c.text.clone()).collect()
    }

    pub fn chunks(&self, task_id: &str) -> Vec<LogChunk> {
        self.queue.logs.lock().unwrap().get(task_id).cloned().unwrap_or_default()
    }

    pub async fn prepare(&self, source: Source) -> PrepareResult {
        let id = self.submit(Work::Prepare(PrepareWork { source: Some(source.into()) }));
        match self.result(&id).await {
            Outcome::Prepare(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn prepare_files(&self, files: &[(&str, &str)]) -> PrepareResult {
        self.prepare(inline(files)).await
    }

    /// Runs a step to its end: its result and its log.
    pub async fn step(&self, step: &PlannedStep) -> (StepResult, String) {
        let id = self.submit(step_work(step));
        match self.result(&id).await {
            Outcome::Step(result) => (result, self.log(&id)),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell line as a step while the orchestrator knows that head.
    pub async fn step_from(&self, head: &str, line: &str) -> StepResult {
        let mut work = step_work(&shell(line));
        if let Work::Step(step) = &mut work {
            head.clone_into(&mut step.head);
        }
        let id = self.submit(work);
        match self.result(&id).await {
            Outcome::Step(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell line in the workspace: its exit code and its log.
    pub async fn sh(&self, line: &str) -> (Option<i32>, String) {
        let (result, log) = self.step(&shell(line)).await;
        (exit(&result).code, log)
    }

    pub fn ws(&self) -> PathBuf {
        self.data.path().join("runs").join(&self.run_id).join("ws")
    }
}

pub fn exit(result: &StepResult) -> meta_proto::common::ExitInfo {
    result.execution.as_ref().and_then(|e| e.exit).expect("an execution")
}

pub fn inline(files: &[(&str, &str)]) -> Source {
    let files = files.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Source::Inline { files }
}

pub fn path(folder: &Path) -> Source {
    Source::Path { path: folder.to_string_lossy().into_owned() }
}

pub fn shell(line: &str) -> PlannedStep {
    PlannedStep {
        name: "check".to_owned(),
        run: Command::Shell(line.to_owned()),
        needs: vec![],
        timeout_ms: 30_000,
        cache: vec![],
        fix: None,
        env: BTreeMap::new(),
        network: false,
        writable: vec![],
        approval: ApprovalMode::Never,
        why: "the test asks for it".to_owned(),
        clean_cache: false,
        runs_on: Vec::new(),
    }
}

pub fn step_work(step: &PlannedStep) -> Work {
    Work::Step(StepWork {
        step: Some(step.clone().into()),
        attempt: 1,
        restore: true,
        cache_key: KEY.to_owned(),
        mount: String::new(),
        head: String::new(),
    })
}
