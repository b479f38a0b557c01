//! What whoever scrapes is shown: Prometheus' text, and OpenMetrics with exemplars for who asks.

use crate::catalogue::ALL;
use crate::definition::{Definition, Kind};
use crate::instrument::{Buckets, Exemplar, Metric, Series};
use crate::process;
use std::fmt::Write;
use std::sync::atomic::Ordering;

/// The media type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of Prometheus' own text.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a scraper's `Accept` asks for OpenMetrics.
pub fn wants_open_metrics(accept: &str) -> bool {
    accept.contains("application/openmetrics-text")
}

/// Everything, now.
pub fn render(open_metrics: bool) -> String {
    let mut page = Page { text: String::with_capacity(16 * 1024), open_metrics };
    for metric in ALL {
        page.metric(metric);
    }
    for (name, kind, help, value) in process::numbers() {
        page.head(name, kind, help);
        page.line(name, "", "", value, None);
    }
    let lost = crate::instrument::lost();
    let name = "metabuilder_telemetry_lost_total";
    page.head(name, "counter", "Measurements that were lost because a label value is not known.");
    page.line(name, "", "", lost, None);
    if open_metrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    open_metrics: bool,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // OpenMetrics names the family of a counter without the suffix of its samples
        let plain = name.strip_suffix("_total").filter(|_| self.open_metrics && kind == "counter");
        let name = plain.unwrap_or(name);
        let help = help.replace('\\', "\\\\").replace('\n', " ");
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &str,
        value: impl std::fmt::Display,
        exemplar: Option<Exemplar>,
    ) {
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.text.push_str(&format!("{name}{suffix}{braces} {value}"));
        if let Some(Exemplar { trace, value, at_ms }) = exemplar.filter(|_| self.open_metrics) {
            let (trace, span, seconds) = (trace.trace, trace.span, at_ms / 1000);
            self.text.push_str(&format!(
                " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {value} {seconds}.{:03}",
                at_ms % 1000
            ));
        }
        self.text.push('\n');
    }

    fn metric(&mut self, metric: &Metric) {
        let definition = &metric.definition;
        let name = definition.prometheus();
        let mut first = true;
        metric.each(|place, series| {
            if std::mem::take(&mut first) {
                self.head(&name, word(definition.kind), definition.help);
            }
            let labels = labels(definition, place);
            match (series, definition.kind) {
                (Series::Number(bits), Kind::Gauge) => {
                    let value = f64::from_bits(bits.load(Ordering::Relaxed));
                    self.line(&name, "", &labels, value, None);
                }
                (Series::Number(count), _) => {
                    self.line(&name, "", &labels, count.load(Ordering::Relaxed), None);
                }
                (Series::Buckets(buckets), Kind::Histogram(bounds)) => {
                    self.histogram(&name, &labels, buckets, bounds);
                }
                (Series::Buckets(_), _) => {}
            }
        });
    }

    fn histogram(&mut self, name: &str, labels: &str, buckets: &Buckets, bounds: &[f64]) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (place, count) in buckets.counts.iter().enumerate() {
            sum += count.load(Ordering::Relaxed);
            let bound = bounds.get(place).map_or_else(|| "+Inf".to_owned(), |b| bound(*b));
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            self.line(name, "_bucket", &labels, sum, buckets.exemplar(place));
        }
        self.line(name, "_sum", labels, buckets.sum(), None);
        self.line(name, "_count", labels, sum, None);
    }
}

/// Bounds are written with a point: OpenMetrics wants them so, and both must be the same series.
fn bound(bound: f64) -> String {
    format!("{bound:?}")
}

pub(crate) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

fn labels(definition: &Definition, place: usize) -> String {
    let mut text = String::new();
    for (label, value) in definition.labels.iter().zip(definition.values(place)) {
        let comma = if text.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // writing into a string cannot fail
        let _ = write!(text, "{comma}{}=\"{value}\"", label.prometheus());
    }
    text
}
