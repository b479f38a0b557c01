//! The orchestrator: specs, plans, and runs as a durable state machine; the queue of work that
//! runners pull; approvals; tenants.

pub mod config;
pub mod core;
pub mod gauges;
pub mod grpc;
pub mod judge;
pub mod logs;
pub mod record;
pub mod retention;
pub mod settings;
pub mod shell;
pub mod store;
pub mod webhooks;

pub use config::Config;

use crate::gauges::{Gauges, Roster};
use crate::grpc::answers::Answers;
use crate::grpc::audit::Audit;
use crate::grpc::keys::Keys;
use crate::grpc::sessions::Sessions;
use crate::grpc::tenants::Tenants;
use crate::grpc::{control::Control, runs::Runs, specs::Specs, work::Work};
use crate::judge::Judge;
use crate::logs::Logs;
use crate::record::Credentials;
use crate::retention::Retention;
use crate::settings::RunSettings;
use crate::shell::Engine;
use crate::store::{NewKey, Tables};
use crate::webhooks::{Http, Sender, Webhooks, signing_key, system_lookup};
use meta_domain::fault::Fault;
use meta_domain::id::{KeyId, TenantId, UserId};
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_domain::role::Role;
use meta_objects::Objects;
use meta_proto::orchestrator::answer_service_server::AnswerServiceServer;
use meta_proto::orchestrator::approval_service_server::ApprovalServiceServer;
use meta_proto::orchestrator::audit_service_server::AuditServiceServer;
use meta_proto::orchestrator::key_service_server::KeyServiceServer;
use meta_proto::orchestrator::plan_service_server::PlanServiceServer;
use meta_proto::orchestrator::run_control_service_server::RunControlServiceServer;
use meta_proto::orchestrator::run_service_server::RunServiceServer;
use meta_proto::orchestrator::session_service_server::SessionServiceServer;
use meta_proto::orchestrator::spec_service_server::SpecServiceServer;
use meta_proto::orchestrator::tenant_service_server::TenantServiceServer;
use meta_proto::orchestrator::webhook_service_server::WebhookServiceServer;
use meta_proto::runner::work_service_server::WorkServiceServer;
use meta_runtime::{Flags, Host, Service, StartError, Wiring, new_id, now};
use meta_tokens::Verifier;
use std::sync::Arc;
use uuid::Uuid;

/// The tenant that exists from the start: the one of `metabuilder build` and of development.
pub const DEFAULT_TENANT: TenantId =
    TenantId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));
/// Its first user.
const DEFAULT_USER: UserId = UserId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0002));

/// File of the last known settings, in the data folder.
const FLAGS_FILE: &str = "flags-snapshot.json";

/// A generated server with the project's message limit.
macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    };
}

/// The service.
pub struct Orchestrator;

impl Service for Orchestrator {
    const NAME: &'static str = "orchestrator";
    const PORT: u16 = 50051;
    type Config = Config;

