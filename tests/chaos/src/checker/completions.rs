//! I3: no step is completed twice, and results of an old lease are refused.

use super::{Evidence, Violation};
use crate::history::History;
use std::collections::{BTreeMap, BTreeSet};

/// A run, a step, and which execution of it.
type Execution<'a> = (&'a str, &'a str, u32);

/// At most one success a step and plan version, each after a start, each execution once.
pub fn no_step_is_completed_twice(evidence: &Evidence) -> Vec<Violation> {
    let mut found: Vec<Violation> = evidence.histories.iter().flat_map(completed_twice).collect();
    let mut processes: BTreeMap<Execution, BTreeSet<(u64, u32)>> = BTreeMap::new();
    for effect in evidence.effects.iter().filter(|e| e.is_start()) {
        let execution = (effect.run.as_str(), effect.step.as_str(), effect.attempt);
        processes.entry(execution).or_default().insert((effect.epoch, effect.pid));
    }
    let twice = processes.into_iter().filter(|(_, processes)| processes.len() > 1);
    found.extend(twice.map(|((run, step, attempt), processes)| {
        let what = format!(
            "run {run}: execution {attempt} of {step} was executed by {} processes (epoch, pid): \
             {processes:?}",
            processes.len()
        );
        Violation::new("I3", what)
    }));
    found
}

fn completed_twice(history: &History) -> Vec<Violation> {
    let versions = history.versions();
    let mut done: BTreeSet<(i64, &str)> = BTreeSet::new();
    let mut executing: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    let mut broken = |seq: u64, what: String| {
        found.push(Violation::new("I3", format!("run {}, event {seq}: {what}", history.run)));
    };
    for event in &history.events {
        let (step, version) = (event.step.as_str(), versions[&event.seq]);
        match event.kind.as_str() {
            "step.started" => {
                executing.insert(step);
            }
            "step.succeeded" | "step.attempt_failed" if !executing.remove(step) => {
                broken(event.seq, format!("{} of {step}, which did not execute", event.kind));
            }
            _ => {}
        }
        match event.kind.as_str() {
            "step.succeeded" | "step.accepted" if !done.insert((version, step)) => {
                broken(event.seq, format!("{step} is completed again in plan version {version}"));
            }
            "step.outdated" => {
                let of = event.data["step"].as_str().unwrap_or(step);
                done.retain(|(_, name)| *name != of);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{effect, event, numbered, sound};
    use super::*;
    use crate::effects::Mark;
    use serde_json::json;

    #[test]
    fn a_second_success_is_found() {
        let mut evidence = sound();
        let events = &mut evidence.histories[0].events;
        events.insert(9, event("step.started", "build", 2_810, json!({ "execution": 3 })));
        events.insert(10, event("step.succeeded", "build", 2_820, json!({})));
        *events = numbered(std::mem::take(events));
        assert_eq!(no_step_is_completed_twice(&evidence).len(), 1);
    }

    #[test]
    fn a_result_without_an_execution_is_found() {
        let mut evidence = sound();
        let events = &mut evidence.histories[0].events;
        events.insert(9, event("step.attempt_failed", "build", 2_810, json!({})));
        *events = numbered(std::mem::take(events));
        assert_eq!(no_step_is_completed_twice(&evidence).len(), 1);
    }

    #[test]
    fn one_execution_in_two_processes_is_found() {
        let mut evidence = sound();
        evidence
            .effects
            .push(crate::effects::Effect { pid: 11, ..effect("ship", 1, 9_150, Mark::Start) });
        assert_eq!(no_step_is_completed_twice(&evidence).len(), 1);
    }
}
