//! C3: a runner that was stopped for longer than its lease ends what it executed as soon as it goes
//! on: somebody else does that work by now.

use super::{Evidence, Violation};
use std::collections::BTreeMap;

/// How long ending the processes may take, in milliseconds, beside the wait for a heartbeat.
const ENDED_MS: i64 = 2_000;

/// No execution that was given to somebody else comes to its own end after its runner went on.
pub fn zombies_are_ended(evidence: &Evidence) -> Vec<Violation> {
    let mut given_away: BTreeMap<(&str, &str, u32), i64> = BTreeMap::new();
    for history in &evidence.histories {
        for event in history.of("step.started") {
            let number = event.number("execution").and_then(|n| u32::try_from(n).ok());
            let before = number.unwrap_or_default().saturating_sub(1);
            given_away.insert((&history.run, &event.step, before), event.at_ms);
        }
    }
    let mut found = Vec::new();
    for end in evidence.effects.iter().filter(|e| !e.is_start()) {
        let execution = (end.run.as_str(), end.step.as_str(), end.attempt);
        let Some(given) = given_away.get(&execution) else { continue };
        // the pause in which it was given away
        let mut pauses = evidence.faults.iter().filter(|f| f.fault.starts_with("Pause"));
        let pause = pauses.rfind(|f| (f.at_ms..=f.over_ms + ENDED_MS).contains(given));
        let Some(pause) = pause else { continue };
        let limit = pause.over_ms + evidence.limits.lease_ms / 3 + ENDED_MS;
        if end.at_ms > limit {
            let late = end.at_ms - pause.over_ms;
            let what = format!(
                "run {}: execution {} of {} was given away and still ended by itself, {late} ms \
                 after its runner went on",
                end.run, end.attempt, end.step
            );
            found.push(Violation::new("C3", what));
        }
    }
    found
}

/// A runner that was stopped beyond its leases reports what ended meanwhile, and is told that it is
/// too late. That no such result is on record is I3's to see; here, that some were refused at all.
pub fn late_results_are_refused(evidence: &Evidence) -> Vec<Violation> {
    let pauses = evidence.faults.iter().filter(|f| f.fault.starts_with("Pause")).count();
    if pauses > 0 && evidence.late_results == 0 {
        let what = format!("{pauses} runners were stopped and no late result was refused");
        return vec![Violation::new("C3", what)];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{effect, sound};
    use super::*;
    use crate::effects::Mark;
    use crate::records::Injected;

    #[test]
    fn a_pause_after_which_nothing_is_refused_is_found() {
        let mut evidence = sound();
        assert_eq!(late_results_are_refused(&evidence), []);
        let fault = "Pause(Runner, 7s)".to_owned();
        evidence.faults.push(Injected { at_ms: 1_100, over_ms: 8_100, fault, first_step_ms: None });
        assert_eq!(late_results_are_refused(&evidence).len(), 1);
        evidence.late_results = 1;
        assert_eq!(late_results_are_refused(&evidence), []);
    }

    #[test]
    fn a_zombie_that_lives_on_is_found() {
        let mut evidence = sound();
        let fault = "Pause(Runner, 2s)".to_owned();
        evidence.faults.push(Injected { at_ms: 1_100, over_ms: 3_100, fault, first_step_ms: None });
        assert_eq!(zombies_are_ended(&evidence), []);
        evidence.effects.push(effect("build", 1, 9_000, Mark::End { code: 0 }));
        assert_eq!(zombies_are_ended(&evidence).len(), 1);
    }
}
