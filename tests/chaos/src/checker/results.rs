//! I2: no result is lost, changed, or invented.

use super::{Evidence, Violation};
use crate::effects::Mark;
use crate::history::{Event, History};
use crate::step::FAILED;
use std::collections::BTreeMap;

/// Lost leases in a row after which a step itself is blamed for the loss of its runners.
const LEASES_MAX: usize = 4;

/// What a stream once showed is in the log for ever, and each recorded result was one.
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

/// Recorded results of executions that no step's process ended so.
fn invented(evidence: &Evidence, history: &History) -> Vec<Violation> {
    let mut execution: BTreeMap<&str, i64> = BTreeMap::new();
    let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for event in &history.events {
        let step = event.step.as_str();
        let wanted = match event.kind.as_str() {
            "step.started" => {
                execution.insert(step, event.number("execution").unwrap_or_default());
                *lost.entry(step).or_default() += 1;
                continue;
            }
            "step.succeeded" => Mark::End { code: 0 },
            "step.attempt_failed" => Mark::End { code: FAILED },
            _ => continue,
        };
        let (number, leases) = (execution.get(step).copied(), lost.remove(step).unwrap_or(0));
        let number = number.unwrap_or_default();
        let runner_lost = event.data["execution"]["exit"]["runner_lost"] == true;
        let blamed = runner_lost && leases >= LEASES_MAX;
        if !blamed && !ended_so(evidence, history, event, number, wanted) {
            let what = format!(
                "run {}: {} of {step} (execution {number}) is recorded as event {}, and no process \
                 of that execution had ended so by then{}",
                history.run,
                event.kind,
                event.seq,
                if runner_lost {
                    ": its runner was lost, which is not the step's fault"
                } else {
                    ""
                }
            );
            found.push(Violation::new("I2", what));
        }
    }
    found
}

fn ended_so(
    evidence: &Evidence,
    history: &History,
    event: &Event,
    execution: i64,
    wanted: Mark,
) -> bool {
    let by = event.at_ms + evidence.limits.clock_slack_ms;
    evidence.effects.iter().any(|e| {
        e.mark == wanted
            && e.run == history.run
            && e.step == event.step
            && i64::from(e.attempt) == execution
            && (!evidence.limits.one_clock || e.at_ms <= by)
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

    #[test]
    fn a_failure_that_no_process_had_is_found() {
        let mut evidence = sound();
        evidence.effects.retain(|e| !(e.step == "build" && e.attempt == 1 && !e.is_start()));
        assert_eq!(no_result_is_lost(&evidence).len(), 1);
    }
}
