//! I2: no result is lost, changed, or invented.

use super::{Evidence, Violation};
use crate::history::{Event, History};
use std::collections::BTreeMap;

/// What a stream once showed is in the log for ever, and each recorded success was one.
pub fn no_result_is_lost(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let digests: BTreeMap<(&str, u64), &str> = evidence
        .histories
        .iter()
        .flat_map(|h| h.events.iter().map(|e| ((h.run.as_str(), e.seq), e.digest.as_str())))
        .collect();
    for seen in &evidence.sightings {
        let now = digests.get(&(seen.run.as_str(), seen.seq));
        if now != Some(&seen.digest.as_str()) {
            let (run, seq) = (&seen.run, seen.seq);
            let what = match now {
                Some(_) => format!("event {seq} of run {run} is another one than was shown"),
                None => format!("event {seq} of run {run} was shown and is gone"),
            };
            found.push(Violation::new("I2", what));
        }
    }
    found.extend(evidence.histories.iter().flat_map(|h| invented(evidence, h)));
    found
}

/// Recorded successes of executions that no step's process ended with success.
fn invented(evidence: &Evidence, history: &History) -> Vec<Violation> {
    let mut execution: BTreeMap<&str, i64> = BTreeMap::new();
    let mut found = Vec::new();
    for event in &history.events {
        match event.kind.as_str() {
            "step.started" => {
                let number = event.number("execution").unwrap_or_default();
                execution.insert(&event.step, number);
            }
            "step.succeeded" => {
                let number = execution.get(event.step.as_str()).copied().unwrap_or_default();
                if !ended_well(evidence, history, event, number) {
                    let what = format!(
                        "run {}: success of {} (execution {number}) is recorded as event {}, and \
                         no process of that execution had ended with success by then",
                        history.run, event.step, event.seq
                    );
                    found.push(Violation::new("I2", what));
                }
            }
            _ => {}
        }
    }
    found
}

fn ended_well(evidence: &Evidence, history: &History, event: &Event, execution: i64) -> bool {
    evidence.effects.iter().any(|e| {
        e.is_success()
            && e.run == history.run
            && e.step == event.step
            && i64::from(e.attempt) == execution
            && (!evidence.limits.one_clock
                || e.at_ms <= event.at_ms + evidence.limits.clock_slack_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::sound;
    use super::*;

    #[test]
    fn an_event_that_was_shown_and_is_gone_is_found() {
        let mut evidence = sound();
        evidence.histories[0].events.pop();
        assert_eq!(no_result_is_lost(&evidence).len(), 1);
    }

    #[test]
    fn a_result_that_changed_is_found() {
        let mut evidence = sound();
        evidence.histories[0].events[8].digest = "other".into();
        assert_eq!(no_result_is_lost(&evidence).len(), 1);
    }

    #[test]
    fn the_late_result_of_an_earlier_execution_is_found() {
        let mut evidence = sound();
        // execution 2 has not ended: the recorded success can only be the first one's
        evidence.effects.retain(|e| !(e.step == "build" && e.attempt == 2 && !e.is_start()));
        let found = no_result_is_lost(&evidence);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
