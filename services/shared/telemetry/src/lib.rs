//! What a process tells about itself: every metric as data, `/metrics`, and traces, metrics and logs
//! by OTLP.
//!
//! [`catalogue`] is the one list of metrics. Each knows its labels and their values, so that a label
//! without bounds cannot be written down, and a measurement is a look into an array and an atomic
//! addition. The same numbers are read by whoever scrapes and sent to whoever collects. Spans are
//! made where work crosses a border (HTTP, gRPC, a task), never inside.

pub mod catalogue;
pub mod definition;
mod delivery;
pub mod exposition;
mod instrument;
mod link;
pub mod otlp;
mod process;
pub mod reference;
mod tls;
pub mod trace;

pub use instrument::{Counter, Gauge, Histogram, Metric, Series};
