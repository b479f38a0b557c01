//! What must hold of every run after every transition. Called by tests, and by the engine before
//! it commits: a transition that breaks one is refused, never stored.

use super::run::{Run, State};
use meta_domain::gate::GateStatus;
use meta_domain::status::RunStatus;

/// The first invariant that does not hold, by name.
pub fn broken(run: &Run) -> Option<&'static str> {
    let checks: [(&'static str, bool); 5] = [
        ("a_gated_step_has_a_pending_gate", gated_steps_have_gates(run)),
        ("an_ended_run_has_no_active_step", !run.status.is_terminal() || nothing_active(run)),
        ("a_succeeded_run_has_only_passed_steps", success_is_whole(run)),
        ("no_step_starts_before_its_needs", order_is_kept(run)),
        ("one_pending_gate_a_step", one_gate_a_step(run)),
    ];
    checks.iter().find(|(_, holds)| !holds).map(|(name, _)| *name)
}

fn gated_steps_have_gates(run: &Run) -> bool {
    run.steps.iter().all(|s| match s.state {
        State::Gated { gate } => run.gate(gate).is_some_and(|g| g.status == GateStatus::Pending),
        _ => true,
    })
}

fn nothing_active(run: &Run) -> bool {
    run.steps.iter().all(|s| !s.is_active() && !matches!(s.state, State::Gated { .. }))
        && run.gates.iter().all(|g| g.status != GateStatus::Pending)
}

fn success_is_whole(run: &Run) -> bool {
    run.status != RunStatus::Succeeded
        || run.steps.iter().all(|s| matches!(s.state, State::Succeeded | State::Skipped))
}

fn order_is_kept(run: &Run) -> bool {
    run.steps.iter().filter(|s| s.state == State::Executing).all(|s| {
        s.planned.needs.iter().all(|n| {
            run.step(n).is_some_and(|n| matches!(n.state, State::Succeeded | State::Skipped))
        })
    })
}

fn one_gate_a_step(run: &Run) -> bool {
    run.steps.iter().all(|s| {
        let of_step =
            |g: &&super::run::Gate| g.step == s.planned.name && g.status == GateStatus::Pending;
        run.gates.iter().filter(of_step).count() <= 1
    })
}
