//! Sending to a collector by OTLP over gRPC, as the standard `OTEL_*` variables say. Nothing is sent
//! without an endpoint. Queues are bounded: what a collector does not take is dropped and counted,
//! and nobody waits for it. While it is away, nothing is made for it.

use crate::catalogue::{ALL, TELEMETRY_DROPPED};
use crate::definition::Kind;
use crate::delivery::{Lines, Outbox, Watched};
use crate::instrument::{Metric, Series};
use crate::link::Link;
use crate::tls;
use crate::trace::{self, Budget, Tracing};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanProcessor,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The name of what makes spans and metrics.
const SCOPE: &str = "metabuilder";
/// How many spans, or lines of logs, may wait for the collector, unless a variable says.
const WAITING: usize = 2_048;
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
            let mut exporter = SpanExporter::builder().with_tonic();
            if let Some(tls) = tls::settings(vars, "TRACES")? {
                exporter = exporter.with_tls_config(tls);
            }
            let exporter = exporter.build().map_err(|e| refused(&e))?;
            let own_sampling = vars.get("OTEL_TRACES_SAMPLER").is_none_or(String::is_empty);
            let link = Arc::new(Link::new("traces", room(vars, "OTEL_BSP_MAX_QUEUE_SIZE")));
            export.traces = Some(traces(exporter, link, resource.clone(), own_sampling));
        }
        if wanted(vars, "METRICS") {
            let mut exporter = MetricExporter::builder().with_tonic();
            if let Some(tls) = tls::settings(vars, "METRICS")? {
                exporter = exporter.with_tls_config(tls);
            }
            let exporter = exporter.build().map_err(|e| refused(&e))?;
            // they wait nowhere: each time, the numbers as they are then are sent
            let link = Arc::new(Link::new("metrics", 0));
            export.metrics = Some(metrics(Watched::new(exporter, link), resource.clone()));
        }
        if wanted(vars, "LOGS") {
            let mut exporter = LogExporter::builder().with_tonic();
            if let Some(tls) = tls::settings(vars, "LOGS")? {
                exporter = exporter.with_tls_config(tls);
            }
            let exporter = exporter.build().map_err(|e| refused(&e))?;
            let link = Arc::new(Link::new("logs", room(vars, "OTEL_BLRP_MAX_QUEUE_SIZE")));
            export.logs = Some(logs(exporter, link, resource));
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

fn refused(error: &impl std::fmt::Display) -> String {
    format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}")
}

/// How many may wait, as the variable says; one that makes no sense says nothing.
fn room(vars: &BTreeMap<String, String>, name: &str) -> usize {
    let given = vars.get(name).and_then(|value| value.trim().parse().ok());
    given.filter(|room| *room > 0).unwrap_or(WAITING)
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
    exporter: SpanExporter,
    link: Arc<Link>,
    resource: Resource,
    own_sampling: bool,
) -> SdkTracerProvider {
    TELEMETRY_DROPPED.add(&[link.signal()], 0);
    let config = BatchConfigBuilder::default().with_max_queue_size(link.room()).build();
    let exporter = Watched::new(exporter, Arc::clone(&link));
    let mut processor = BatchSpanProcessor::new(exporter, config);
    processor.set_resource(&resource);
    let outbox = Outbox::new(processor, link);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(outbox.clone())
        .build();
    let scope = InstrumentationScope::builder(SCOPE).build();
    let tracer = provider.tracer_with_scope(scope.clone());
    let (reads, budget) = (AtomicU64::new(0), Budget::new());
    if !trace::install(Tracing { tracer, outbox, scope, own_sampling, reads, budget }) {
        tracing::debug!("traces were started before");
    }
    provider
}

fn logs(exporter: LogExporter, link: Arc<Link>, resource: Resource) -> SdkLoggerProvider {
    TELEMETRY_DROPPED.add(&[link.signal()], 0);
    let config = opentelemetry_sdk::logs::BatchConfigBuilder::default();
    let processor = BatchLogProcessor::builder(Watched::new(exporter, Arc::clone(&link)))
        .with_batch_config(config.with_max_queue_size(link.room()).build())
        .build();
    SdkLoggerProvider::builder()
        .with_resource(resource)
        .with_log_processor(Lines::new(processor, link))
        .build()
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

#[cfg(test)]
mod tests {
    use super::{room, wanted};
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
    #[test]
    fn how_many_may_wait_is_a_number_above_zero() {
        let name = "OTEL_BSP_MAX_QUEUE_SIZE";
        assert_eq!(room(&vars(&[(name, " 7 ")]), name), 7);
        for wrong in ["", "0", "many", "-1"] {
            assert_eq!(room(&vars(&[(name, wrong)]), name), super::WAITING);
        }
    }
}
