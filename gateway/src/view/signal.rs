//! Failure signals.

use super::{text, word};
use meta_domain::failure::{FailureType, Severity};
use meta_domain::signal::UnknownReason;
use meta_proto::common as pb;
use serde_json::{Value, json};

/// A signal as an object; null when there is none.
pub(crate) fn signal(signal: Option<&pb::FailureSignal>) -> Value {
    let Some(s) = signal else { return Value::Null };
    let evidence = s.evidence.iter().map(|e| json!({ "line": e.line, "text": e.text }));
    json!({
        "type": word::<FailureType>(s.r#type),
        "source": s.source,
        "message": s.message,
        "severity": word::<Severity>(s.severity),
        "can_retry": s.can_retry,
        "requires_replan": s.requires_replan,
        "confidence": s.confidence,
        "evidence": evidence.collect::<Vec<_>>(),
        "locations": s.locations.iter().map(location).collect::<Vec<_>>(),
        "tool": text(&s.tool),
        "fingerprint": s.fingerprint,
        "retry_after_ms": s.retry_after_ms,
        "runner_up": word::<FailureType>(s.runner_up),
        "unknown_reason": unknown_reason(s.unknown_reason),
    })
}

fn location(l: &pb::Location) -> Value {
    let number = |n: u32| (n > 0).then_some(n);
    json!({
        "file": text(&l.file),
        "line": number(l.line),
        "column": number(l.column),
        "code": text(&l.code),
        "test": text(&l.test),
    })
}

fn unknown_reason(number: i32) -> Value {
    let reason = meta_proto::convert::word_opt::<UnknownReason>("", number).ok().flatten();
    reason.map_or(Value::Null, |r| json!(r))
}

/// How a process ended; null when it did not.
pub(crate) fn exit(exit: Option<&pb::ExitInfo>) -> Value {
    exit.map_or(Value::Null, |e| {
        json!({
            "code": e.code,
            "signal": e.signal,
            "timed_out": e.timed_out,
            "oom_killed": e.oom_killed,
            "runner_lost": e.runner_lost,
        })
    })
}
