//! Listens, serves, and drains.

use crate::admin::Readiness;
use crate::auth::Auth;
use crate::service::{Background, OpenListener, StartError, Wiring};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;

const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const REFLECTION_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

/// How the process stops.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Health says NOT_SERVING this long before the listener closes.
    pub lame_duck: Duration,
    /// Requests in flight get this long afterwards.
    pub grace: Duration,
}

/// A bound listener with what is served on it.
pub struct Bound {
    listener: TcpListener,
    router: axum::Router,
    reporter: tonic_health::server::HealthReporter,
    names: Vec<&'static str>,
    ready: Vec<watch::Receiver<bool>>,
    draining: Arc<AtomicBool>,
}

impl Bound {
    /// Binds a service's gRPC (with health and reflection) and HTTP routes to an address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn new(
        listen: SocketAddr,
        wirings: &[&Wiring],
        auth: &Auth,
    ) -> Result<Self, StartError> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|e| StartError::failed(&format!("cannot listen on {listen}"), e))?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut names: Vec<&'static str> = vec![""];
        let mut router = axum::Router::new();
        let mut plain = None;
        for wiring in wirings {
            names.extend(&wiring.names);
            if let Some(http) = &wiring.http {
                plain = Some(http.clone());
            }
        }
        if plain.is_none() {
            let mut routes = tonic::service::RoutesBuilder::default();
            for reflection in reflection(&names)? {
                match reflection {
                    Reflection::V1(service) => routes.add_service(service),
                    Reflection::V1Alpha(service) => routes.add_service(service),
                };
            }
            routes.add_service(health);
            router = routes.routes().into_axum_router();
            for wiring in wirings {
                router = router.merge(wiring.grpc_routes(auth.clone()).reset_fallback());
            }
        }
        let router = plain.unwrap_or(router);
        let ready = wirings.iter().flat_map(|w| w.ready.iter().cloned()).collect();
        Ok(Self { listener, router, reporter, names, ready, draining: Arc::default() })
    }

    /// Binds the admin address of a process that serves these: metrics and health over plain HTTP.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn admin(listen: SocketAddr, of: &[Self]) -> Result<Self, StartError> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|e| StartError::failed(&format!("cannot listen on {listen}"), e))?;
        let (reporter, _) = tonic_health::server::health_reporter();
        let draining: Arc<AtomicBool> = Arc::default();
        let ready = of.iter().flat_map(|one| one.ready.iter().cloned()).collect();
        let readiness = Readiness { ready, draining: Arc::clone(&draining) };
        let router = crate::admin::routes(readiness);
        Ok(Self { listener, router, reporter, names: Vec::new(), ready: Vec::new(), draining })
    }

    /// Binds the further addresses that services asked for.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub async fn open(wirings: &mut [&mut Wiring]) -> Result<Vec<Self>, StartError> {
        let mut bound = Vec::new();
        for wiring in wirings {
            for OpenListener { name, address, mut routes, caller } in
                std::mem::take(&mut wiring.open)
            {
                routes.ready.extend(wiring.ready.iter().cloned());
                let one = Self::new(address, &[&routes], &Auth::as_caller(caller)).await?;
                tracing::info!(name, address = %one.address()?, "serving without credentials");
                bound.push(one);
            }
        }
        Ok(bound)
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> Result<SocketAddr, StartError> {
        self.listener.local_addr().map_err(|e| StartError::failed("listener", e))
    }
}

enum Reflection<A, B> {
    V1(A),
    V1Alpha(B),
}

/// Reflection in both versions. It knows every contract, and lists what is served here.
fn reflection(
    served: &[&'static str],
) -> Result<
    [Reflection<
        tonic_reflection::server::v1::ServerReflectionServer<
            impl tonic_reflection::server::v1::ServerReflection,
        >,
        tonic_reflection::server::v1alpha::ServerReflectionServer<
            impl tonic_reflection::server::v1alpha::ServerReflection,
        >,
    >; 2],
    StartError,
> {
    let builder = |own: &'static str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(meta_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
        let named = served.iter().copied().filter(|name| !name.is_empty());
        let beside = ["grpc.health.v1.Health", own];
        named.chain(beside).fold(builder, tonic_reflection::server::Builder::with_service_name)
    };
    let failed = |e| StartError::failed("reflection", e);
    Ok([
        Reflection::V1(builder(REFLECTION).build_v1().map_err(failed)?),
        Reflection::V1Alpha(builder(REFLECTION_ALPHA).build_v1alpha().map_err(failed)?),
    ])
}

/// Serves until `stop` is canceled, then drains: health says NOT_SERVING, the listeners close,
/// requests in flight end, background tasks stop.
///
/// # Errors
/// When a listener fails or a background task ends by itself.
pub async fn run(
    bound: Vec<Bound>,
    background: &mut Wiring,
    stop: CancellationToken,
    drain: Drain,
) -> Result<(), StartError> {
    let work = CancellationToken::new();
    let closing = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for Background { name, start } in std::mem::take(&mut background.background) {
        let task = start(work.clone());
        tasks.spawn(async move {
            task.await;
            name
        });
    }
    let mut health = Vec::new();
    let mut servers = JoinSet::new();
    let mut readying = JoinSet::new();
    let draining: Vec<_> = bound.iter().map(|one| Arc::clone(&one.draining)).collect();
    for one in bound {
        // what waits for nothing serves from the first connection on
        let first =
            if one.ready.is_empty() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in &one.names {
            one.reporter.set_service_status(*name, first).await;
            health.push((one.reporter.clone(), *name));
        }
        readying.spawn(serve_when_ready(one.reporter, one.names, one.ready));
        let closing = closing.clone();
        servers.spawn(crate::accept::serve(one.listener, one.router, closing));
    }
    let early = tokio::select! {
        () = stop.cancelled() => None,
        Some(ended) = tasks.join_next() => Some(match ended {
            Ok(name) => format!("the background task {name} ended by itself"),
            Err(error) => format!("a background task panicked: {error}"),
        }),
        Some(ended) = servers.join_next() => Some(match ended {
            Ok(()) => "the listener closed by itself".to_owned(),
            Err(error) => format!("the listener panicked: {error}"),
        }),
    };
    readying.shutdown().await;
    for draining in &draining {
        draining.store(true, Ordering::Relaxed);
    }
    for (reporter, name) in &health {
        reporter.set_service_status(*name, ServingStatus::NotServing).await;
    }
    if early.is_none() {
        tokio::time::sleep(drain.lame_duck).await;
    }
    for (reporter, name) in &mut health {
        // ends the watches, which nothing else would end
        reporter.clear_service_status(name).await;
    }
    work.cancel();
    closing.cancel();
    let ended = tokio::time::timeout(drain.grace, async {
        while tasks.join_next().await.is_some() {}
        while servers.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!(grace_ms = drain.grace.as_millis(), "drain grace is over, closing the rest");
    }
    early.map_or(Ok(()), |what| Err(StartError::Failed(what)))
}

/// Says SERVING as soon as everything is ready that has to be.
async fn serve_when_ready(
    reporter: tonic_health::server::HealthReporter,
    names: Vec<&'static str>,
    ready: Vec<watch::Receiver<bool>>,
) {
    for mut one in ready {
        if one.wait_for(|ready| *ready).await.is_err() {
            return;
        }
    }
    for name in names {
        reporter.set_service_status(name, ServingStatus::Serving).await;
    }
}