    async fn wire(config: Config, host: &Host) -> Result<Wiring, StartError> {
        let options = config.options().map_err(StartError::Config)?;
        let location = config.location().map_err(|f| StartError::Config(vec![f]))?;
        tokio::fs::create_dir_all(&config.data_dir).await.map_err(|e| {
            StartError::failed(&format!("data_dir {}", config.data_dir.display()), e)
        })?;
        let tables =
            Tables::open(&location).await.map_err(|e| StartError::failed("store", chain(&e)))?;
        let broken = |fault| StartError::failed("store", fault);
        prepare(&tables, &config).await.map_err(broken)?;
        let started = Engine::start(tables.clone(), logs(&config, host)?, options).await;
        let (engine, writing) = started.map_err(broken)?;
        let (webhooks, sender) = webhooks(&config, &tables)?;
        let (flags, resolver) = (Flags::default(), host.peer("flag-resolver")?);
        let settings = RunSettings::new(resolver.clone(), flags.clone());
        let kept = config.data_dir.join(FLAGS_FILE);
        let judge = Judge::new(
            engine.clone(),
            host.peer("classifier")?,
            host.peer("autofixer")?,
            settings.clone(),
            options.only,
        );
        // who builds one run on a laptop leaves the record to the next process that serves
        let changes = options
            .only
            .is_none()
            .then(|| record::Changes::new(tables.clone(), resolver.clone(), flags.clone()));
        let gates = config.gates();
        let retiring = engine.clone();
        let retention = Retention { days: config.retention_days, archive: config.archive.clone() };
        let limits = config.limits;
        let tokens = config.jwt.as_ref().map(Verifier::new).transpose().map_err(|faults| {
            StartError::Config(faults.into_iter().map(|f| f.within("jwt")).collect())
        })?;
        let (credentials, noting) = Credentials::new(tables.clone(), tokens);
        let denials = credentials.denials().clone();
        let runs =
            Runs { engine: engine.clone(), settings, gates, limits, denials: denials.clone() };
        let specs = Specs { engine: engine.clone(), limits };
        let audit = Audit { tables: tables.clone(), denials: denials.clone() };
        let keys = Keys { tables: tables.clone() };
        let sessions = Sessions { tables: tables.clone(), credentials: credentials.clone() };
        let tenants = Tenants { tables, credentials: credentials.clone() };
        let stopping = engine.stopping.clone();
        let roster = Roster::default();
        let (engine_of, flags_of) = (engine.clone(), flags.clone());
        let gauges = Gauges { engine: engine_of, roster: roster.clone(), flags: flags_of };
        meta_telemetry::catalogue::announce_orchestrator();
        Ok(Wiring::default()
            .serve(limited!(SpecServiceServer::new(specs.clone())))
            .serve(limited!(PlanServiceServer::new(specs)))
            .serve(limited!(RunServiceServer::new(runs.clone())))
            .serve(limited!(RunControlServiceServer::new(Control { engine: engine.clone() })))
            .serve(limited!(ApprovalServiceServer::new(runs)))
            .serve(limited!(SessionServiceServer::new(sessions)))
            .serve(limited!(TenantServiceServer::new(tenants)))
            .serve(limited!(KeyServiceServer::new(keys)))
            .serve(limited!(AuditServiceServer::new(audit)))
            .serve(limited!(WebhookServiceServer::new(webhooks)))
            .serve(limited!(AnswerServiceServer::new(Answers { engine: engine.clone() })))
            .serve(limited!(WorkServiceServer::new(Work { engine, seen: Arc::default(), roster })))
            .ready_when(flags.ready())
            .background("flags", move |stop| flags.follow(resolver, Some(kept), stop))
            .background("judge", move |stop| judge.run(stop))
            .background("gauges", move |stop| gauges.run(stop))
            .background("retention", move |stop| retention.run(retiring, stop))
            .background("writer", |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    ended = writing => tracing::error!(?ended, "the writer ended by itself"),
                }
            })
            .background("noting", |stop| noting.run(stop))
            .background("changes", move |stop| async move {
                match changes {
                    Some(changes) => changes.run(stop).await,
                    None => stop.cancelled().await,
                }
            })
            .on_denial(denials.sink())
            .background("webhooks", move |stop| sender.run(stop))
            .background("waiters", |stop| async move {
                stop.cancelled().await;
                stopping.cancel();
            })
            .accept_keys(Arc::new(move |key| {
                let credentials = credentials.clone();
                Box::pin(async move { credentials.shown(&key).await })
            })))
    }

    async fn migrate(config: Config) -> Result<(), StartError> {
        let location = config.location().map_err(|f| StartError::Config(vec![f]))?;
        let opened = Tables::open(&location).await;
        opened.map(drop).map_err(|e| StartError::failed(&format!("database {location}"), chain(&e)))
    }
}

/// The logs, where the configuration says.
fn logs(config: &Config, host: &Host) -> Result<Logs, StartError> {
    let Some(url) = &config.objects else { return Ok(Logs::new(&config.data_dir.join("logs"))) };
    let objects =
        Objects::open(url, host.vars()).map_err(|fault| StartError::Config(vec![fault]))?;
    tracing::info!(objects = objects.shown(), "logs are objects");
    Ok(Logs::in_objects(objects))
}

/// The shell of webhooks, and what sends to them.
fn webhooks(config: &Config, tables: &Tables) -> Result<(Webhooks, Sender), StartError> {
    let policy = config.webhooks.policy().map_err(StartError::Config)?;
    let key = signing_key(&config.webhooks, &config.data_dir)?;
    let http = Http::new(policy, system_lookup());
    let http = http.map_err(|e| StartError::failed("webhooks", chain(&e)))?;
    let (store, events) = (tables.webhooks().clone(), webhooks::events_of(tables.clone()));
    let shell = Webhooks { store: store.clone(), http: http.clone(), key: key.clone() };
    Ok((shell, Sender { store, events, http, key }))
}

async fn prepare(tables: &Tables, config: &Config) -> Result<(), Fault> {
    tables.insert_tenant(DEFAULT_TENANT, "default", now()).await?;
    if let Some(key) = &config.dev_key {
        let new = NewKey {
            name: "development".to_owned(),
            text: key.clone(),
            ..NewKey::new(DEFAULT_TENANT, Role::PlatformAdmin, "user:dev", KeyId(new_id()), "")
        };
        tables.ensure_key(DEFAULT_USER, &new, now()).await?;
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
