//! Rules across the signals of a run: when the plan itself should change.

use meta_domain::failure::FailureType;
use meta_domain::signal::Signal;
use std::collections::BTreeSet;

/// More different failure types than this on one run ask for a new plan.
const TYPES_PER_RUN_MAX: usize = 3;

/// Applies the run-wide rules to a fresh signal.
///
/// `previous_types_of_step` are the types of this step's earlier attempts, oldest first;
/// `types_of_run` are those of every earlier signal of the run. The signal keeps its own type; its
/// source names the run-wide rule that overruled it.
pub fn with_history(
    signal: Signal,
    previous_types_of_step: &[FailureType],
    types_of_run: &[FailureType],
) -> Signal {
    let unknown = FailureType::Unknown;
    if signal.failure_type == unknown && previous_types_of_step.last() == Some(&unknown) {
        return replan(signal, "consecutive_unknown_failures");
    }
    let mut types: BTreeSet<FailureType> = types_of_run.iter().copied().collect();
    types.extend(previous_types_of_step);
    types.insert(signal.failure_type);
    if types.len() > TYPES_PER_RUN_MAX {
        return replan(signal, "mixed_failure_types");
    }
    signal
}

fn replan(signal: Signal, rule: &str) -> Signal {
    Signal { requires_replan: true, source: rule.to_owned(), ..signal }
}
