//! Sending to a collector by OTLP over gRPC, as the standard `OTEL_*` variables say. Nothing is sent
//! without an endpoint. Queues are bounded: what a collector does not take is dropped and counted,
//! and nobody waits for it.

use crate::catalogue::{ALL, EXPORT_FAILURES};
use crate::definition::Kind;
use crate::instrument::{Metric, Series};
use crate::trace::{self, Tracing};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanProcessor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The name of what makes spans and metrics.
const SCOPE: &str = "metabuilder";
/// How long the last batches may take when the process ends.
const FLUSH: Duration = Duration::from_secs(3);

/// What layers a process's logs for the collector.
pub type Bridge = OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>;

/// What a process sends.
#[derive(Debug, Default)]
pub struct Export {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// Which process this is.
#[derive(Debug, Clone)]
pub struct Process {
    /// The service, unless `OTEL_SERVICE_NAME` says another name.
    pub service: String,
    /// Its version.
    pub version: &'static str,
    /// `development`, `staging` or `production`.
    pub environment: String,
    /// Names this process among those of the same service.
    pub instance: String,
}

/// Whether a signal is to be sent.
fn wanted(vars: &BTreeMap<String, String>, signal: &str) -> bool {
    let given = |name: &str| vars.get(name).map(|v| v.trim()).filter(|v| !v.is_empty());
    let disabled = given("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
    let endpoint = given("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| given(&own)).is_some();
    let none = given(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|v| v == "none");
    endpoint && !disabled && !none
}

impl Export {
    /// Starts sending what the variables ask for. Call it once, within tokio.
    ///
    /// # Errors
    /// When a variable does not fit.
    pub fn start(vars: &BTreeMap<String, String>, process: &Process) -> Result<Self, String> {
        let resource = resource(vars, process);
        let mut export = Self::default();
        if wanted(vars, "TRACES") {
            let exporter = SpanExporter::builder().with_tonic().build();
            let exporter = exporter.map_err(|e| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {e}"))?;
            let own_sampling = vars.get("OTEL_TRACES_SAMPLER").is_none_or(String::is_empty);
            let exporter = Watched::new(exporter, "traces");
            export.traces = Some(traces(exporter, resource.clone(), own_sampling));
        }
        if wanted(vars, "METRICS") {
            let exporter = MetricExporter::builder().with_tonic().build();
            let exporter = exporter.map_err(|e| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {e}"))?;
            export.metrics = Some(metrics(Watched::new(exporter, "metrics"), resource.clone()));
        }
        if wanted(vars, "LOGS") {
            let exporter = LogExporter::builder().with_tonic().build();
            let exporter = exporter.map_err(|e| format!("OTEL_EXPORTER_OTLP_ENDPOINT: {e}"))?;
            let provider = SdkLoggerProvider::builder().with_resource(resource);
            let provider = provider.with_batch_exporter(Watched::new(exporter, "logs"));
            export.logs = Some(provider.build());
        }
        Ok(export)
    }

    /// What gives logs to the collector, when they are sent.
    pub fn bridge(&self) -> Option<Bridge> {
        self.logs.as_ref().map(OpenTelemetryTracingBridge::new)
    }

    /// Sends what is left and ends. Not on a worker of the runtime: the sending needs those.
    pub async fn end(self) {
        let ending = tokio::task::spawn_blocking(move || {
            // a collector that is away is no reason to end badly, and its absence was counted
            let _ = self.traces.map(|p| p.shutdown_with_timeout(FLUSH));
            let _ = self.logs.map(|p| p.shutdown_with_timeout(FLUSH));
            let _ = self.metrics.map(|p| p.shutdown_with_timeout(FLUSH));
        });
        if tokio::time::timeout(FLUSH, ending).await.is_err() {
            tracing::warn!("the collector did not take the last telemetry in time");
        }
    }
}

fn resource(vars: &BTreeMap<String, String>, process: &Process) -> Resource {
    let named = vars.get("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
    Resource::builder()
        .with_service_name(named.cloned().unwrap_or_else(|| process.service.clone()))
        .with_attributes([
            KeyValue::new("service.namespace", "metabuilder"),
            KeyValue::new("service.version", process.version),
            KeyValue::new("service.instance.id", process.instance.clone()),
            KeyValue::new("deployment.environment.name", process.environment.clone()),
        ])
        .build()
}

fn traces(
    exporter: Watched<SpanExporter>,
    resource: Resource,
    own_sampling: bool,
) -> SdkTracerProvider {
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource);
    let processor = Arc::new(processor);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(SharedProcessor(Arc::clone(&processor)))
        .build();
    let scope = InstrumentationScope::builder(SCOPE).build();
    let tracer = provider.tracer_with_scope(scope.clone());
    let reads = AtomicU64::new(0);
    if !trace::install(Tracing { tracer, processor, scope, own_sampling, reads }) {
        tracing::debug!("traces were started before");
    }
    provider
}

fn metrics(exporter: Watched<MetricExporter>, resource: Resource) -> SdkMeterProvider {
    let provider = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_periodic_exporter(exporter)
        .build();
    let meter = provider.meter(SCOPE);
    for metric in ALL {
        observe(&meter, metric);
    }
    provider
}

/// Lets the collector's reader see what whoever scrapes sees.
fn observe(meter: &Meter, metric: &'static Metric) {
    let definition = &metric.definition;
    let numbers = move |see: &mut dyn FnMut(u64, &[KeyValue])| {
        metric.each(|place, series| {
            if let Series::Number(bits) = series {
                see(bits.load(Ordering::Relaxed), &metric.attributes(place));
            }
        });
    };
    match definition.kind {
        Kind::Counter => {
            let _registered = meter
                .u64_observable_counter(definition.name)
                .with_unit(definition.unit)
                .with_description(definition.help)
                .with_callback(move |to| numbers(&mut |n, labels| to.observe(n, labels)))
                .build();
        }
        Kind::Gauge => {
            let _registered = meter
                .f64_observable_gauge(definition.name)
                .with_unit(definition.unit)
                .with_description(definition.help)
                .with_callback(move |to| {
                    numbers(&mut |n, labels| to.observe(f64::from_bits(n), labels));
                })
                .build();
        }
        Kind::Histogram(bounds) => metric.send_to(
            meter
                .f64_histogram(definition.name)
                .with_unit(definition.unit)
                .with_description(definition.help)
                .with_boundaries(bounds.to_vec())
                .build(),
        ),
    }
}

/// One processor for the spans of the SDK and for those that are told as a whole.
#[derive(Debug)]
struct SharedProcessor(Arc<BatchSpanProcessor>);

impl SpanProcessor for SharedProcessor {
    fn on_start(
        &self,
        _span: &mut opentelemetry_sdk::trace::Span,
        _context: &opentelemetry::Context,
    ) {
    }
    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// Counts what an exporter could not send, and says it once each time that it begins.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    signal: &'static str,
    failing: AtomicBool,
}

impl<E> Watched<E> {
    fn new(exporter: E, signal: &'static str) -> Self {
        EXPORT_FAILURES.add(&[signal], 0);
        Self { exporter, signal, failing: AtomicBool::new(false) }
    }

    fn seen(&self, result: OTelSdkResult) -> OTelSdkResult {
        let failed = result.is_err();
        if failed {
            EXPORT_FAILURES.add(&[self.signal], 1);
        }
        if self.failing.swap(failed, Ordering::Relaxed) != failed {
            if let Err(error) = &result {
                tracing::warn!(signal = self.signal, %error, "the collector is away");
            } else {
                tracing::info!(signal = self.signal, "the collector is back");
            }
        }
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Watched<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.seen(self.exporter.export(batch).await)
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Watched<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.seen(self.exporter.export(metrics).await)
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }
    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

impl opentelemetry_sdk::logs::LogExporter for Watched<LogExporter> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        self.seen(self.exporter.export(batch).await)
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::wanted;
    use std::collections::BTreeMap;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn nothing_is_sent_without_an_endpoint() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        assert!(!wanted(&vars(&[]), "TRACES"));
        assert!(!wanted(&vars(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), "TRACES"));
        assert!(wanted(&vars(&[all]), "TRACES") && wanted(&vars(&[all]), "LOGS"));
        assert!(!wanted(&vars(&[all, ("OTEL_SDK_DISABLED", "TRUE")]), "TRACES"));
        let without_logs = vars(&[all, ("OTEL_LOGS_EXPORTER", "none")]);
        assert!(!wanted(&without_logs, "LOGS") && wanted(&without_logs, "METRICS"));
        let one = vars(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4317")]);
        assert!(wanted(&one, "TRACES") && !wanted(&one, "METRICS"));
    }
}
