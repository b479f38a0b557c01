//! I4: budgets hold, and no crash charges an attempt twice or forgets one.

use super::{Evidence, Violation};
use crate::history::History;
use std::collections::BTreeMap;

/// Turns of the loop that take from the budgets.
const PAID: [&str; 3] = ["autofix.retry", "autofix.patch_applied", "autofix.replanned"];

/// Attempts stay within the budgets and are numbered without a gap; executions too.
pub fn no_budget_is_overdrawn(evidence: &Evidence) -> Vec<Violation> {
    let limits = (evidence.limits.attempts_step, evidence.limits.attempts_run);
    evidence.histories.iter().flat_map(|h| of_run(h, limits)).collect()
}

fn of_run(history: &History, (per_step, total): (usize, usize)) -> Vec<Violation> {
    let mut paid: BTreeMap<&str, usize> = BTreeMap::new();
    let mut numbers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    let mut executions: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for event in &history.events {
        let attempt = &event.data["attempt"];
        if let Some(step) = attempt["step"].as_str() {
            numbers.entry(step).or_default().push(attempt["number"].as_i64().unwrap_or_default());
            *paid.entry(step).or_default() += usize::from(PAID.contains(&event.kind.as_str()));
        }
        if event.kind == "step.started" {
            let number = event.number("execution").unwrap_or_default();
            executions.entry(&event.step).or_default().push(number);
        }
    }
    let mut found = Vec::new();
    let mut broken =
        |what: String| found.push(Violation::new("I4", format!("run {}: {what}", history.run)));
    let all: usize = paid.values().sum();
    if all > total {
        broken(format!("{all} attempts (at most {total})"));
    }
    for (step, paid) in paid.iter().filter(|(_, paid)| **paid > per_step) {
        broken(format!("{step} has {paid} attempts (at most {per_step})"));
    }
    for (step, numbers) in &numbers {
        if !counts_up(numbers) {
            broken(format!("attempts of {step} are numbered {numbers:?}"));
        }
    }
    for (step, numbers) in executions.iter().filter(|(_, n)| !counts_up(n)) {
        broken(format!("executions of {step} are numbered {numbers:?}"));
    }
    found
}

fn counts_up(numbers: &[i64]) -> bool {
    numbers.iter().zip(1..).all(|(number, expected)| *number == expected)
}

#[cfg(test)]
mod tests {
    use super::super::sample::{event, sound};
    use super::*;
    use serde_json::json;

    fn with_retries(numbers: &[i64]) -> Vec<Violation> {
        let mut evidence = sound();
        let events = &mut evidence.histories[0].events;
        events.retain(|e| e.kind != "autofix.retry");
        for number in numbers {
            let data = json!({ "attempt": { "step": "build", "number": number } });
            events.push(event("autofix.retry", "build", 1, data));
        }
        no_budget_is_overdrawn(&evidence)
    }

    #[test]
    fn an_overdrawn_budget_is_found() {
        assert!(with_retries(&[1, 2, 3]).is_empty());
        assert_eq!(with_retries(&[1, 2, 3, 4]).len(), 1);
        assert_eq!(with_retries(&[1, 2, 3, 4, 5, 6, 7]).len(), 2);
    }

    #[test]
    fn an_attempt_that_is_charged_twice_or_forgotten_is_found() {
        assert_eq!(with_retries(&[1, 1]).len(), 1);
        assert_eq!(with_retries(&[2]).len(), 1);
    }

    #[test]
    fn an_execution_counter_that_was_reset_is_found() {
        let mut evidence = sound();
        evidence.histories[0].events[7].data = json!({ "execution": 1 });
        assert_eq!(no_budget_is_overdrawn(&evidence).len(), 1);
    }
}
