//! The promises, checked from outside: one pure function an invariant, over three records that know
//! nothing of each other (the clients', the steps', the orchestrator's).

mod approvals;
mod backoff;
mod budgets;
mod cancels;
mod completions;
mod dag;
mod database_away;
mod disk_full;
mod liveness;
mod logs;
mod orphans;
mod results;
mod runs;
#[cfg(test)]
mod sample;
mod streams;
mod tenants;
mod zombies;

pub use database_away::database_away;
pub use disk_full::disk_full;
pub use orphans::orphans_are_taken_over;
pub use zombies::{late_results_are_refused, zombies_are_ended};

use crate::effects::Effect;
use crate::history::History;
use crate::records::{Call, Injected, Sighting};
use serde::Serialize;

/// What was promised to hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Length of a lease, in milliseconds.
    pub lease_ms: i64,
    /// Attempts that a step may have.
    pub attempts_step: usize,
    /// Attempts that a run may have.
    pub attempts_run: usize,
    /// The longest backoff, in milliseconds.
    pub backoff_cap_ms: i64,
    /// How far an orchestrator's clock may be from the steps', in milliseconds: both are read in
    /// whole ones, and it goes by the database's where that is a server, as far as a question tells.
    pub clock_slack_ms: i64,
    /// All processes had the same clock, so times of different records can be compared.
    pub one_clock: bool,
}

/// Everything that is known of a test.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What clients asked and were told.
    pub calls: Vec<Call>,
    /// What streams showed.
    pub sightings: Vec<Sighting>,
    /// Watchers whose stream the server ended as complete, with the run.
    pub complete_streams: Vec<(u64, String)>,
    /// What steps did.
    pub effects: Vec<Effect>,
    /// What the orchestrator says of every acknowledged run; those it does not know are missing.
    pub histories: Vec<History>,
    /// What was injected.
    pub faults: Vec<Injected>,
    /// Results that runners say were refused, because they came after their leases.
    pub late_results: usize,
    /// What was promised.
    pub limits: Limits,
}

impl Evidence {
    /// The history of a run.
    pub fn history(&self, run: &str) -> Option<&History> {
        self.histories.iter().find(|h| h.run == run)
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which one, such as `I3`.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl Violation {
    /// A promise that is broken in this way.
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

/// A check of one promise.
type Check = fn(&Evidence) -> Vec<Violation>;

/// Every check that applies to every experiment.
pub const CHECKS: [Check; 12] = [
    runs::no_run_is_lost,
    results::no_result_is_lost,
    completions::no_step_is_completed_twice,
    budgets::no_budget_is_overdrawn,
    backoff::no_attempt_is_early,
    approvals::a_gate_is_decided_once,
    logs::logs_are_dense_and_make_the_row,
    dag::no_step_is_before_its_needs,
    tenants::nobody_sees_another_tenant,
    cancels::a_cancel_wins,
    liveness::every_run_comes_to_rest,
    streams::watchers_see_each_event_once,
];

/// Every broken promise.
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    CHECKS.iter().flat_map(|check| check(evidence)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_evidence_breaks_no_promise() {
        assert_eq!(check(&sample::sound()), []);
    }
}
