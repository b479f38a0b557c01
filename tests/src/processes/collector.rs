//! A collector that keeps what it is sent by OTLP over gRPC.

use super::LIMIT;
use anyhow::{Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Pause between two looks at what has come.
const PAUSE: Duration = Duration::from_millis(100);

/// A span with the service that sent it.
#[derive(Debug, Clone)]
pub struct Told {
    /// `service.name` of its resource.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Told {
    /// An attribute as text; empty when it has none.
    pub fn attribute(&self, name: &str) -> String {
        self.span.attributes.iter().find(|a| a.key == name).map(text).unwrap_or_default()
    }
}

/// A line of a log with the service that sent it.
#[derive(Debug, Clone)]
pub struct Line {
    /// `service.name` of its resource.
    pub service: String,
    /// The trace that it belongs to, in hex; empty when to none.
    pub trace: String,
    /// What it says.
    pub body: String,
}

/// What has come so far.
#[derive(Debug, Default)]
pub struct Kept {
    /// Spans.
    pub spans: Vec<Told>,
    /// Lines.
    pub lines: Vec<Line>,
    /// Names of metrics, each with its service.
    pub metrics: BTreeSet<(String, String)>,
    /// Every message as it came, with what it is about: `spans`, `lines` or `metrics`.
    pub messages: Vec<(&'static str, Vec<u8>)>,
}

/// See the module. It ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    kept: Arc<Mutex<Kept>>,
    _serving: AbortOnDropHandle<()>,
}

/// Bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn text(attribute: &KeyValue) -> String {
    value(attribute.value.as_ref())
}

fn value(value: Option<&AnyValue>) -> String {
    match value.and_then(|v| v.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(n)) => n.to_string(),
        Some(Value::BoolValue(b)) => b.to_string(),
        Some(Value::DoubleValue(n)) => n.to_string(),
        _ => String::new(),
    }
}

fn service(resource: Option<&Resource>) -> String {
    let name = resource.and_then(|r| r.attributes.iter().find(|a| a.key == "service.name"));
    name.map(text).unwrap_or_default()
}

impl Collector {
    /// Starts one on a free port of loopback.
    pub async fn start() -> Result<Self> {
        Self::serving(true, None).await
    }

    /// Starts one that forgets at once what it is sent.
    pub async fn forgetful() -> Result<Self> {
        Self::serving(false, None).await
    }

    /// Starts one that speaks TLS only, and gives the certificate, in PEM, of the authority of its
    /// own that vouches for it.
    pub async fn secured() -> Result<(Self, String)> {
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate()?;
        let authority = of_authority.self_signed(&authority_key)?.pem();
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(of_authority, authority_key);
        let own = CertificateParams::new(["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        let identity = Identity::from_pem(own.pem(), key.serialize_pem());
        Ok((Self::serving(true, Some(identity)).await?, authority))
    }

    async fn serving(keeps: bool, identity: Option<Identity>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (mut server, mut endpoint) =
            (Server::builder(), format!("http://{}", listener.local_addr()?));
        if let Some(identity) = identity {
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
            // the name that its certificate has
            endpoint = format!("https://localhost:{}", listener.local_addr()?.port());
        }
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let keep = Keep(keeps.then(|| Arc::clone(&kept)));
        let serving = server
            .add_service(TraceServiceServer::new(keep.clone()))
            .add_service(LogsServiceServer::new(keep.clone()))
            .add_service(MetricsServiceServer::new(keep))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(async move {
            serving.await.expect("a listener of a test serves");
        });
        Ok(Self { endpoint, kept, _serving: AbortOnDropHandle::new(serving) })
    }

    /// The variables of a process that sends to it, soon.
    pub fn vars(&self) -> [(&str, &str); 4] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.endpoint.as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ]
    }

    /// What has come so far.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spans of a trace, in hex.
    pub fn trace(&self, id: &str) -> Vec<Told> {
        let kept = self.kept();
        kept.spans.iter().filter(|t| hex(&t.span.trace_id) == id).cloned().collect()
    }

    /// Waits until what has come is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Kept) -> bool) -> Result<()> {
        let waited = tokio::time::timeout(LIMIT, async {
            while !wanted(&self.kept()) {
                tokio::time::sleep(PAUSE).await;
            }
        });
        if waited.await.is_err() {
            let kept = self.kept();
            let names: Vec<_> = kept.spans.iter().map(|t| &t.span.name).collect();
            bail!("{what} did not come; spans: {names:?}");
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Keep(Option<Arc<Mutex<Kept>>>);

impl Keep {
    fn put_message(&self, about: &'static str, message: &impl Message) {
        self.put(|kept| kept.messages.push((about, message.encode_to_vec())));
    }

    fn put(&self, put: impl FnOnce(&mut Kept)) {
        if let Some(kept) = &self.0 {
            put(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let message = request.into_inner();
        self.put_message("spans", &message);
        for resource in message.resource_spans {
            let service = service(resource.resource.as_ref());
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let told = |span| Told { service: service.clone(), span };
            self.put(|kept| kept.spans.extend(spans.map(told)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Keep {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let message = request.into_inner();
        self.put_message("lines", &message);
        for resource in message.resource_logs {
            let service = service(resource.resource.as_ref());
            for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                let (trace, body) = (hex(&record.trace_id), value(record.body.as_ref()));
                let line = Line { service: service.clone(), trace, body };
                self.put(|kept| kept.lines.push(line));
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keep {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let message = request.into_inner();
        self.put_message("metrics", &message);
        for resource in message.resource_metrics {
            let service = service(resource.resource.as_ref());
            let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            let named = metrics.map(|metric| (service.clone(), metric.name));
            self.put(|kept| kept.metrics.extend(named));
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
