//! The services behind the gateway, as typed clients.

use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_proto::classifier::classifier_service_client::ClassifierServiceClient;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::orchestrator::answer_service_client::AnswerServiceClient;
use meta_proto::orchestrator::approval_service_client::ApprovalServiceClient;
use meta_proto::orchestrator::audit_service_client::AuditServiceClient;
use meta_proto::orchestrator::key_service_client::KeyServiceClient;
use meta_proto::orchestrator::plan_service_client::PlanServiceClient;
use meta_proto::orchestrator::run_control_service_client::RunControlServiceClient;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_proto::orchestrator::session_service_client::SessionServiceClient;
use meta_proto::orchestrator::spec_service_client::SpecServiceClient;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_proto::orchestrator::webhook_service_client::WebhookServiceClient;
use meta_runtime::Transport;
use tonic_health::pb::health_client::HealthClient;

/// The flag-resolver's name in health.
pub(crate) const FLAG_RESOLVER: &str = "flag-resolver";

/// Channels to the services the gateway speaks for.
#[derive(Clone)]
pub struct Peers {
    /// Specs, plans, runs, gates, tenants.
    pub orchestrator: Transport,
    /// Failure signals.
    pub classifier: Transport,
    /// Settings.
    pub flags: Transport,
}

macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident over $peer:ident),+ $(,)?) => {
        impl Peers {
            $(
                $(#[$doc])*
                pub(crate) fn $name(&self) -> $client<Transport> {
                    $client::new(self.$peer.clone())
                        .max_decoding_message_size(MESSAGE_BYTES_MAX)
                        .max_encoding_message_size(MESSAGE_BYTES_MAX)
                }
            )+
        }
    };
}

impl Peers {
    /// Whether the services serve, by their names.
    pub(crate) fn health(&self) -> [(&'static str, HealthClient<Transport>); 3] {
        let client = |peer: &Transport| HealthClient::new(peer.clone());
        [
            ("orchestrator", client(&self.orchestrator)),
            ("classifier", client(&self.classifier)),
            (FLAG_RESOLVER, client(&self.flags)),
        ]
    }
}

clients! {
    /// API keys.
    keys: KeyServiceClient over orchestrator,
    /// Who did what.
    audit: AuditServiceClient over orchestrator,
    /// What to build.
    specs: SpecServiceClient over orchestrator,
    /// Versioned plans.
    plans: PlanServiceClient over orchestrator,
    /// Operators' hands on executions.
    run_control: RunControlServiceClient over orchestrator,
    /// Executions.
    runs: RunServiceClient over orchestrator,
    /// Human decisions.
    approvals: ApprovalServiceClient over orchestrator,
    /// Sign-ins of browsers.
    sessions: SessionServiceClient over orchestrator,
    /// Tenants, users and keys.
    tenants: TenantServiceClient over orchestrator,
    /// Who is told of events.
    webhooks: WebhookServiceClient over orchestrator,
    /// Answers to requests that named a key.
    answers: AnswerServiceClient over orchestrator,
    /// Failure signals.
    classifier: ClassifierServiceClient over classifier,
    /// Settings.
    flags: FlagsServiceClient over flags,
}
