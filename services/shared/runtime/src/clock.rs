//! The only places where time, ids and randomness come from.

use meta_domain::time::Timestamp;
use meta_domain::trace::TraceContext;
use uuid::Uuid;

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// A fresh UUID version 7; later ids sort after earlier ones.
#[expect(clippy::disallowed_methods, reason = "this is the replacement the lint names")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// A fresh UUID version 7 that names what passes, such as a request. Those of one millisecond are in
/// no order, and none costs a call of the system.
pub fn passing_id() -> Uuid {
    let ms = u64::try_from(now().0).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &rand::random()).into_uuid()
}

/// A place in a trace of its own that nobody records.
pub fn unrecorded_trace() -> TraceContext {
    let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
    TraceContext { trace, span, sampled: false }
}

/// A random number in `[0, 1)`, for backoff jitter.
pub fn jitter() -> f64 {
    rand::random::<f64>()
}

/// 256 random bits in hex, for tokens and keys.
pub fn secret() -> String {
    let bytes: [u8; 32] = rand::random();
    let (high, low) = bytes.split_at(16);
    let number = |half: &[u8]| half.iter().fold(0_u128, |n, byte| (n << 8) | u128::from(*byte));
    format!("{:032x}{:032x}", number(high), number(low))
}
