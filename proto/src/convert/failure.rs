//! Failure types, signals and exit information.

use super::{Number, all, enum_map, list, word, word_opt};
use crate::common as pb;
use meta_domain::failure::{FailureType, Severity};
use meta_domain::fault::InvalidField;
use meta_domain::signal::{EvidenceLine, ExitInfo, Location, Signal, UnknownReason};

enum_map!(
    FailureType,
    pb::FailureType,
    [
        Transient,
        Infra,
        RateLimit,
        TestAssert,
        Lint,
        Typecheck,
        Runtime,
        SchemaMigration,
        Security,
        Policy,
        Unknown
    ]
);
enum_map!(Severity, pb::Severity, [Low, Medium, High, Critical]);
enum_map!(UnknownReason, pb::UnknownReason, [NoLog, NoRule, Conflicting]);

impl From<EvidenceLine> for pb::EvidenceLine {
    fn from(e: EvidenceLine) -> Self {
        Self { line: e.line, text: e.text }
    }
}

impl TryFrom<pb::EvidenceLine> for EvidenceLine {
    type Error = InvalidField;
    fn try_from(e: pb::EvidenceLine) -> Result<Self, InvalidField> {
        Ok(Self { line: e.line, text: e.text })
    }
}

impl From<Location> for pb::Location {
    fn from(l: Location) -> Self {
        Self { file: l.file, line: l.line, column: l.column, code: l.code, test: l.test }
    }
}

impl TryFrom<pb::Location> for Location {
    type Error = InvalidField;
    fn try_from(l: pb::Location) -> Result<Self, InvalidField> {
        Ok(Self { file: l.file, line: l.line, column: l.column, code: l.code, test: l.test })
    }
}

impl From<ExitInfo> for pb::ExitInfo {
    fn from(e: ExitInfo) -> Self {
        Self {
            code: e.code,
            signal: e.signal,
            timed_out: e.timed_out,
            oom_killed: e.oom_killed,
            runner_lost: e.runner_lost,
        }
    }
}

impl From<pb::ExitInfo> for ExitInfo {
    fn from(e: pb::ExitInfo) -> Self {
        Self {
            code: e.code,
            signal: e.signal,
            timed_out: e.timed_out,
            oom_killed: e.oom_killed,
            runner_lost: e.runner_lost,
        }
    }
}

impl From<Signal> for pb::FailureSignal {
    fn from(s: Signal) -> Self {
        Self {
            r#type: s.failure_type.number(),
            source: s.source,
            message: s.message,
            severity: s.severity.number(),
            can_retry: s.can_retry,
            requires_replan: s.requires_replan,
            confidence: s.confidence,
            evidence: list(s.evidence),
            locations: list(s.locations),
            tool: s.tool,
            fingerprint: s.fingerprint,
            retry_after_ms: s.retry_after_ms,
            runner_up: s.runner_up.map_or(0, Number::number),
            unknown_reason: s.unknown_reason.map_or(0, Number::number),
        }
    }
}

impl TryFrom<pb::FailureSignal> for Signal {
    type Error = InvalidField;
    fn try_from(s: pb::FailureSignal) -> Result<Self, InvalidField> {
        if !(0.0..=1.0).contains(&s.confidence) {
            let problem = format!("{} is out of range (expected 0 to 1)", s.confidence);
            return Err(InvalidField::new("confidence", problem));
        }
        Ok(Self {
            failure_type: word("type", s.r#type)?,
            source: s.source,
            message: s.message,
            severity: word("severity", s.severity)?,
            can_retry: s.can_retry,
            requires_replan: s.requires_replan,
            confidence: s.confidence,
            evidence: all("evidence", s.evidence)?,
            locations: all("locations", s.locations)?,
            tool: s.tool,
            fingerprint: s.fingerprint,
            retry_after_ms: s.retry_after_ms,
            runner_up: word_opt("runner_up", s.runner_up)?,
            unknown_reason: word_opt("unknown_reason", s.unknown_reason)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_type_makes_the_round_trip() {
        for t in FailureType::ALL {
            assert_eq!(FailureType::from_number(t.number()), Ok(t));
        }
        assert!(FailureType::from_number(0).is_err());
        assert!(FailureType::from_number(99).is_err());
    }

    #[test]
    fn a_confidence_out_of_range_is_named() {
        let wire = pb::FailureSignal {
            r#type: 1,
            severity: 1,
            confidence: 1.5,
            ..pb::FailureSignal::default()
        };
        assert_eq!(Signal::try_from(wire).unwrap_err().path, "confidence");
    }
}
