//! I6: a gate is decided once, by whoever was told so, and nothing passes it before.

use super::{Evidence, Violation};
use crate::history::History;
use crate::records::{Answer, Ask};
use std::collections::{BTreeMap, BTreeSet};

/// Events that decide a gate, with what they say.
const DECISIONS: [(&str, Option<bool>); 4] = [
    ("approval.granted", Some(true)),
    ("approval.rejected", Some(false)),
    ("approval.expired", None),
    ("approval.superseded", None),
];

/// What a client was told about its decision, over all its tries.
#[derive(Default)]
struct Told {
    /// It was told that it decided.
    done: bool,
    /// It cannot know of at least one try.
    unknown: bool,
}

/// One decision a gate; at most one client is told that it decided, and it is the recorded one.
pub fn a_gate_is_decided_once(evidence: &Evidence) -> Vec<Violation> {
    let mut told: BTreeMap<&str, BTreeMap<(&str, bool), Told>> = BTreeMap::new();
    for call in &evidence.calls {
        let Ask::Decide { gate, approve, actor, .. } = &call.ask else { continue };
        let told = told.entry(gate).or_default().entry((actor, *approve)).or_default();
        match &call.answer {
            Answer::Done(_) => told.done = true,
            Answer::Unknown { .. } => told.unknown = true,
            Answer::Refused { .. } => {}
        }
    }
    evidence.histories.iter().flat_map(|h| of_run(evidence, h, &told)).collect()
}

fn of_run(
    evidence: &Evidence,
    history: &History,
    told: &BTreeMap<&str, BTreeMap<(&str, bool), Told>>,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broken =
        |what: String| found.push(Violation::new("I6", format!("run {}: {what}", history.run)));
    let mut decided: BTreeSet<&str> = BTreeSet::new();
    let mut granted: BTreeSet<&str> = BTreeSet::new();
    let none = BTreeMap::new();
    for event in &history.events {
        let gated = history.steps.iter().any(|s| s.gated && s.name == event.step);
        if event.kind == "step.started" && gated && !granted.contains(event.step.as_str()) {
            broken(format!("{} starts before its gate was approved", event.step));
        }
        let decision = DECISIONS.iter().find(|(kind, _)| *kind == event.kind);
        let (Some((_, approved)), Some(gate)) = (decision, event.gate()) else { continue };
        if !decided.insert(gate) {
            broken(format!("gate {gate} is decided again by event {}", event.seq));
        }
        if *approved == Some(true) {
            granted.insert(&event.step);
        }
        let Some(approved) = approved else { continue };
        let actor = event.data["actor"].as_str().unwrap_or_default();
        let by = told.get(gate).unwrap_or(&none);
        let winner = by.get(&(actor, *approved));
        if !winner.is_some_and(|t| t.done || t.unknown) {
            broken(format!("gate {gate} was decided by {actor}, who was told otherwise"));
        }
        let others = by.iter().filter(|(who, t)| t.done && **who != (actor, *approved));
        for ((other, _), _) in others {
            broken(format!("{other} was told to have decided gate {gate}, which {actor} did"));
        }
    }
    let undecided = told.iter().filter(|(gate, by)| {
        history.events.iter().any(|e| e.gate() == Some(gate))
            && !decided.contains(*gate)
            && by.values().any(|t| t.done)
    });
    for (gate, _) in undecided {
        broken(format!("a decision on gate {gate} was acknowledged and is not recorded"));
    }
    let rejected = history.steps.iter().filter(|s| s.gated && !granted.contains(s.name.as_str()));
    for step in rejected {
        let began = |e: &&crate::effects::Effect| e.run == history.run && e.step == step.name;
        if evidence.effects.iter().any(|e| began(&e)) {
            broken(format!("a process of {} began without an approval", step.name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{GATE, decided, event, numbered, sound};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_second_decision_is_found() {
        let mut evidence = sound();
        let events = &mut evidence.histories[0].events;
        let again = json!({ "gate": GATE, "actor": "user:a" });
        events.insert(12, event("approval.granted", "ship", 9_003, again));
        *events = numbered(std::mem::take(events));
        assert_eq!(a_gate_is_decided_once(&evidence).len(), 1);
    }

    #[test]
    fn two_clients_that_were_both_told_yes_are_found() {
        let mut evidence = sound();
        let done = Answer::Done(vec!["user:c".into()]);
        evidence.calls.push(decided(9_003, false, "user:c", done));
        assert_eq!(a_gate_is_decided_once(&evidence).len(), 1);
    }

    #[test]
    fn a_decision_by_somebody_who_was_refused_is_found() {
        let mut evidence = sound();
        evidence.histories[0].events[11].data["actor"] = "user:b".into();
        // told otherwise, and user:a was told yes
        assert_eq!(a_gate_is_decided_once(&evidence).len(), 2);
    }

    #[test]
    fn a_lost_decision_and_a_start_without_one_are_found() {
        let mut evidence = sound();
        evidence.histories[0].events.remove(11);
        let found = a_gate_is_decided_once(&evidence);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
