//! The services in this process over in-process channels, with the test as their runner: it polls
//! the real queue over the real protocol and reports what it likes, so that every answer of the
//! orchestrator and of the three services behind it can be seen.

use anyhow::{Context, Result, bail};
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role};
use meta_proto::orchestrator as pb;
use meta_proto::runner as work;
use meta_proto::runner::complete_task_request::Result as Answer;
use meta_proto::runner::task::Work;
use meta_runtime::auth::machine_call;
use meta_runtime::{Host, Service, Transport, Wiring, call};
use orchestrator::DEFAULT_TENANT;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Specs = pb::spec_service_client::SpecServiceClient<Transport>;
type Plans = pb::plan_service_client::PlanServiceClient<Transport>;
type Runs = pb::run_service_client::RunServiceClient<Transport>;
type Approvals = pb::approval_service_client::ApprovalServiceClient<Transport>;
type Queue = work::work_service_client::WorkServiceClient<Transport>;

/// How long any wait of a test may take.
const LIMIT: Duration = Duration::from_secs(20);
const TOKEN: &str = "stack-test-token";

/// The services, and clients of them.
pub struct Stack {
    /// The orchestrator's data folder.
    pub data: PathBuf,
    /// The channel to the orchestrator.
    pub orchestrator: Transport,
    /// The channel to the flag-resolver.
    pub flags: Transport,
    stop: CancellationToken,
    served: JoinHandle<()>,
    dir: Option<TempDir>,
    /// Kept for their channels; a lock makes a stack one that threads may share.
    others: Mutex<Vec<Wiring>>,
}

/// Which of the three services a stack goes without.
#[derive(Debug, Clone, Copy, Default)]
pub struct Without {
    /// The flag-resolver cannot be reached.
    pub flags: bool,
    /// The classifier cannot be reached.
    pub classifier: bool,
}

