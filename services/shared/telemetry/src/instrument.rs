//! Where measurements go: arrays of atomics, one place for each combination of label values. Nothing
//! is allocated after the first measurement of a series, and nobody waits for anybody.

use crate::definition::{Definition, Kind};
use crate::trace::{self, TraceContext};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram as SentSeries, Histogram as Sent};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Measurements whose label values nobody knows.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many measurements were lost because a label value was none of the known ones.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// The last measurement of a bucket that belongs to a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The trace.
    pub trace: TraceContext,
    /// What was measured.
    pub value: f64,
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
}

/// One series of a histogram.
#[derive(Debug)]
pub struct Buckets {
    /// Measurements by bucket, not added up; the last one is for everything above.
    pub(crate) counts: Box<[AtomicU64]>,
    /// The sum in thousandths of a millionth: no loop, and no rounding that anybody could see.
    sum_nano: AtomicU64,
    /// The last measurement with a trace, by bucket.
    pub(crate) exemplars: Box<[Mutex<Option<Exemplar>>]>,
    attributes: Box<[KeyValue]>,
    /// The same series as it is sent, found once.
    sent: OnceLock<SentSeries<f64>>,
}

impl Buckets {
    /// The sum of everything measured.
    pub(crate) fn sum(&self) -> f64 {
        Duration::from_nanos(self.sum_nano.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// The exemplar of a bucket.
    pub(crate) fn exemplar(&self, bucket: usize) -> Option<Exemplar> {
        *self.exemplars.get(bucket)?.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one series holds.
#[derive(Debug)]
pub enum Series {
    /// A count, or the bits of a gauge.
    Number(AtomicU64),
    /// A histogram's.
    Buckets(Buckets),
}

/// A metric with its series.
#[derive(Debug)]
pub struct Metric {
    /// What it is.
    pub definition: Definition,
    series: OnceLock<Box<[OnceLock<Series>]>>,
    sent: OnceLock<Sent<f64>>,
}

impl Metric {
    const fn new(definition: Definition) -> Self {
        Self { definition, series: OnceLock::new(), sent: OnceLock::new() }
    }

    fn all(&self) -> &[OnceLock<Series>] {
        let made = || (0..self.definition.series_max()).map(|_| OnceLock::new()).collect();
        self.series.get_or_init(made)
    }

    fn series(&self, values: &[&str]) -> Option<&Series> {
        let found = self.definition.place(values).and_then(|place| {
            let series = self.all().get(place)?;
            Some(series.get_or_init(|| self.fresh(place)))
        });
        if found.is_none() {
            LOST.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(metric = self.definition.name, ?values, "a measurement is lost");
        }
        found
    }

    fn fresh(&self, place: usize) -> Series {
        match self.definition.kind {
            Kind::Counter | Kind::Gauge => Series::Number(AtomicU64::new(0)),
            Kind::Histogram(bounds) => {
                let buckets = bounds.len() + 1;
                Series::Buckets(Buckets {
                    counts: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
                    sum_nano: AtomicU64::new(0),
                    exemplars: (0..buckets).map(|_| Mutex::new(None)).collect(),
                    attributes: self.attributes(place).into(),
                    sent: OnceLock::new(),
                })
            }
        }
    }

    /// The label values of a series as OpenTelemetry has them.
    pub(crate) fn attributes(&self, place: usize) -> Vec<KeyValue> {
        let values = self.definition.values(place);
        let pair = |(label, value): (&crate::definition::Label, &'static str)| {
            KeyValue::new(label.name, value)
        };
        self.definition.labels.iter().zip(values).map(pair).collect()
    }

    /// Every series that was measured or announced, with its place.
    pub(crate) fn each(&self, mut see: impl FnMut(usize, &Series)) {
        for (place, series) in self.series.get().into_iter().flatten().enumerate() {
            if let Some(series) = series.get() {
                see(place, series);
            }
        }
    }

    /// Histograms are also given to this one from now on.
    pub(crate) fn send_to(&self, sent: Sent<f64>) {
        // a second sender of one process would count twice
        let _ = self.sent.set(sent);
    }

    /// Shows every series from now on, at zero where nothing was measured: a rate over a counter
    /// that begins with its first event would miss that event.
    pub fn announce(&self) {
        for (place, series) in self.all().iter().enumerate() {
            series.get_or_init(|| self.fresh(place));
        }
    }
}

/// Counts what happens.
#[derive(Debug)]
pub struct Counter(pub Metric);

/// Says how things are.
#[derive(Debug)]
pub struct Gauge(pub Metric);

/// Measures how long something takes.
#[derive(Debug)]
pub struct Histogram(pub Metric);

impl Counter {
    /// One that nothing was counted with.
    pub const fn new(definition: Definition) -> Self {
        Self(Metric::new(definition))
    }

    /// Counts `by` more for these label values, in the order of the definition.
    pub fn add(&self, values: &[&str], by: u64) {
        if let Some(Series::Number(count)) = self.0.series(values) {
            count.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// What was counted for these label values.
    pub fn value(&self, values: &[&str]) -> u64 {
        match self.0.series(values) {
            Some(Series::Number(count)) => count.load(Ordering::Relaxed),
            _ => 0,
        }
    }
}

impl Gauge {
    /// One that was not set.
    pub const fn new(definition: Definition) -> Self {
        Self(Metric::new(definition))
    }

    /// Sets it for these label values.
    pub fn set(&self, values: &[&str], value: f64) {
        if let Some(Series::Number(bits)) = self.0.series(values) {
            bits.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Histogram {
    /// One that nothing was measured with.
    pub const fn new(definition: Definition) -> Self {
        Self(Metric::new(definition))
    }

    /// Measures for these label values, as part of the present trace if there is one.
    pub fn record(&self, values: &[&str], took: Duration) {
        self.record_in(values, took, trace::current());
    }

    /// The same as part of this trace.
    pub fn record_in(&self, values: &[&str], took: Duration, within: Option<TraceContext>) {
        if let Some(Series::Buckets(buckets)) = self.0.series(values) {
            self.put(buckets, took, within);
        }
    }

    fn put(&self, buckets: &Buckets, took: Duration, within: Option<TraceContext>) {
        let Kind::Histogram(bounds) = self.0.definition.kind else { return };
        let value = took.as_secs_f64();
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        buckets.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nano = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        buckets.sum_nano.fetch_add(nano, Ordering::Relaxed);
        if let Some(trace) = within.filter(|trace| trace.sampled)
            && let Ok(mut exemplar) = buckets.exemplars[bucket].try_lock()
        {
            *exemplar = Some(Exemplar { trace, value, at_ms: trace::now_ms() });
        }
        if let Some(sent) = self.0.sent.get() {
            buckets.sent.get_or_init(|| sent.bind(&buckets.attributes)).record(value);
        }
    }
}
