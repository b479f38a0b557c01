//! While the database is away, no new run is acknowledged, and callers are told to come back.

use super::disk_full::during;
use super::{Evidence, Violation};
use crate::records::{Answer, Ask};

/// Runs are answered with `Unavailable` (or not in time), and never acknowledged.
pub fn database_away(evidence: &Evidence) -> Vec<Violation> {
    let away = during(evidence, "CrashDatabase").chain(during(evidence, "StopDatabase"));
    let mut found = Vec::new();
    for (fault, call) in away {
        let Ask::CreateRun { key } = &call.ask else { continue };
        let what = match &call.answer {
            Answer::Done(ids) => format!("run {ids:?} (key {key}) was acknowledged"),
            Answer::Refused { code, text } => format!("a run was refused with {code}: {text}"),
            Answer::Unknown { code, text } if code == "Internal" => {
                format!("a run was answered with {code}: {text}")
            }
            Answer::Unknown { .. } => continue,
        };
        found.push(Violation::new("C5", format!("during {}: {what}", fault.fault)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{RUN, call, sound};
    use super::*;
    use crate::records::Injected;

    #[test]
    fn a_false_yes_is_found() {
        let mut evidence = sound();
        let fault = "StopDatabase(2s)".to_owned();
        let fault = Injected { at_ms: 20_000, over_ms: 25_000, fault, first_step_ms: None };
        evidence.faults.push(fault);
        let make = |answer| call(22_000, Ask::CreateRun { key: "k".into() }, answer);
        let unknown = |code: &str| Answer::Unknown { code: code.into(), text: String::new() };
        evidence.calls.push(make(unknown("Unavailable")));
        assert_eq!(database_away(&evidence), []);
        evidence.calls.push(make(Answer::Done(vec![RUN.into()])));
        evidence.calls.push(make(unknown("Internal")));
        assert_eq!(database_away(&evidence).len(), 2);
    }
}
