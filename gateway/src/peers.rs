//! The services behind the gateway, as typed clients.

use futures::TryFutureExt;
use futures::future::MapErr;
use http::{Request, Response};
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_proto::classifier::classifier_service_client::ClassifierServiceClient;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::orchestrator::approval_service_client::ApprovalServiceClient;
use meta_proto::orchestrator::plan_service_client::PlanServiceClient;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_proto::orchestrator::spec_service_client::SpecServiceClient;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_runtime::Transport;
use std::fmt;
use std::task::{Context, Poll};
use tonic_health::pb::health_client::HealthClient;
use tower::{BoxError, Service};

/// A [`Transport`] whose error has a type of its own. A boxed error in a client's bounds keeps the
/// compiler from seeing that a handler's future may move between threads.
#[derive(Clone)]
pub(crate) struct Channel(Transport);

/// What a channel says when it could not carry a call.
#[derive(Debug)]
pub(crate) struct Lost(BoxError);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call did not come through")
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

type Body = tonic::body::Body;

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Lost;
    type Future = MapErr<<Transport as Service<Request<Body>>>::Future, fn(BoxError) -> Lost>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.0.poll_ready(cx).map_err(Lost)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request).map_err(Lost)
    }
}

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
                pub(crate) fn $name(&self) -> $client<Channel> {
                    $client::new(Channel(self.$peer.clone()))
                        .max_decoding_message_size(MESSAGE_BYTES_MAX)
                        .max_encoding_message_size(MESSAGE_BYTES_MAX)
                }
            )+
        }
    };
}

impl Peers {
    /// Whether the services serve, by their names.
    pub(crate) fn health(&self) -> [(&'static str, HealthClient<Channel>); 3] {
        let client = |peer: &Transport| HealthClient::new(Channel(peer.clone()));
        [
            ("orchestrator", client(&self.orchestrator)),
            ("classifier", client(&self.classifier)),
            ("flag-resolver", client(&self.flags)),
        ]
    }
}

clients! {
    /// What to build.
    specs: SpecServiceClient over orchestrator,
    /// Versioned plans.
    plans: PlanServiceClient over orchestrator,
    /// Executions.
    runs: RunServiceClient over orchestrator,
    /// Human decisions.
    approvals: ApprovalServiceClient over orchestrator,
    /// Tenants, users and keys.
    tenants: TenantServiceClient over orchestrator,
    /// Failure signals.
    classifier: ClassifierServiceClient over classifier,
    /// Settings.
    flags: FlagsServiceClient over flags,
}
