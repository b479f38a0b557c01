//! The numbers of a test, for its JSON.

use crate::checker::{Evidence, Violation};
use crate::records::Injected;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Broken promises that are shown of one experiment.
const VIOLATIONS_SHOWN_MAX: usize = 20;

/// The numbers of one experiment.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Which experiment.
    pub experiment: String,
    /// On which database.
    pub database: String,
    /// The seed that repeats it.
    pub seed: u64,
    /// Faults that were injected.
    pub faults: usize,
    /// Runs that were acknowledged.
    pub runs: usize,
    /// How they ended.
    pub ended: BTreeMap<String, usize>,
    /// Executions of steps that began.
    pub executions: usize,
    /// Executions beyond those that the orchestrator asked for: work that was done again.
    pub duplicate_executions: usize,
    /// The same for each fault.
    pub duplicates_per_fault: f64,
    /// From the end of a fault to the first new step, half of the times at most, in milliseconds.
    pub first_step_p50_ms: Option<i64>,
    /// The same, 95 of 100 times at most.
    pub first_step_p95_ms: Option<i64>,
    /// Results that came after their leases and were refused.
    pub late_results_refused: usize,
    /// From the moment in which a step could start to its start, for the tenant with most of the runs:
    /// half of the times at most, and 99 of 100, in milliseconds.
    pub start_delay_of_the_flood_ms: [Option<i64>; 2],
    /// The same for the other tenants.
    pub start_delay_of_others_ms: [Option<i64>; 2],
    /// Resident memory of the first orchestrator before the faults, in KiB.
    pub rss_before_kib: Option<u64>,
    /// The same after them.
    pub rss_after_kib: Option<u64>,
    /// Calls of clients.
    pub calls: usize,
    /// Events that watchers saw.
    pub events_seen: usize,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// How often a promise was broken.
    pub violation_count: usize,
    /// The first of the broken promises; the records hold all.
    pub violations: Vec<Violation>,
}

impl Figures {
    /// The numbers of evidence.
    pub fn new(evidence: &Evidence, mut violations: Vec<Violation>) -> Self {
        let violation_count = violations.len();
        violations.truncate(VIOLATIONS_SHOWN_MAX);
        let mut first: Vec<i64> = evidence.faults.iter().filter_map(|f| f.first_step_ms).collect();
        first.sort_unstable();
        let mut ended = BTreeMap::new();
        for history in &evidence.histories {
            *ended.entry(history.status.clone()).or_default() += 1;
        }
        let duplicates = duplicates(evidence).values().sum();
        let faults = evidence.faults.len();
        #[expect(clippy::cast_precision_loss, reason = "counts of a test are small")]
        let per_fault = if faults == 0 { 0.0 } else { duplicates as f64 / faults as f64 };
        Self {
            experiment: String::new(),
            database: String::new(),
            seed: 0,
            faults,
            runs: evidence.histories.len(),
            ended,
            executions: evidence.effects.iter().filter(|e| e.is_start()).count(),
            duplicate_executions: duplicates,
            duplicates_per_fault: (per_fault * 100.0).round() / 100.0,
            first_step_p50_ms: percentile(&first, 50),
            first_step_p95_ms: percentile(&first, 95),
            late_results_refused: evidence.late_results,
            start_delay_of_the_flood_ms: start_delays(evidence, true),
            start_delay_of_others_ms: start_delays(evidence, false),
            rss_before_kib: None,
            rss_after_kib: None,
            calls: evidence.calls.len(),
            events_seen: evidence.sightings.len(),
            seconds: 0,
            violation_count,
            violations,
        }
    }
}

/// How long first executions waited that needed other steps: median and p99, of the tenant with most
/// of the runs or of the others.
fn start_delays(evidence: &Evidence, of_the_flood: bool) -> [Option<i64>; 2] {
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for history in &evidence.histories {
        *runs.entry(&history.tenant).or_default() += 1;
    }
    let flood = runs.iter().max_by_key(|(_, runs)| **runs).map(|(tenant, _)| *tenant);
    let histories = evidence.histories.iter();
    let mut delays: Vec<i64> = histories
        .filter(|h| (Some(h.tenant.as_str()) == flood) == of_the_flood)
        .flat_map(|history| {
            let first = |kind: &str, step: &str| {
                history.of(kind).find(|e| e.step == step).map(|event| event.at_ms)
            };
            let plain = history.steps.iter().filter(|s| !s.gated && !s.needs.is_empty());
            plain.filter_map(move |step| {
                let ready = step.needs.iter().map(|need| first("step.succeeded", need));
                let ready = ready.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
                first("step.started", &step.name).map(|at| at - ready)
            })
        })
        .collect();
    delays.sort_unstable();
    [percentile(&delays, 50), percentile(&delays, 99)]
}

/// The value that so many of 100 sorted ones do not exceed.
pub fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// A process of a step: execution, epoch, process id.
type Process = (u32, u64, u32);

/// Processes of a step that began although its run had not queued the step again: by run and step.
pub fn duplicates(evidence: &Evidence) -> BTreeMap<(String, String), usize> {
    let mut began: BTreeMap<(&str, &str), BTreeSet<Process>> = BTreeMap::new();
    for effect in evidence.effects.iter().filter(|e| e.is_start()) {
        let process = (effect.attempt, effect.epoch, effect.pid);
        began.entry((&effect.run, &effect.step)).or_default().insert(process);
    }
    let again = began.into_iter().filter_map(|((run, step), processes)| {
        let history = evidence.history(run)?;
        let more = processes.len().saturating_sub(history.queued(step));
        (more > 0).then(|| ((run.to_owned(), step.to_owned()), more))
    });
    again.collect()
}

/// Fills in how long after each fault's end the first step began that was handed out after it.
pub fn time_first_steps(faults: &mut [Injected], evidence: &Evidence) {
    let mut handed_out: BTreeSet<(&str, &str, i64, i64)> = BTreeSet::new();
    for history in &evidence.histories {
        for event in history.of("step.started") {
            let number = event.number("execution").unwrap_or_default();
            handed_out.insert((&history.run, &event.step, number, event.at_ms));
        }
    }
    let starts: BTreeMap<(&str, &str, i64), i64> = evidence
        .effects
        .iter()
        .filter(|e| e.is_start())
        .map(|e| ((e.run.as_str(), e.step.as_str(), i64::from(e.attempt)), e.at_ms))
        .collect();
    for fault in faults {
        let after = handed_out.iter().filter(|(.., at)| *at >= fault.over_ms);
        let began = after.filter_map(|(run, step, number, _)| starts.get(&(*run, *step, *number)));
        fault.first_step_ms = began.min().map(|at| at - fault.over_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<i64> = (1..=20).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 95)), (Some(10), Some(19)));
        assert_eq!((percentile(&[7], 95), percentile(&[], 50)), (Some(7), None));
    }
}
