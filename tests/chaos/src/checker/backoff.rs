//! I5: no attempt starts before it is due, and no backoff is longer than its cap.

use super::{Evidence, Violation};
use crate::history::History;
use std::collections::BTreeMap;

/// How much jitter adds to a backoff at most: a tenth.
const JITTER_TENTHS: i64 = 1;

/// Each start is at or after the time that its step was queued for.
pub fn no_attempt_is_early(evidence: &Evidence) -> Vec<Violation> {
    let mut found: Vec<Violation> =
        evidence.histories.iter().flat_map(|h| of_run(h, evidence.limits.backoff_cap_ms)).collect();
    if evidence.limits.one_clock {
        found.extend(early_processes(evidence));
    }
    found
}

fn of_run(history: &History, cap_ms: i64) -> Vec<Violation> {
    let mut due: BTreeMap<&str, i64> = BTreeMap::new();
    let mut found = Vec::new();
    let mut broken = |seq: u64, what: String| {
        found.push(Violation::new("I5", format!("run {}, event {seq}: {what}", history.run)));
    };
    for event in &history.events {
        match event.kind.as_str() {
            "step.queued" => {
                due.insert(&event.step, event.number("due").unwrap_or_default());
            }
            "step.started" => {
                let due = due.get(event.step.as_str()).copied().unwrap_or_default();
                if event.at_ms < due {
                    let early = due - event.at_ms;
                    broken(event.seq, format!("{} starts {early} ms early", event.step));
                }
            }
            "autofix.retry" => {
                let until = event.number("due").unwrap_or_default();
                due.insert(&event.step, until);
                let wait = until - event.at_ms;
                if wait > cap_ms + cap_ms * JITTER_TENTHS / 10 {
                    broken(event.seq, format!("{} waits {wait} ms", event.step));
                }
            }
            _ => {}
        }
    }
    found
}

/// Processes of an execution that began before the orchestrator says that it was handed out.
fn early_processes(evidence: &Evidence) -> Vec<Violation> {
    let mut handed_out: BTreeMap<(&str, &str, i64), i64> = BTreeMap::new();
    for history in &evidence.histories {
        for event in history.of("step.started") {
            let number = event.number("execution").unwrap_or_default();
            handed_out.insert((&history.run, &event.step, number), event.at_ms);
        }
    }
    let early = evidence.effects.iter().filter(|e| e.is_start()).filter(|e| {
        let execution = (e.run.as_str(), e.step.as_str(), i64::from(e.attempt));
        let slack = evidence.limits.clock_slack_ms;
        handed_out.get(&execution).is_none_or(|at| e.at_ms + slack < *at)
    });
    early
        .map(|e| {
            let (run, step, attempt) = (&e.run, &e.step, e.attempt);
            let what = format!("run {run}: execution {attempt} of {step} began unasked");
            Violation::new("I5", what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{effect, sound};
    use super::*;
    use crate::effects::Mark;

    #[test]
    fn an_early_start_is_found() {
        let mut evidence = sound();
        evidence.histories[0].events[7].at_ms = 2_399;
        assert_eq!(no_attempt_is_early(&evidence).len(), 1);
    }

    #[test]
    fn a_backoff_over_its_cap_is_found() {
        let mut evidence = sound();
        evidence.limits.backoff_cap_ms = 500;
        assert_eq!(no_attempt_is_early(&evidence).len(), 1);
    }

    #[test]
    fn a_process_that_nobody_asked_for_is_found() {
        let mut evidence = sound();
        evidence.effects.push(effect("ship", 2, 9_800, Mark::Start));
        assert_eq!(no_attempt_is_early(&evidence).len(), 1);
    }
}
