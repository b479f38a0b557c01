//! What the loop already did about a step, and what it must not do again.

use meta_domain::autofix::{Case, FixTry, Outcome, PastAttempt, Strategy, TryVerdict};
use meta_domain::failure::FailureType;

/// Patches in a row on one step, without a human between them, after which a human is asked.
const PATCHES_IN_A_ROW_MAX: usize = 3;

/// A case seen from its past.
pub(super) struct History<'a> {
    case: &'a Case,
}

impl<'a> History<'a> {
    pub(super) fn of(case: &'a Case) -> Self {
        Self { case }
    }

    /// Which budget is used up, in words.
    pub(super) fn spent_budget(&self) -> Option<String> {
        let settings = &self.case.settings;
        let of_step = self.case.history.len();
        if self.case.attempts_of_run >= settings.max_total_attempts {
            Some(format!(
                "the run's budget of {} attempts is used up (max_total_attempts)",
                settings.max_total_attempts
            ))
        } else if of_step >= settings.max_per_step_attempts as usize {
            Some(format!(
                "the step's budget of {} attempts is used up (max_per_step_attempts)",
                settings.max_per_step_attempts
            ))
        } else {
            None
        }
    }

    /// Plain retries of the step for failures of this type.
    pub(super) fn retries(&self, failure_type: FailureType) -> u32 {
        self.count(|a| a.strategy == Strategy::RetryStep && a.failure_type == failure_type)
    }

    /// Plain retries of the step for whatever reason.
    pub(super) fn retries_of_step(&self) -> u32 {
        self.count(|a| a.strategy == Strategy::RetryStep)
    }

    /// Whether a plain retry answered this very failure of the step already.
    pub(super) fn was_retried(&self, fingerprint: &str) -> bool {
        self.count(|a| a.strategy == Strategy::RetryStep && a.fingerprint == fingerprint) > 0
    }

    fn count(&self, wanted: impl Fn(&PastAttempt) -> bool) -> u32 {
        u32::try_from(self.case.history.iter().filter(|a| wanted(a)).count()).unwrap_or(u32::MAX)
    }

    /// Why the last patch has to go: the step now fails in a worse way, or the same patch came back.
    pub(super) fn made_worse(&self) -> Option<String> {
        let last = self.case.history.last()?;
        if !self.case.patched
            || last.outcome != Outcome::PatchApplied
            || last.strategy == Strategy::Rollback
        {
            return None;
        }
        let now = self.case.signal.failure_type;
        if depth(now) > depth(last.failure_type) {
            return Some(format!(
                "the patch for a {} failure left a {now} failure, which is worse",
                last.failure_type
            ));
        }
        let hash = accepted(last)?.patch_sha256.as_str();
        let same = self.case.history.iter().filter(|a| {
            a.fingerprint == self.case.signal.fingerprint
                && accepted(a).is_some_and(|t| t.patch_sha256 == hash)
        });
        (same.count() >= 2).then(|| {
            "the same failure came back twice after the same patch: it does not hold".to_owned()
        })
    }

    /// Whether the last attempts were all patches.
    pub(super) fn patches_in_a_row(&self) -> bool {
        let patched = |a: &&PastAttempt| {
            a.outcome == Outcome::PatchApplied && a.strategy != Strategy::Rollback
        };
        self.case.history.iter().rev().take_while(patched).count() >= PATCHES_IN_A_ROW_MAX
    }

    /// Whether a fixer may be tried: not on this very failure, not in vain on the same failure of
    /// the same files, and not with a patch that already came back.
    pub(super) fn is_open(&self, fixer: &str) -> bool {
        let by = |t: &&FixTry| t.fixer == fixer;
        if self.case.tried.iter().any(|t| by(&t)) {
            return false;
        }
        let fingerprint = &self.case.signal.fingerprint;
        let since_change = self
            .case
            .history
            .iter()
            .rev()
            .take_while(|a| !matches!(a.outcome, Outcome::PatchApplied | Outcome::Replanned));
        let in_vain = since_change
            .filter(|a| a.fingerprint == *fingerprint)
            .flat_map(|a| &a.tries)
            .any(|t| {
                by(&t) && !matches!(t.verdict, TryVerdict::Accepted | TryVerdict::NeedsApproval)
            });
        let mut patches: Vec<&str> = self
            .case
            .history
            .iter()
            .filter(|a| a.fingerprint == *fingerprint)
            .flat_map(|a| &a.tries)
            .filter(|t| by(t) && t.verdict == TryVerdict::Accepted)
            .map(|t| t.patch_sha256.as_str())
            .collect();
        let all = patches.len();
        patches.sort_unstable();
        patches.dedup();
        !in_vain && patches.len() == all
    }
}

fn accepted(attempt: &PastAttempt) -> Option<&FixTry> {
    attempt.tries.iter().find(|t| t.verdict == TryVerdict::Accepted)
}

/// How early in a build a failure of the code stops it; other failures say nothing about a patch.
fn depth(failure_type: FailureType) -> u32 {
    match failure_type {
        FailureType::Lint => 1,
        FailureType::TestAssert => 2,
        FailureType::Typecheck => 3,
        FailureType::Runtime => 4,
        FailureType::SchemaMigration => 5,
        FailureType::Transient
        | FailureType::RateLimit
        | FailureType::Infra
        | FailureType::Security
        | FailureType::Policy
        | FailureType::Unknown => 0,
    }
}

/// Hashes of patches that did not help against this failure; the same patch is not worth a second
/// verification.
pub fn patches_refused(case: &Case) -> Vec<String> {
    let here = case.history.iter().filter(|a| a.fingerprint == case.signal.fingerprint);
    let tries = here.flat_map(|a| &a.tries).chain(&case.tried);
    let refused = |t: &&FixTry| {
        matches!(t.verdict, TryVerdict::GuardReject | TryVerdict::VerifyFail)
            && !t.patch_sha256.is_empty()
    };
    tries.filter(refused).map(|t| t.patch_sha256.clone()).collect()
}

/// Hashes of patches that are not worth another look: those that did not help against this failure,
/// and those that were committed and taken back.
pub fn given_up(case: &Case) -> Vec<String> {
    let mut hashes = patches_refused(case);
    for (index, attempt) in case.history.iter().enumerate() {
        let back = case.history.get(index + 1).is_some_and(|a| a.strategy == Strategy::Rollback);
        if let Some(patch) = accepted(attempt).filter(|_| back) {
            hashes.push(patch.patch_sha256.clone());
        }
    }
    hashes
}

/// Whether a patch with this hash was already tried on this failure, with or without success, twice.
pub fn repeats(case: &Case, patch_sha256: &str) -> bool {
    let here = case.history.iter().filter(|a| a.fingerprint == case.signal.fingerprint);
    here.flat_map(|a| &a.tries)
        .chain(&case.tried)
        .filter(|t| t.patch_sha256 == patch_sha256)
        .count()
        >= 2
}
