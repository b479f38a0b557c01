//! I8: no step starts before what it needs, and none of an old plan after a new one.

use super::{Evidence, Violation};
use crate::history::History;
use std::collections::{BTreeMap, BTreeSet};

/// Starts come after the successes they need, by the log and by the processes themselves.
pub fn no_step_is_before_its_needs(evidence: &Evidence) -> Vec<Violation> {
    let mut found: Vec<Violation> = evidence.histories.iter().flat_map(by_log).collect();
    if evidence.limits.one_clock {
        found.extend(evidence.histories.iter().flat_map(|h| by_processes(evidence, h)));
    }
    found
}

fn broken(history: &History, what: &str) -> Violation {
    Violation::new("I8", format!("run {}: {what}", history.run))
}

fn by_log(history: &History) -> Vec<Violation> {
    let known: BTreeMap<&str, &[String]> =
        history.steps.iter().map(|s| (s.name.as_str(), s.needs.as_slice())).collect();
    let replanned = history.of("autofix.replanned").map(|e| e.seq).max().unwrap_or(0);
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for event in &history.events {
        let step = event.step.as_str();
        match event.kind.as_str() {
            "step.succeeded" | "step.accepted" => {
                done.insert(step);
            }
            "step.outdated" => {
                done.remove(event.data["step"].as_str().unwrap_or(step));
            }
            // needs are those of the last plan, so starts under an earlier one are not judged
            "step.started" if event.seq > replanned => {
                let Some(needs) = known.get(step) else {
                    let what = format!("{step} starts (event {}) and is not planned", event.seq);
                    found.push(broken(history, &what));
                    continue;
                };
                for need in needs.iter().filter(|n| !done.contains(n.as_str())) {
                    let what = format!("{step} starts (event {}) before {need}", event.seq);
                    found.push(broken(history, &what));
                }
            }
            _ => {}
        }
    }
    found
}

fn by_processes(evidence: &Evidence, history: &History) -> Vec<Violation> {
    let accepted: BTreeSet<&str> = history.of("step.accepted").map(|e| e.step.as_str()).collect();
    let of_run = || evidence.effects.iter().filter(|e| e.run == history.run);
    let mut found = Vec::new();
    for start in of_run().filter(|e| e.is_start()) {
        let step = history.steps.iter().find(|s| s.name == start.step);
        for need in step.map_or(&[][..], |s| &s.needs) {
            let ended = |e: &crate::effects::Effect| {
                e.is_success() && e.step == *need && e.at_ms <= start.at_ms
            };
            if !accepted.contains(need.as_str()) && !of_run().any(ended) {
                let what = format!("a process of {} began before {need} ended", start.step);
                found.push(broken(history, &what));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{event, numbered, sound};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_start_before_a_need_is_found() {
        let mut evidence = sound();
        let events = &mut evidence.histories[0].events;
        events.insert(4, event("step.started", "ship", 950, json!({ "execution": 1 })));
        *events = numbered(std::mem::take(events));
        assert_eq!(no_step_is_before_its_needs(&evidence).len(), 1);
    }

    #[test]
    fn a_process_before_its_need_is_found() {
        let mut evidence = sound();
        evidence.effects[4].at_ms = 2_600;
        assert_eq!(no_step_is_before_its_needs(&evidence).len(), 1);
    }

    #[test]
    fn a_start_of_a_step_that_the_new_plan_lacks_is_found() {
        let mut evidence = sound();
        let events = &mut evidence.histories[0].events;
        events.insert(4, event("autofix.replanned", "build", 950, json!({ "version": 2 })));
        events.insert(5, event("step.started", "old", 960, json!({ "execution": 1 })));
        *events = numbered(std::mem::take(events));
        assert_eq!(no_step_is_before_its_needs(&evidence).len(), 1);
    }
}
