//! What was tried, and what showed that a patch holds.

use super::{signal, text, word};
use meta_domain::autofix::TryVerdict;
use meta_proto::common::FixTry;
use meta_proto::orchestrator::{Check, Evidence, TestCount};
use serde_json::{Value, json};

/// Evidence, or null without any.
pub(crate) fn some(found: Option<&Evidence>) -> Value {
    found.map_or(Value::Null, evidence)
}

/// What the verification of a patch showed.
pub(crate) fn evidence(e: &Evidence) -> Value {
    json!({
        "fixer": text(&e.fixer),
        "patch_sha256": e.patch_sha256,
        "base_commit": e.base_commit,
        "passed": e.passed,
        "detail": text(&e.detail),
        "checks": e.checks.iter().map(check).collect::<Vec<_>>(),
        "check_files": e.check_files,
        "restored": e.restored,
    })
}

fn check(c: &Check) -> Value {
    json!({
        "step": c.step,
        "exit": signal::exit(c.exit.as_ref()),
        "duration_ms": c.duration_ms,
        "executions": c.executions,
        "before": c.before.iter().map(tests).collect::<Vec<_>>(),
        "after": c.after.iter().map(tests).collect::<Vec<_>>(),
        "newly_skipped": c.newly_skipped,
    })
}

fn tests(t: &TestCount) -> Value {
    json!({ "tool": t.tool, "executed": t.executed, "failed": t.failed, "skipped": t.skipped })
}

/// What fixers did, oldest first.
pub(crate) fn tries(tries: &[FixTry]) -> Value {
    let one = |t: &FixTry| {
        json!({
            "fixer": t.fixer,
            "title": text(&t.title),
            "verdict": word::<TryVerdict>(t.verdict),
            "detail": text(&t.detail),
            "patch_sha256": text(&t.patch_sha256),
            "files": t.files,
            "added": t.added,
            "removed": t.removed,
        })
    };
    tries.iter().map(one).collect()
}
