//! Plain retries on the same commit, and how long they wait.

use super::history::History;
use super::reason;
use meta_domain::autofix::{Case, Decision};
use meta_domain::failure::FailureType;

/// The wait before a first retry, in milliseconds.
const BACKOFF_BASE_MS: f64 = 1000.0;
/// The largest share of a wait that jitter adds.
const JITTER_SHARE: f64 = 0.1;
/// Re-runs of a failed test on the same commit, to tell a flake from a failure.
const FLAKE_RERUNS_MAX: u32 = 1;

/// A retry when the type allows it, the signal does not rule it out, and some are left.
pub(super) fn plain(case: &Case, history: &History<'_>, jitter: f64) -> Option<Decision> {
    let signal = &case.signal;
    let policy = signal.failure_type.policy();
    let done = history.retries(signal.failure_type);
    if !policy.can_retry || !signal.can_retry || done >= policy.retries_max {
        return None;
    }
    if signal.failure_type == FailureType::Runtime && reason::missing_module(case).is_some() {
        return None;
    }
    let reason =
        format!("{} failure: retry {} of {}", signal.failure_type, done + 1, policy.retries_max);
    Some(after(case, policy.backoff_multiplier, done, jitter, reason))
}

/// One re-run of a failed test: a test that passes on the same commit is flaky, not broken.
pub(super) fn flake_test(case: &Case, history: &History<'_>, jitter: f64) -> Option<Decision> {
    if history.retries(FailureType::TestAssert) >= FLAKE_RERUNS_MAX {
        return None;
    }
    let reason = "a failed test is run once more on the same commit to tell a flake".to_owned();
    Some(after(case, 1.0, 0, jitter, reason))
}

/// One re-run of a step whose very failure went away by itself before, whatever its type: first of
/// all, since nothing else has to be changed if it does so again.
pub(super) fn known_flake(case: &Case, history: &History<'_>, jitter: f64) -> Option<Decision> {
    if !case.known_flaky || history.was_retried(&case.signal.fingerprint) {
        return None;
    }
    let reason = "this very failure of the step went away by itself before: one retry first";
    Some(after(case, 1.0, 0, jitter, reason.to_owned()))
}

/// The one retry of a step that its time limit ended.
pub(super) fn after_time_limit(case: &Case, jitter: f64) -> Decision {
    let reason = "the step passed its time limit: one retry".to_owned();
    after(case, 1.0, 0, jitter, reason)
}

fn after(case: &Case, multiplier: f64, done: u32, jitter: f64, reason: String) -> Decision {
    let cap_ms = f64::from(case.settings.backoff_cap_seconds) * 1000.0;
    let exponential = BACKOFF_BASE_MS * multiplier.powi(i32::try_from(done).unwrap_or(i32::MAX));
    let asked = case
        .signal
        .retry_after_ms
        .map_or(0.0, |ms| f64::from(u32::try_from(ms).unwrap_or(u32::MAX)));
    let wait = exponential.max(asked).min(cap_ms);
    let jittered = wait * (1.0 + JITTER_SHARE * jitter.clamp(0.0, 1.0));
    let reason = if asked > 0.0 {
        format!("{reason}; the server asked for {:.1} s", asked / 1000.0)
    } else {
        reason
    };
    Decision::RetryStep { backoff_ms: whole_ms(jittered), reason }
}

/// Milliseconds without the fraction; the value is at most a cap of minutes.
fn whole_ms(ms: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(ms.max(0.0) / 1000.0)
        .map_or(u64::MAX, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
