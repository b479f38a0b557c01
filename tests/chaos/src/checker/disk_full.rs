//! While nothing can be written, reads are served and new runs are refused in so many words.

use super::{Evidence, Violation};
use crate::records::{Answer, Ask, Call, Injected};

/// How long after the beginning of a fault calls are not judged, in milliseconds.
const SETTLE_MS: i64 = 500;

/// Calls that were sent and answered while a fault of that name was on.
pub(super) fn during<'a>(
    evidence: &'a Evidence,
    name: &'a str,
) -> impl Iterator<Item = (&'a Injected, &'a Call)> {
    let faults = evidence.faults.iter().filter(move |f| f.fault.starts_with(name));
    faults.flat_map(move |fault| {
        let within = |c: &&Call| c.sent_ms >= fault.at_ms + SETTLE_MS && c.done_ms <= fault.over_ms;
        evidence.calls.iter().filter(within).map(move |call| (fault, call))
    })
}

/// Reads are answered; a run is refused with `ResourceExhausted`, or made for good.
pub fn disk_full(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for (_, call) in during(evidence, "FullDisk") {
        let what = match (&call.ask, &call.answer) {
            (
                Ask::Read { run },
                Answer::Unknown { code, text } | Answer::Refused { code, text },
            ) => {
                format!("run {run} could not be read on a full disk: {code} {text}")
            }
            (Ask::CreateRun { .. }, Answer::Unknown { code, text }) => {
                format!("a run was answered with {code} on a full disk: {text}")
            }
            (Ask::CreateRun { .. }, Answer::Refused { code, text })
                if code != "ResourceExhausted" =>
            {
                format!("a run was refused with {code} on a full disk: {text}")
            }
            _ => continue,
        };
        found.push(Violation::new("C6", what));
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{RUN, call, refused, sound};
    use super::*;

    #[test]
    fn a_wrong_word_and_a_read_that_fails_are_found() {
        let mut evidence = sound();
        let fault = "FullDisk(5s)".to_owned();
        let fault = Injected { at_ms: 20_000, over_ms: 25_000, fault, first_step_ms: None };
        evidence.faults.push(fault);
        let make = |answer| call(22_000, Ask::CreateRun { key: "x".into() }, answer);
        evidence.calls.push(make(refused("ResourceExhausted")));
        assert_eq!(disk_full(&evidence), []);
        evidence.calls.push(make(refused("InvalidArgument")));
        let unknown = Answer::Unknown { code: "Internal".into(), text: String::new() };
        evidence.calls.push(call(22_000, Ask::Read { run: RUN.into() }, unknown));
        assert_eq!(disk_full(&evidence).len(), 2);
    }
}
