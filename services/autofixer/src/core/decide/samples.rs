//! A plain case, for tests.

use meta_domain::autofix::{Case, FixTry, Outcome, PastAttempt, Strategy, TryVerdict};
use meta_domain::failure::FailureType;
use meta_domain::plan::{ApprovalMode, Command, PlannedStep};
use meta_domain::settings::{Environment, Settings};
use meta_domain::signal::{EvidenceLine, ExitInfo, Signal};
use std::collections::BTreeMap;

/// A step of this line failed in this way for the first time.
pub(crate) fn case(line: &str, failure_type: FailureType) -> Case {
    let policy = failure_type.policy();
    Case {
        step: PlannedStep {
            name: "check".to_owned(),
            run: Command::Shell(line.to_owned()),
            needs: Vec::new(),
            timeout_ms: 60_000,
            cache: Vec::new(),
            fix: None,
            env: BTreeMap::new(),
            network: false,
            writable: Vec::new(),
            approval: ApprovalMode::Never,
            why: String::new(),
            clean_cache: false,
        runs_on: Vec::new(),
        },
        exit: ExitInfo::code(1),
        signal: Signal {
            failure_type,
            source: "rule".to_owned(),
            message: "it failed".to_owned(),
            severity: policy.severity,
            can_retry: policy.can_retry,
            requires_replan: false,
            confidence: 0.9,
            evidence: Vec::new(),
            locations: Vec::new(),
            tool: String::new(),
            fingerprint: "print".to_owned(),
            retry_after_ms: None,
            runner_up: None,
            unknown_reason: None,
        },
        settings: Settings::default_of(Environment::Staging),
        history: Vec::new(),
        tried: Vec::new(),
        attempts_of_run: 0,
        failure_types_of_run: vec![failure_type],
        parallel_steps: Vec::new(),
        replans_of_run: 0,
        files: Vec::new(),
        patched: false,
        bot_commits_in_a_row: 0,
        plan: Vec::new(),
    }
}

/// Adds a line of evidence.
pub(crate) fn evidence(case: &mut Case, text: &str) {
    case.signal.evidence.push(EvidenceLine { line: 1, text: text.to_owned() });
}

/// An earlier attempt of this case.
pub(crate) fn past(case: &Case, strategy: Strategy, outcome: Outcome) -> PastAttempt {
    PastAttempt {
        failure_type: case.signal.failure_type,
        fingerprint: case.signal.fingerprint.clone(),
        strategy,
        outcome,
        tries: Vec::new(),
    }
}

/// Adds `n` plain retries to the past.
pub(crate) fn retried(case: &mut Case, n: usize) {
    for _ in 0..n {
        let attempt = past(case, Strategy::RetryStep, Outcome::Retried);
        case.history.push(attempt);
        case.attempts_of_run += 1;
    }
}

/// What a fixer did.
pub(crate) fn try_of(fixer: &str, verdict: TryVerdict, patch: &str) -> FixTry {
    FixTry {
        fixer: fixer.to_owned(),
        title: fixer.to_owned(),
        verdict,
        detail: String::new(),
        patch_sha256: patch.to_owned(),
        files: 1,
        added: 1,
        removed: 1,
    }
}
