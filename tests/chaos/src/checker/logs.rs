//! I7: a run's log is dense, and the run's row is what the log makes of it.

use super::{Evidence, Violation};
use crate::history::History;
use std::collections::BTreeMap;

/// Numbers from 1 without a gap; status, steps and counters of the row follow from the events.
pub fn logs_are_dense_and_make_the_row(evidence: &Evidence) -> Vec<Violation> {
    evidence.histories.iter().flat_map(of_run).collect()
}

fn of_run(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broken =
        |what: String| found.push(Violation::new("I7", format!("run {}: {what}", history.run)));
    for (event, expected) in history.events.iter().zip(1..) {
        if event.seq != expected {
            broken(format!("event {expected} has number {}", event.seq));
        }
    }
    let last = history.events.last().map_or(0, |e| e.seq);
    if history.last_seq != last {
        broken(format!("the row is at event {}, the log at {last}", history.last_seq));
    }
    let (status, version) = (status(history), history.versions().values().copied().max());
    if status != history.status {
        broken(format!("the row is {}, the log makes it {status}", history.status));
    }
    if version.unwrap_or(1) != i64::from(history.plan_version) {
        broken(format!("the row has plan version {}, the log {version:?}", history.plan_version));
    }
    for step in &history.steps {
        let starts = history.of("step.started").filter(|e| e.step == step.name).count();
        if starts != step.executions as usize {
            broken(format!("{} has {} executions, {starts} starts", step.name, step.executions));
        }
    }
    let made = outcomes(history);
    for step in &history.steps {
        let made = made.get(step.name.as_str()).copied();
        let is = ["succeeded", "failed"].into_iter().find(|s| *s == step.status);
        if made != is {
            broken(format!("{} is {}, the log makes it {made:?}", step.name, step.status));
        }
    }
    found
}

/// The status of the run that its events make.
fn status(history: &History) -> &'static str {
    let mut status = "";
    for event in &history.events {
        status = match event.kind.as_str() {
            "run.created" => "pending",
            "meta.run.started" | "run.resumed" | "run.retry" => "running",
            "run.paused" => "paused_awaiting_approval",
            "run.succeeded" => "succeeded",
            "run.failed" => "failed",
            "meta.run.canceled" => "canceled",
            _ => status,
        };
    }
    status
}

/// How the steps ended that ended for good, by their events.
fn outcomes(history: &History) -> BTreeMap<&str, &'static str> {
    let mut made = BTreeMap::new();
    for event in &history.events {
        let step = event.step.as_str();
        match event.kind.as_str() {
            "step.succeeded" | "step.accepted" => {
                made.insert(step, "succeeded");
            }
            "step.failed" | "autofix.gave_up" | "approval.rejected" => {
                made.insert(step, "failed");
            }
            "step.queued" | "step.started" => {
                made.remove(step);
            }
            "step.outdated" => {
                made.remove(event.data["step"].as_str().unwrap_or(step));
            }
            _ => {}
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::super::sample::sound;
    use super::*;

    fn spoilt(how: impl FnOnce(&mut History)) -> usize {
        let mut evidence = sound();
        how(&mut evidence.histories[0]);
        logs_are_dense_and_make_the_row(&evidence).len()
    }

    #[test]
    fn gaps_and_doubled_numbers_are_found() {
        assert!(spoilt(|h| drop(h.events.remove(2))) > 0);
        assert!(spoilt(|h| h.events[3].seq = 3) > 0);
    }

    #[test]
    fn a_row_that_the_log_does_not_make_is_found() {
        assert_eq!(spoilt(|h| h.status = "running".into()), 1);
        assert_eq!(spoilt(|h| h.last_seq -= 1), 1);
        assert_eq!(spoilt(|h| h.plan_version = 2), 1);
        assert_eq!(spoilt(|h| h.steps[0].executions = 1), 1);
        assert_eq!(spoilt(|h| h.steps[1].status = "running".into()), 1);
    }
}