impl Stack {
    /// Everything on a fresh folder, with no wait before retries.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[], Without::default()).await
    }

    /// The same with environment variables of the flag-resolver, or without some services.
    pub async fn start_with(vars: &[(&str, &str)], without: Without) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut stack = Self::on(dir.path(), vars, without).await?;
        stack.dir = Some(dir);
        Ok(stack)
    }

    /// The same on an existing folder, as after a restart of the process.
    pub async fn on(data: &Path, vars: &[(&str, &str)], without: Without) -> Result<Self> {
        let config = orchestrator::Config {
            data_dir: data.to_owned(),
            own_leases: true,
            limits: orchestrator::config::Limits::NONE,
            ..Default::default()
        };
        Self::with(config, vars, without).await
    }

    /// The same with any configuration of the orchestrator.
    pub async fn with(
        config: orchestrator::Config,
        vars: &[(&str, &str)],
        without: Without,
    ) -> Result<Self> {
        let data = config.data_dir.clone();
        let mut all = BTreeMap::from([("META_V3_BACKOFF_CAP_SECONDS".to_owned(), "0".to_owned())]);
        all.extend(vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let host = Host::new(all);
        let dead = meta_runtime::transport::remote("http://127.0.0.1:1", TOKEN)
            .map_err(anyhow::Error::msg)?;
        let classifier = classifier::Classifier::wire(classifier::Config::default(), &host).await?;
        let fixing = autofixer::Config { data_dir: data.clone(), ..Default::default() };
        let autofixer = autofixer::Autofixer::wire(fixing, &host).await?;
        let flagging = flag_resolver::Config { data_dir: data.clone(), ..Default::default() };
        let mut flags = flag_resolver::FlagResolver::wire(flagging, &host).await?;
        let or_dead = |gone: bool, wiring: &Wiring| {
            if gone { dead.clone() } else { wiring.in_process(TOKEN) }
        };
        let host = host
            .with_peer("classifier", or_dead(without.classifier, &classifier))
            .with_peer("autofixer", autofixer.in_process(TOKEN))
            .with_peer("flag-resolver", or_dead(without.flags, &flags));
        let wiring = orchestrator::Orchestrator::wire(config, &host).await?;
        let orchestrator = wiring.in_process(TOKEN);
        let flag_channel = flags.in_process(TOKEN);
        let mut wiring = wiring.merge_background(&mut flags);
        let stop = CancellationToken::new();
        let token = stop.clone();
        let served = tokio::spawn(async move {
            let drain = meta_runtime::serve::Drain {
                lame_duck: Duration::ZERO,
                grace: Duration::from_secs(5),
            };
            if let Err(error) =
                meta_runtime::serve::run(Vec::new(), &mut wiring, token, drain).await
            {
                panic!("the stack stopped: {error}");
            }
        });
        Ok(Self {
            data,
            orchestrator,
            flags: flag_channel,
            stop,
            served,
            dir: None,
            others: Mutex::new(vec![classifier, autofixer, flags]),
        })
    }

    /// Stops the background work, as a process that ends would.
    pub async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.served.await?;
        drop(self.others);
        drop(self.dir);
        Ok(())
    }

    /// Specs.
    pub fn specs(&self) -> Specs {
        Specs::new(self.orchestrator.clone())
    }

    /// Plans.
    pub fn plans(&self) -> Plans {
        Plans::new(self.orchestrator.clone())
    }

    /// Runs.
    pub fn runs(&self) -> Runs {
        Runs::new(self.orchestrator.clone())
    }

    /// Gates.
    pub fn approvals(&self) -> Approvals {
        Approvals::new(self.orchestrator.clone())
    }

    /// The queue.
    pub fn work(&self) -> Queue {
        Queue::new(self.orchestrator.clone())
    }

    /// A run of steps given as `metabuilder.toml` text, prepared with these files.
    pub async fn run(&self, steps: &str, files: &[&str]) -> Result<String> {
        let id = self.created(steps).await?;
        self.prepare(files).await?;
        Ok(id)
    }

    /// A run that waits for its workspace.
    pub async fn created(&self, steps: &str) -> Result<String> {
        let spec = self.spec(steps).await?;
        let request = pb::CreateRunRequest { spec_id: spec, ..Default::default() };
        let run = self.runs().create_run(owner(request)).await?.into_inner().run;
        Ok(run.context("run")?.id)
    }

    /// A spec with explicit steps and its plan; answers the spec's id.
    pub async fn spec(&self, steps: &str) -> Result<String> {
        let project =
            meta_domain::project::parse(steps).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
        let request = pb::CreateSpecRequest {
            title: "test".into(),
            mode: pb::SpecMode::Freeform.into(),
            steps: project.steps.into_iter().map(Into::into).collect(),
            ..Default::default()
        };
        let spec = self.specs().create_spec(owner(request)).await?.into_inner().spec;
        let id = spec.context("spec")?.id;
        let request = pb::CreatePlanRequest { spec_id: id.clone() };
        self.plans().create_plan(owner(request)).await?;
        Ok(id)
    }

    /// Makes the workspace that is asked for next.
    pub async fn prepare(&self, files: &[&str]) -> Result<()> {
        let task = self.next().await?;
        let Some(Work::Prepare(_)) = task.work else { bail!("not a prepare task: {task:?}") };
        let files = files.iter().map(|f| (*f).to_owned()).collect();
        let result = work::PrepareResult { commit: "base".into(), files, bot_commits: 0 };
        self.complete(&task, Answer::Prepare(result)).await
    }

    /// The next task of the queue, or an error when none comes.
    pub async fn next(&self) -> Result<work::Task> {
        self.poll(LIMIT).await?.context("no task came")
    }

    /// The next task of the queue, if one comes in time.
    pub async fn poll(&self, wait: Duration) -> Result<Option<work::Task>> {
        let request = work::PollTaskRequest {
            runner_id: "test-runner".into(),
            wait_ms: u64::try_from(wait.as_millis())?,
            run_id: String::new(),
            sandbox: "test".into(),
            max_tasks: 1,
            ..Default::default()
        };
        let request = machine_call(wait + LIMIT, request);
        Ok(self.work().poll_task(request).await?.into_inner().tasks.pop())
    }

    /// The next task, which has to execute a step; answers its name too.
    pub async fn next_step(&self) -> Result<(work::Task, String)> {
        let task = self.next().await?;
        let Some(Work::Step(step)) = &task.work else { bail!("not a step: {task:?}") };
        let name = step.step.as_ref().context("step")?.name.clone();
        Ok((task, name))
    }

    /// Reports a task's result.
    pub async fn complete(&self, task: &work::Task, result: Answer) -> Result<()> {
        let request = work::CompleteTaskRequest {
            task_id: task.task_id.clone(),
            lease_epoch: task.lease_epoch,
            runner_id: "test-runner".into(),
            result: Some(result),
        };
        self.work().complete_task(machine_call(LIMIT, request)).await?;
        Ok(())
    }

    /// Ends a step's execution with this exit code, after it printed `log`.
    pub async fn end_step(&self, task: &work::Task, code: i32, log: &str) -> Result<()> {
        let exit = meta_proto::common::ExitInfo { code: Some(code), ..Default::default() };
        self.end_step_as(task, exit, log).await
    }

    /// The same with any exit.
    pub async fn end_step_as(
        &self,
        task: &work::Task,
        exit: meta_proto::common::ExitInfo,
        log: &str,
    ) -> Result<()> {
        let chunk = work::LogChunk {
            at: None,
            stream: work::LogStream::Stdout.into(),
            text: log.as_bytes().to_vec(),
        };
        let part = work::AppendLogRequest {
            task_id: task.task_id.clone(),
            lease_epoch: task.lease_epoch,
            chunks: vec![chunk],
            offset: Some(0),
        };
        self.work().append_log(machine_call(LIMIT, tokio_stream::iter([part]))).await?;
        let execution = work::Execution {
            exit: Some(exit),
            duration_ms: 5,
            cut_bytes: 0,
            sandbox: "test".into(),
            tests: Vec::new(),
        };
        let result = work::StepResult { execution: Some(execution), ..Default::default() };
        self.complete(task, Answer::Step(result)).await
    }

    /// Executes the next step with this exit code and log; answers its name.
    pub async fn step(&self, code: i32, log: &str) -> Result<String> {
        let (task, name) = self.next_step().await?;
        self.end_step(&task, code, log).await?;
        Ok(name)
    }

    /// The run as it stands.
    pub async fn get(&self, id: &str) -> Result<pb::Run> {
        let request = pb::GetRunRequest { run_id: id.to_owned() };
        self.runs().get_run(owner(request)).await?.into_inner().run.context("run")
    }

    /// Waits until the run is as wanted.
    pub async fn until(&self, id: &str, wanted: impl Fn(&pb::Run) -> bool) -> Result<pb::Run> {
        let request = pb::StreamEventsRequest { run_id: id.to_owned(), after_seq: 0, follow: true };
        let mut events = self.runs().stream_events(owner(request)).await?.into_inner();
        let waited = tokio::time::timeout(LIMIT, async {
            loop {
                let run = self.get(id).await?;
                if wanted(&run) {
                    return Ok(run);
                }
                if events.message().await?.is_none() {
                    let run = self.get(id).await?;
                    if wanted(&run) {
                        return Ok(run);
                    }
                    bail!("the run ended otherwise: {run:#?}");
                }
            }
        });
        match waited.await {
            Ok(run) => run,
            Err(_) => bail!("the run did not come that far: {:#?}", self.get(id).await?),
        }
    }

    /// Waits until the run has this status.
    pub async fn until_status(&self, id: &str, status: pb::RunStatus) -> Result<pb::Run> {
        self.until(id, |run| run.status() == status).await
    }

    /// Every event of the run.
    pub async fn events(&self, id: &str) -> Result<Vec<pb::RunEvent>> {
        let request =
            pb::StreamEventsRequest { run_id: id.to_owned(), after_seq: 0, follow: false };
        let mut stream = self.runs().stream_events(owner(request)).await?.into_inner();
        let mut events = Vec::new();
        while let Some(answer) = stream.message().await? {
            events.push(answer.event.context("event")?);
        }
        Ok(events)
    }

    /// Decides the run's one pending gate.
    pub async fn decide(&self, run: &str, approve: bool) -> Result<pb::Gate, tonic::Status> {
        let request = pb::DecideGateRequest {
            gate_id: String::new(),
            run_id: run.to_owned(),
            approve,
            notes: "seen".into(),
            ..Default::default()
        };
        let answer = self.approvals().decide_gate(owner(request)).await?.into_inner();
        answer.gate.ok_or_else(|| tonic::Status::internal("no gate"))
    }

    /// Overrides the tenant's settings.
    pub async fn set(&self, overrides: meta_proto::common::Overrides) -> Result<()> {
        let request = meta_proto::flags::SetOverridesRequest {
            run_id: String::new(),
            overrides: Some(overrides),
            patch: true,
            options: None,
        };
        let mut client =
            meta_proto::flags::flags_service_client::FlagsServiceClient::new(self.flags.clone());
        client.set_overrides(owner(request)).await?;
        Ok(())
    }
}

/// A request of the default tenant's owner.
pub fn owner<T>(message: T) -> tonic::Request<T> {
    call(&caller(DEFAULT_TENANT, Role::Owner), LIMIT, message)
}

/// A caller of a tenant.
pub fn caller(tenant: TenantId, role: Role) -> Principal {
    Principal { tenant, role, actor: "user:test".into() }
}
