//! Spans where work crosses a border, and the context that makes them one trace.
//!
//! A span that goes on here is an SDK span in the present context, so that logs find it. What goes
//! on for longer than a process may live (a run, a step) is told when it has ended, with ids that
//! can be derived from what is stored: its children know their parent all along.

use crate::delivery::Outbox;
use opentelemetry::trace::{
    FutureExt, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer,
};
use opentelemetry::{Context, ContextGuard, InstrumentationScope};
use opentelemetry_sdk::trace::{SdkTracer, SpanData, SpanEvents, SpanLinks, SpanProcessor};
use std::borrow::Cow;
use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use meta_domain::trace::TraceContext;
pub use opentelemetry::KeyValue;

/// One of so many requests that only read is traced, unless `OTEL_TRACES_SAMPLER` decides.
const READS_PER_TRACE: u64 = 100;
/// Traces that a process begins in a second at most, unless `OTEL_TRACES_SAMPLER` decides: every run
/// of an installation that is not under load, and a share that costs next to nothing of one that is.
const TRACES_PER_SECOND: u64 = 20;
/// Traces that it may begin at once after a quiet time.
const TRACES_AT_ONCE: u64 = 100;

/// How many traces may begin: time that is spent ahead, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Budget {
    since: Instant,
    spent: AtomicU64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), spent: AtomicU64::new(0) }
    }

    fn take(&self) -> bool {
        self.take_at(u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now: u64) -> bool {
        const EACH: u64 = 1_000_000_000 / TRACES_PER_SECOND;
        let spend = |spent: u64| {
            let from = spent.max(now);
            (from - now < EACH * TRACES_AT_ONCE).then_some(from + EACH)
        };
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

/// What makes spans, once traces are sent anywhere.
pub(crate) struct Tracing {
    pub(crate) tracer: SdkTracer,
    pub(crate) outbox: Outbox,
    pub(crate) scope: InstrumentationScope,
    /// Who set no sampler gets every change, and some of what only reads.
    pub(crate) own_sampling: bool,
    /// Requests that only read, so far.
    pub(crate) reads: AtomicU64,
    /// Who set no sampler gets no more traces than this allows.
    pub(crate) budget: Budget,
}

static TRACING: OnceLock<Tracing> = OnceLock::new();

pub(crate) fn install(tracing: Tracing) -> bool {
    TRACING.set(tracing).is_ok()
}

/// What makes spans, as long as they could be delivered.
fn telling() -> Option<&'static Tracing> {
    TRACING.get().filter(|tracing| tracing.outbox.is_open())
}

/// Whether work of this place is told: its trace is recorded, and somebody takes it. What is not
/// told needs no attributes.
pub fn is_told(place: TraceContext) -> bool {
    place.sampled && telling().is_some()
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = opentelemetry::time::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where the present work stands in its trace.
pub fn current() -> Option<TraceContext> {
    Context::map_current(of)
}

fn of(context: &Context) -> Option<TraceContext> {
    if !context.has_active_span() {
        return None;
    }
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| TraceContext {
        trace: u128::from_be_bytes(span.trace_id().to_bytes()),
        span: u64::from_be_bytes(span.span_id().to_bytes()),
        sampled: span.is_sampled(),
    })
}

fn remote(context: TraceContext) -> SpanContext {
    let flags = if context.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from(context.trace), SpanId::from(context.span));
    SpanContext::new(trace, span, flags, true, TraceState::NONE)
}

/// What a span is to its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It answers a request.
    Server,
    /// It asks somebody.
    Client,
    /// It is a part of the work.
    Internal,
    /// It does what was put into a queue.
    Consumer,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Internal => Self::Internal,
            Kind::Consumer => Self::Consumer,
        }
    }
}

