//! The only places where time, ids and randomness come from.

use meta_domain::time::Timestamp;
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
