//! What comes of a delivery, and when the next one is tried.

/// How often a message is sent before it is given up.
pub const TRIES_MAX: u32 = 12;
/// The wait after the first try, in milliseconds.
const FIRST_MS: f64 = 5_000.0;
/// How much longer each wait is than the one before.
const FACTOR: f64 = 3.0;
/// The longest wait, in milliseconds.
const WAIT_MS_MAX: f64 = 6.0 * 3_600_000.0;
/// How much of a wait is left to chance.
const JITTER: f64 = 0.1;

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP status, with how long to wait if it said so, in milliseconds.
    Status {
        /// The status.
        code: u16,
        /// `Retry-After`.
        retry_after_ms: Option<u64>,
    },
    /// Nothing came: why.
    Nothing(String),
}

/// What is done with the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It was taken.
    Delivered,
    /// It is sent again after so many milliseconds.
    Again {
        /// The wait.
        after_ms: i64,
        /// Why.
        why: String,
    },
    /// It is given up.
    Dead {
        /// Why.
        why: String,
    },
    /// It is given up, and nothing is sent there any more.
    Disable {
        /// Why.
        why: String,
    },
}

/// What follows from the answer to the try of this number, from 1; `jitter` is in `[0, 1)`.
pub fn next(answer: &Answer, tries: u32, jitter: f64) -> Next {
    let (why, asked_ms) = match answer {
        Answer::Status { code: 200..=299, .. } => return Next::Delivered,
        Answer::Status { code: 410, .. } => {
            return Next::Disable { why: "the receiver answered 410 (gone)".to_owned() };
        }
        Answer::Status { code, retry_after_ms } => {
            (format!("the receiver answered {code}"), retry_after_ms.unwrap_or(0))
        }
        Answer::Nothing(why) => (why.clone(), 0),
    };
    if tries >= TRIES_MAX {
        return Next::Dead { why };
    }
    #[expect(clippy::cast_precision_loss, reason = "a wait of ages is cut anyway")]
    let asked = asked_ms as f64;
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let wait = (FIRST_MS * FACTOR.powi(exponent)).max(asked).min(WAIT_MS_MAX);
    #[expect(clippy::cast_possible_truncation, reason = "it is at most some hours")]
    let after_ms = (wait * (1.0 + JITTER * jitter)) as i64;
    Next::Again { after_ms, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> Answer {
        Answer::Status { code, retry_after_ms: None }
    }

    #[test]
    fn only_success_is_success_and_gone_is_gone() {
        for code in [200, 202, 204, 299] {
            assert_eq!(next(&status(code), 1, 0.0), Next::Delivered);
        }
        assert!(matches!(next(&status(410), 1, 0.0), Next::Disable { .. }));
        for code in [100, 301, 302, 400, 404, 429, 500, 503] {
            assert!(matches!(next(&status(code), 1, 0.0), Next::Again { .. }), "{code}");
        }
    }

    #[test]
    fn waits_grow_to_a_limit_and_the_last_try_is_the_last() {
        let wait = |tries, jitter| match next(&status(500), tries, jitter) {
            Next::Again { after_ms, .. } => after_ms,
            other => panic!("{other:?}"),
        };
        let waits: Vec<i64> = (1..TRIES_MAX).map(|tries| wait(tries, 0.0)).collect();
        assert_eq!(waits[..4], [5_000, 15_000, 45_000, 135_000]);
        assert!(waits.is_sorted() && waits[10] == 6 * 3_600_000, "{waits:?}");
        assert_eq!(wait(1, 0.999_999), 5_499);
        let why = "the receiver answered 500".to_owned();
        assert_eq!(next(&status(500), TRIES_MAX, 0.0), Next::Dead { why });
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_ages() {
        let asked = |ms| Answer::Status { code: 429, retry_after_ms: Some(ms) };
        let why = "the receiver answered 429".to_owned();
        let again = |after_ms| Next::Again { after_ms, why: why.clone() };
        assert_eq!(next(&asked(60_000), 1, 0.0), again(60_000));
        assert_eq!(next(&asked(1), 1, 0.0), again(5_000));
        assert_eq!(next(&asked(u64::MAX), 1, 0.0), again(6 * 3_600_000));
    }
}
