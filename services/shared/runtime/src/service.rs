//! What a service is, and what it is given.

use crate::auth::{DenialSink, KeyCheck};
use crate::transport::{self, Transport};
use futures::future::BoxFuture;
use meta_domain::fault::InvalidField;
use meta_domain::role::Principal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;

/// A deployable service. Its `main` is one line: `meta_runtime::main::<TheService>()`.
pub trait Service: Sized {
    /// Name in logs, configuration and health.
    const NAME: &'static str;
    /// Port when the configuration names no address.
    const PORT: u16;
    /// Its own configuration, beside what every service has; a default for every field.
    type Config: DeserializeOwned + Serialize + Default + Send;

    /// Opens what it needs and says what it serves.
    ///
    /// # Errors
    /// What stops the start.
    fn wire(
        config: Self::Config,
        host: &Host,
    ) -> impl Future<Output = Result<Wiring, StartError>> + Send;

    /// Makes its tables, or brings them up to this version, for a deployment that does so before it
    /// starts the service. A service without tables has nothing to do.
    ///
    /// # Errors
    /// When the database cannot be opened or is of a later version.
    fn migrate(config: Self::Config) -> impl Future<Output = Result<(), StartError>> + Send {
        drop(config);
        async { Ok(()) }
    }
}

/// Why a service does not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration is wrong: every fault. Exit code 64.
    Config(Vec<InvalidField>),
    /// Something it needs does not work. Exit code 1.
    Failed(String),
}

impl StartError {
    /// Something the service needs does not work.
    pub fn failed(what: &str, error: impl fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(faults) => {
                writeln!(f, "the configuration is not valid:")?;
                for fault in faults {
                    writeln!(f, "  {fault}")?;
                }
                Ok(())
            }
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StartError {}

/// What the runtime gives a service.
#[derive(Clone, Default)]
pub struct Host {
    peers: BTreeMap<String, Transport>,
    vars: BTreeMap<String, String>,
}

impl Host {
    /// A host with the process's environment variables.
    pub fn new(vars: BTreeMap<String, String>) -> Self {
        Self { peers: BTreeMap::new(), vars }
    }

    /// Adds a peer.
    #[must_use]
    pub fn with_peer(mut self, name: &str, transport: Transport) -> Self {
        self.peers.insert(name.to_owned(), transport);
        self
    }

    /// The channel to a peer.
    ///
    /// # Errors
    /// When the configuration names no address for it.
    pub fn peer(&self, name: &str) -> Result<Transport, StartError> {
        self.peers.get(name).cloned().ok_or_else(|| {
            StartError::Config(vec![InvalidField::new(
                format!("peers.{name}"),
                "is missing (expected the address of that service, such as http://127.0.0.1:50051)",
            )])
        })
    }

    /// The process's environment variables.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }
}

/// A named background task; it gets a token that tells it to stop.
pub(crate) struct Background {
    pub(crate) name: &'static str,
    pub(crate) start: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

/// Routes on an address of their own, for callers that are known by reaching it.
pub(crate) struct OpenListener {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) routes: Wiring,
    pub(crate) caller: Principal,
}

/// What a service serves.
#[derive(Default)]
pub struct Wiring {
    pub(crate) grpc: tonic::service::RoutesBuilder,
    pub(crate) names: Vec<&'static str>,
    pub(crate) http: Option<axum::Router>,
    pub(crate) background: Vec<Background>,
    pub(crate) keys: Option<KeyCheck>,
    pub(crate) denials: Option<DenialSink>,
    pub(crate) ready: Vec<watch::Receiver<bool>>,
    pub(crate) open: Vec<OpenListener>,
}

impl Wiring {
    /// Health says SERVING only once this is true.
    #[must_use]
    pub fn ready_when(mut self, ready: watch::Receiver<bool>) -> Self {
        self.ready.push(ready);
        self
    }

    /// Serves `routes` on another address too, where no credential is asked for and every call is
    /// `caller`'s.
    #[must_use]
    pub fn open_listener(
        mut self,
        name: &'static str,
        address: SocketAddr,
        routes: Self,
        caller: Principal,
    ) -> Self {
        self.open.push(OpenListener { name, address, routes, caller });
        self
    }

    /// Serves a generated gRPC server.
    #[must_use]
    pub fn serve<S>(mut self, service: S) -> Self
    where
        S: tower::Service<http::Request<tonic::body::Body>, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.grpc.add_service(service);
        self
    }

    /// Serves plain HTTP routes (the gateway); they bring their own authentication.
    #[must_use]
    pub fn http(mut self, router: axum::Router) -> Self {
        self.http = Some(router);
        self
    }

    /// Runs a background task. It must end soon after its token is canceled; when it ends before,
    /// the process stops with an error.
    #[must_use]
    pub fn background<F>(
        mut self,
        name: &'static str,
        start: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.background.push(Background { name, start: Box::new(move |t| Box::pin(start(t))) });
        self
    }

    /// Also accepts API keys, checked by this function.
    #[must_use]
    pub fn accept_keys(mut self, keys: KeyCheck) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Also hears of calls that were refused although their caller is known.
    #[must_use]
    pub fn on_denial(mut self, denials: DenialSink) -> Self {
        self.denials = Some(denials);
        self
    }

    /// Who hears of refused calls, when somebody does.
    pub fn denials(&self) -> Option<DenialSink> {
        self.denials.clone()
    }

    /// The check of API keys, when this service has one.
    pub fn keys(&self) -> Option<KeyCheck> {
        self.keys.clone()
    }

    /// Another service's wiring beside this one, in the same process.
    #[must_use]
    pub fn merge_background(mut self, other: &mut Self) -> Self {
        self.background.append(&mut other.background);
        self
    }

    /// The gRPC routes behind the layers that every call passes.
    pub fn grpc_routes(&self, auth: crate::auth::Auth) -> axum::Router {
        self.grpc
            .clone()
            .routes()
            .into_axum_router()
            .layer(crate::deadline::DeadlineLayer)
            .layer(crate::auth::AuthLayer(auth))
            .layer(crate::observed::ObserveLayer)
    }

    /// A channel to this service for peers in the same process.
    pub fn in_process(&self, token: &str) -> Transport {
        let auth = crate::auth::Auth::new(crate::auth::Mode::Token, token, self.keys.clone())
            .telling(self.denials.clone());
        transport::in_process(self.grpc_routes(auth), token)
    }
}
