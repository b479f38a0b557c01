//! What stands between the SDK and the collector: nothing is queued, copied or encoded that cannot be
//! delivered.

use crate::catalogue::EXPORT_FAILURES;
use crate::link::Link;
use opentelemetry::InstrumentationScope;
use opentelemetry::logs::Severity;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{BatchLogProcessor, LogBatch, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};
use std::sync::Arc;
use std::time::Duration;

/// One processor for the spans of the SDK and for those that are told as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(Arc<Sending>);

#[derive(Debug)]
struct Sending {
    processor: BatchSpanProcessor,
    link: Arc<Link>,
}

impl Outbox {
    /// What goes to this processor, as long as the link takes it.
    pub(crate) fn new(processor: BatchSpanProcessor, link: Arc<Link>) -> Self {
        Self(Arc::new(Sending { processor, link }))
    }

    /// Whether a span that is made now could be delivered.
    pub(crate) fn is_open(&self) -> bool {
        self.0.link.is_open()
    }
}

impl SpanProcessor for Outbox {
    fn on_start(
        &self,
        _span: &mut opentelemetry_sdk::trace::Span,
        _context: &opentelemetry::Context,
    ) {
    }
    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.0.link.admit() {
            self.0.processor.on_end(span);
        }
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.0.processor.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.processor.shutdown_with_timeout(timeout)
    }
}

/// The lines of the process's logs that wait for the collector.
#[derive(Debug)]
pub(crate) struct Lines {
    processor: BatchLogProcessor,
    link: Arc<Link>,
}

impl Lines {
    /// What goes to this processor, as long as the link takes it.
    pub(crate) fn new(processor: BatchLogProcessor, link: Arc<Link>) -> Self {
        Self { processor, link }
    }
}

impl LogProcessor for Lines {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.link.admit() {
            self.processor.emit(record, scope);
        }
    }
    /// Asked once for each line, before anything is made of it.
    fn event_enabled(&self, _level: Severity, _target: &str, _name: Option<&str>) -> bool {
        let open = self.link.is_open();
        if !open {
            self.link.dropped(1);
        }
        open
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Counts what an exporter could not send, says it once each time that it begins, and leaves the
/// collector alone for a while then.
#[derive(Debug)]
pub(crate) struct Watched<E> {
    exporter: E,
    link: Arc<Link>,
}

impl<E> Watched<E> {
    /// This exporter, whose batches go this way.
    pub(crate) fn new(exporter: E, link: Arc<Link>) -> Self {
        EXPORT_FAILURES.add(&[link.signal()], 0);
        Self { exporter, link }
    }

    /// Sends a batch, unless nothing is to be tried now; `sending` does nothing until it is polled.
    async fn send(
        &self,
        items: usize,
        sending: impl Future<Output = OTelSdkResult>,
    ) -> OTelSdkResult {
        self.link.taken(items);
        if !self.link.is_open() {
            self.link.dropped(items);
            return Err(OTelSdkError::InternalFailure("the collector is away".to_owned()));
        }
        let result = sending.await;
        let signal = self.link.signal();
        match &result {
            Ok(()) => {
                if self.link.arrived() {
                    tracing::info!(signal, "the collector is back");
                }
            }
            Err(error) => {
                EXPORT_FAILURES.add(&[signal], 1);
                self.link.dropped(items);
                if self.link.failed() {
                    tracing::warn!(signal, %error, "the collector is away");
                }
            }
        }
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Watched<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.send(batch.len(), self.exporter.export(batch)).await
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
        self.send(0, self.exporter.export(metrics)).await
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
        self.send(batch.iter().count(), self.exporter.export(batch)).await
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
    use super::*;
    use crate::catalogue::TELEMETRY_DROPPED;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A collector that is there or not, and how often somebody tried.
    async fn send(watched: &Watched<()>, items: usize, there: bool, tries: &AtomicUsize) -> bool {
        let sending = async {
            tries.fetch_add(1, Ordering::Relaxed);
            if there { Ok(()) } else { Err(OTelSdkError::InternalFailure("refused".to_owned())) }
        };
        watched.send(items, sending).await.is_ok()
    }

    #[tokio::test]
    async fn a_collector_that_is_away_is_left_alone_and_what_is_for_it_is_counted() {
        let link = Arc::new(Link::new("logs", 10));
        let (watched, tries) = (Watched::new((), Arc::clone(&link)), AtomicUsize::new(0));
        let failures = EXPORT_FAILURES.value(&["logs"]);
        let dropped = TELEMETRY_DROPPED.value(&["logs"]);
        for _ in 0..20 {
            assert!(!send(&watched, 5, false, &tries).await);
        }
        assert_eq!(tries.load(Ordering::Relaxed), 1, "the others are dropped unsent");
        assert_eq!(EXPORT_FAILURES.value(&["logs"]) - failures, 1);
        assert!(TELEMETRY_DROPPED.value(&["logs"]) - dropped >= 100);
        assert!(!link.is_open(), "nothing is made for it");
    }

    #[tokio::test]
    async fn what_arrives_is_not_counted_as_dropped() {
        let link = Arc::new(Link::new("traces", 10));
        let (watched, tries) = (Watched::new((), Arc::clone(&link)), AtomicUsize::new(0));
        for _ in 0..3 {
            assert!((0..10).all(|_| link.admit()), "there is room again");
            assert!(send(&watched, 10, true, &tries).await);
        }
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert!(link.is_open());
    }
}