/// Work that goes on; it ends when this is dropped. Without a trace it is nothing.
#[derive(Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// A part of what `parent` names. Where it is not told, the work is only said to belong to it, so
    /// that logs name it and calls pass it on; name and attributes are not made then.
    pub fn under(
        parent: TraceContext,
        kind: Kind,
        name: impl Display,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let above = Context::new().with_remote_span_context(remote(parent));
        Self(Some(match telling() {
            Some(tracing) if parent.sampled || !tracing.own_sampling => {
                tracing.start(&above, kind, name.to_string(), attributes())
            }
            Some(_) | None => above,
        }))
    }

    /// A trace of its own, when one is wanted: `reads` says that nothing is changed by it. None begins
    /// while the collector is away: its parts would look for it later.
    pub fn root(
        reads: bool,
        kind: Kind,
        name: impl Display,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let Some(tracing) = telling() else { return Self(None) };
        if tracing.own_sampling && !tracing.wants(reads) {
            return Self(None);
        }
        Self(Some(tracing.start(&Context::new(), kind, name.to_string(), attributes())))
    }

    /// Work that belongs to this, and is not told by itself.
    pub fn as_part_of(place: TraceContext) -> Self {
        Self(Some(Context::new().with_remote_span_context(remote(place))))
    }

    /// Work that belongs to no trace.
    pub fn none() -> Self {
        Self(None)
    }

    /// What a part of it has as its parent.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().and_then(of)
    }

    /// Says more of it.
    pub fn set(&self, attribute: impl FnOnce() -> KeyValue) {
        if let Some(context) = &self.0
            && context.span().is_recording()
        {
            context.span().set_attribute(attribute());
        }
    }

    /// It did not end well.
    pub fn fail(&self, why: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(why));
        }
    }

    /// Carries a future out as part of it.
    pub async fn carry<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// What is done while the guard lives is part of it.
    #[must_use]
    pub fn enter(&self) -> Option<ContextGuard> {
        self.0.clone().map(Context::attach)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

impl Tracing {
    /// Whether a request that names no trace begins one.
    fn wants(&self, reads: bool) -> bool {
        let rare = || self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(READS_PER_TRACE);
        (!reads || rare()) && self.budget.take()
    }

    fn start(
        &self,
        above: &Context,
        kind: Kind,
        name: String,
        attributes: Vec<KeyValue>,
    ) -> Context {
        let builder = self.tracer.span_builder(name).with_kind(kind.into());
        above.with_span(self.tracer.build_with_context(builder.with_attributes(attributes), above))
    }
}

/// Carries a future out as part of what goes on now, wherever it is polled.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_current_context()
}

/// Work that has ended, told as a whole.
#[derive(Debug)]
pub struct Ended {
    /// Itself.
    pub context: TraceContext,
    /// Its parent's span in the same trace.
    pub parent: u64,
    /// What it was to its parent.
    pub kind: Kind,
    /// What it is called.
    pub name: Cow<'static, str>,
    /// When it began, in milliseconds since the epoch.
    pub began_ms: i64,
    /// When it ended, in milliseconds since the epoch.
    pub ended_ms: i64,
    /// What it was.
    pub attributes: Vec<KeyValue>,
    /// Why it did not end well, when it did not.
    pub failure: Option<String>,
}

fn at(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Tells work that has ended, when its trace is recorded.
pub fn tell(ended: Ended) {
    let Some(tracing) = telling().filter(|_| ended.context.sampled) else { return };
    let own = remote(ended.context);
    tracing.outbox.on_end(SpanData {
        span_context: SpanContext::new(
            own.trace_id(),
            own.span_id(),
            own.trace_flags(),
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::from(ended.parent),
        parent_span_is_remote: true,
        span_kind: ended.kind.into(),
        name: ended.name,
        start_time: at(ended.began_ms),
        end_time: at(ended.ended_ms),
        attributes: ended.attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: ended.failure.map_or(Status::Unset, Status::error),
        instrumentation_scope: tracing.scope.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_under_load_begins_so_many_traces_and_no_more() {
        let budget = Budget::new();
        let taken = |from: u64, tries: u64| (0..tries).filter(|_| budget.take_at(from)).count();
        let second = 1_000_000_000;
        assert_eq!(taken(0, 1_000), 100, "at once");
        assert_eq!(taken(second, 1_000), 20, "after a second");
        assert_eq!(taken(2 * second, 1_000), 20);
        assert_eq!(taken(60 * second, 1_000), 100, "after a quiet time");
    }
}
