//! C2: what a dead runner had in hand is given to another one as soon as its lease is over.

use super::{Evidence, Violation};
use crate::history::{Event, History};
use std::collections::BTreeMap;

/// How long after the end of a lease an orphan may wait for a runner, in milliseconds: a second, and
/// another one because it is executed alone and waits for the other steps of its run.
const TAKEN_OVER_MS: i64 = 2_000;

/// Each execution that ended without a result is followed by the next one in time.
pub fn orphans_are_taken_over(evidence: &Evidence) -> Vec<Violation> {
    evidence.histories.iter().flat_map(|h| of_run(evidence, h)).collect()
}

fn of_run(evidence: &Evidence, history: &History) -> Vec<Violation> {
    let mut executing: BTreeMap<&str, &Event> = BTreeMap::new();
    let mut found = Vec::new();
    // When an orphan of the run was last taken over: another one waits until that was executed, and
    // for its lease again if its runner died too.
    let mut alone_since = 0;
    for event in &history.events {
        let step = event.step.as_str();
        match event.kind.as_str() {
            "step.started" => {
                let Some(orphan) = executing.insert(step, event) else { continue };
                let Some(died) = runner_died(evidence, orphan, event) else { continue };
                let waited = event.at_ms - died.max(alone_since);
                alone_since = event.at_ms;
                let limit = evidence.limits.lease_ms + TAKEN_OVER_MS;
                if waited > limit {
                    let what = format!(
                        "run {}: {step} waited {waited} ms for another runner (at most {limit})",
                        history.run
                    );
                    found.push(Violation::new("C2", what));
                }
            }
            "step.succeeded" | "step.attempt_failed" => {
                executing.remove(step);
            }
            _ => {}
        }
    }
    found
}

/// When a runner was killed between the start of an execution and the next one.
fn runner_died(evidence: &Evidence, orphan: &Event, next: &Event) -> Option<i64> {
    let kills = evidence.faults.iter().filter(|f| f.fault.contains("Runner")).map(|f| f.at_ms);
    kills.filter(|at| (orphan.at_ms..next.at_ms).contains(at)).min()
}

#[cfg(test)]
mod tests {
    use super::super::sample::sound;
    use super::*;
    use crate::records::Injected;

    #[test]
    fn an_orphan_waits_for_another_one_of_its_run() {
        let mut evidence = sound();
        let kill = |at_ms| {
            let fault = "Kill(Runner)".to_owned();
            Injected { at_ms, over_ms: at_ms, fault, first_step_ms: None }
        };
        evidence.faults.extend([kill(1_100), kill(2_100)]);
        evidence.limits.lease_ms = 1_000;
        let like = evidence.histories[0].events.clone();
        let like = like.iter().find(|e| e.kind == "step.started").expect("there is one");
        let started = |step: &str, at_ms| Event { step: step.to_owned(), at_ms, ..like.clone() };
        let mut play = |starts: [(&str, i64); 5]| {
            evidence.histories[0].events = starts.map(|(step, at)| started(step, at)).into();
            orphans_are_taken_over(&evidence).len()
        };
        let first = [("left", 1_000), ("right", 1_000)];
        assert_eq!(
            play([first[0], first[1], ("left", 2_050), ("left", 4_900), ("right", 5_000)]),
            0
        );
        assert_eq!(
            play([first[0], first[1], ("left", 2_050), ("left", 4_900), ("right", 8_000)]),
            1
        );
        assert_eq!(
            play([first[0], first[1], ("other", 2_050), ("other", 4_900), ("right", 5_000)]),
            0
        );
        assert_eq!(
            play([first[0], first[1], ("more", 2_050), ("other", 4_900), ("right", 5_000)]),
            1
        );
    }

    #[test]
    fn an_orphan_that_waits_too_long_is_found() {
        let mut evidence = sound();
        let fault = "Kill(Runner)".to_owned();
        evidence.faults.push(Injected { at_ms: 1_100, over_ms: 1_100, fault, first_step_ms: None });
        let events = &mut evidence.histories[0].events;
        events.retain(|e| e.kind != "step.attempt_failed");
        assert_eq!(orphans_are_taken_over(&evidence), []);
        evidence.limits.lease_ms = 1_300 - TAKEN_OVER_MS;
        assert_eq!(orphans_are_taken_over(&evidence).len(), 1);
    }
}
