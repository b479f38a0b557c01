//! A tenant's client of the orchestrators: it asks one after the other until one answers.

use anyhow::{Context, Result, bail};
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role};
use meta_proto::common::PlannedStep;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::approval_service_client::ApprovalServiceClient;
use meta_proto::orchestrator::plan_service_client::PlanServiceClient;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_proto::orchestrator::spec_service_client::SpecServiceClient;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_runtime::{Transport, call, transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::{Request, Status, Streaming};

/// How long one call may take.
const CALL: Duration = Duration::from_secs(5);
/// How long a stream is followed before it is asked for again.
const FOLLOW: Duration = Duration::from_mins(2);
/// Wait between two tries of a call.
pub const PAUSE: Duration = Duration::from_millis(50);
/// How long a call is tried again that must succeed in the end.
const PERSIST: Duration = Duration::from_secs(90);

/// A client.
#[derive(Clone)]
pub struct Client {
    channels: Arc<[Transport]>,
    next: Arc<AtomicUsize>,
    who: Principal,
}

impl Client {
    /// A client of these addresses, as the owner of a tenant.
    pub fn new(addresses: &[String], token: &str, tenant: TenantId) -> Result<Self> {
        let open = |a: &String| transport::remote(a, token).map_err(anyhow::Error::msg);
        let channels: Vec<Transport> = addresses.iter().map(open).collect::<Result<_>>()?;
        if channels.is_empty() {
            bail!("a client needs an address");
        }
        let who = Principal { tenant, role: Role::Owner, actor: "user:chaos".to_owned() };
        Ok(Self { channels: channels.into(), next: Arc::default(), who })
    }

    /// The same channels as another caller.
    #[must_use]
    pub fn as_caller(&self, who: Principal) -> Self {
        Self { who, ..self.clone() }
    }

    /// The same caller with this name.
    #[must_use]
    pub fn named(&self, actor: &str) -> Self {
        self.as_caller(Principal { actor: actor.to_owned(), ..self.who.clone() })
    }

    /// Whose it is.
    pub fn tenant(&self) -> String {
        self.who.tenant.to_string()
    }

    /// Who it is.
    pub fn actor(&self) -> &str {
        &self.who.actor
    }

    /// Turns to the next orchestrator.
    pub fn turn(&self) {
        self.next.fetch_add(1, Ordering::Relaxed);
    }

    fn channel(&self) -> Transport {
        self.channels[self.next.load(Ordering::Relaxed) % self.channels.len()].clone()
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        call(&self.who, CALL, message)
    }

    /// Tries a call until it succeeds or is refused for good.
    pub async fn persist<T, F>(&self, name: &str, mut one: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let until = tokio::time::Instant::now() + PERSIST;
        loop {
            let status = match one().await {
                Ok(value) => return Ok(value),
                Err(status) => status,
            };
            let for_good = matches!(
                crate::records::Answer::of(&status),
                crate::records::Answer::Refused { .. }
            ) && status.code() != tonic::Code::ResourceExhausted
                && status.code() != tonic::Code::Aborted
                // a process whose clock is off takes nobody's signature
                && status.code() != tonic::Code::Unauthenticated;
            if for_good || tokio::time::Instant::now() > until {
                return Err(status).with_context(|| name.to_owned());
            }
            self.turn();
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes the tenant; that it is there already is as good.
    pub async fn create_tenant(&self, name: &str) -> Result<()> {
        let admin = self.as_caller(Principal { role: Role::PlatformAdmin, ..self.who.clone() });
        let made = admin.persist("create a tenant", || async {
            let message = pb::CreateTenantRequest { name: name.to_owned(), id: admin.tenant() };
            let asked = TenantServiceClient::new(admin.channel());
            match { asked }.create_tenant(admin.ask(message)).await {
                Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
                other => other.map(drop),
            }
        });
        made.await
    }

    /// A spec of these steps with its plan.
    pub async fn planned(&self, title: &str, steps: &[PlannedStep]) -> Result<String> {
        let spec = self.persist("create a spec", || async {
            let message = pb::CreateSpecRequest {
                title: title.to_owned(),
                mode: pb::SpecMode::Freeform.into(),
                steps: steps.to_vec(),
                ..Default::default()
            };
            SpecServiceClient::new(self.channel()).create_spec(self.ask(message)).await
        });
        let spec = spec.await?.into_inner().spec.context("a spec")?.id;
        let plan = self.persist("create a plan", || async {
            let message = pb::CreatePlanRequest { spec_id: spec.clone() };
            PlanServiceClient::new(self.channel()).create_plan(self.ask(message)).await
        });
        plan.await?;
        Ok(spec)
    }

    /// Asks once for a run; answers its id.
    pub async fn create_run(&self, spec: &str, key: &str) -> Result<String, Status> {
        let message = pb::CreateRunRequest {
            spec_id: spec.to_owned(),
            request_id: key.to_owned(),
            ..Default::default()
        };
        let mut client = RunServiceClient::new(self.channel());
        let run = client.create_run(self.ask(message)).await?.into_inner().run;
        Ok(run.ok_or_else(|| Status::data_loss("no run in the answer"))?.id)
    }

    /// Asks once for a run's end.
    pub async fn cancel(&self, run: &str) -> Result<(), Status> {
        let message = pb::CancelRunRequest { run_id: run.to_owned() };
        RunServiceClient::new(self.channel()).cancel_run(self.ask(message)).await.map(drop)
    }

    /// Decides once; answers who decided by then.
    pub async fn decide(&self, gate: &str, approve: bool) -> Result<String, Status> {
        let message = pb::DecideGateRequest {
            gate_id: gate.to_owned(),
            approve,
            notes: format!("by {}", self.who.actor),
            ..Default::default()
        };
        let mut client = ApprovalServiceClient::new(self.channel());
        let gate = client.decide_gate(self.ask(message)).await?.into_inner().gate;
        Ok(gate.ok_or_else(|| Status::data_loss("no gate in the answer"))?.decided_by)
    }

    /// Reads a run once.
    pub async fn read(&self, run: &str) -> Result<pb::Run, Status> {
        let message = pb::GetRunRequest { run_id: run.to_owned() };
        let mut client = RunServiceClient::new(self.channel());
        let run = client.get_run(self.ask(message)).await?.into_inner().run;
        run.ok_or_else(|| Status::data_loss("no run in the answer"))
    }

    /// A run, whatever it takes.
    pub async fn run(&self, run: &str) -> Result<pb::Run> {
        self.persist("read a run", || self.read(run)).await
    }

    /// One page of the tenant's runs: their ids.
    pub async fn list(&self) -> Result<Vec<String>, Status> {
        let message = pb::ListRunsRequest { page_size: 100, ..Default::default() };
        let mut client = RunServiceClient::new(self.channel());
        let runs = client.list_runs(self.ask(message)).await?.into_inner().runs;
        Ok(runs.into_iter().map(|r| r.id).collect())
    }

    /// A run's events after a number, as they come.
    pub async fn follow(
        &self,
        run: &str,
        after: u64,
    ) -> Result<Streaming<pb::StreamEventsResponse>, Status> {
        let message =
            pb::StreamEventsRequest { run_id: run.to_owned(), after_seq: after, follow: true };
        let mut client = RunServiceClient::new(self.channel());
        Ok(client.stream_events(call(&self.who, FOLLOW, message)).await?.into_inner())
    }

    /// A run's whole log.
    pub async fn events(&self, run: &str) -> Result<Vec<pb::RunEvent>> {
        let read = self.persist("read events", || async {
            let message =
                pb::StreamEventsRequest { run_id: run.to_owned(), after_seq: 0, follow: false };
            let mut client = RunServiceClient::new(self.channel());
            let mut stream = client.stream_events(self.ask(message)).await?.into_inner();
            let mut events = Vec::new();
            while let Some(answer) = stream.message().await? {
                events.extend(answer.event);
            }
            Ok(events)
        });
        read.await
    }
}
