//! What to do about a failed step: BEHAVIOUR.md section 4 as one function.
//!
//! The order: flag, budgets, a patch that made things worse, a flake that is known, then the failure
//! type's own way. The
//! jitter and what is remembered are inputs, so that the same case always gets the same decision.

mod escalate;
mod history;
mod reason;
mod retry;

use super::learn::Memory;
use super::registry::{Candidate, Registry};
use super::replan;
use history::History;
use meta_domain::autofix::{Case, Decision, FixerCommand};
use meta_domain::failure::FailureType;

pub use history::{given_up, patches_refused, repeats};

/// Decides about a failed step. `jitter` is in `[0, 1)`.
pub fn decide(case: &Case, registry: &Registry, memory: &Memory, jitter: f64) -> Decision {
    let history = History::of(case);
    if !case.settings.autofix_enabled {
        let reason = "auto-fix is switched off (autofix_enabled = false)".to_owned();
        return Decision::GiveUp { reason };
    }
    if case.exit.timed_out {
        return time_limit(case, &history, jitter);
    }
    if let Some(spent) = history.spent_budget() {
        return escalate::budget_spent(case, &spent);
    }
    if let Some(reason) = history.made_worse() {
        return Decision::Rollback { reason };
    }
    if history.patches_in_a_row() {
        return escalate::too_many_patches(case);
    }
    if let Some(again) = retry::known_flake(case, &history, jitter) {
        return again;
    }
    let way = Way { case, history: &history, registry, memory, jitter };
    match case.signal.failure_type {
        FailureType::Transient | FailureType::RateLimit => {
            way.retry().or_else(|| way.replan()).unwrap_or_else(|| escalate::last_word(case))
        }
        FailureType::Infra => way
            .fix()
            .or_else(|| way.retry())
            .or_else(|| way.replan())
            .unwrap_or_else(|| escalate::last_word(case)),
        FailureType::Runtime => way
            .fix()
            .or_else(|| way.lacking())
            .or_else(|| way.retry())
            .or_else(|| way.model())
            .or_else(|| way.replan())
            .unwrap_or_else(|| escalate::last_word(case)),
        FailureType::Unknown => way
            .fix()
            .or_else(|| way.asked_replan())
            .or_else(|| way.lacking())
            .or_else(|| way.retry())
            .or_else(|| way.model())
            .or_else(|| way.replan())
            .unwrap_or_else(|| escalate::last_word(case)),
        FailureType::TestAssert => way
            .flake_test()
            .or_else(|| way.fix_or_model())
            .or_else(|| way.asked_replan())
            .unwrap_or_else(|| escalate::last_word(case)),
        FailureType::Security | FailureType::Policy => way
            .fix_or_model()
            .or_else(|| way.asked_replan())
            .unwrap_or_else(|| escalate::last_word(case)),
        FailureType::Lint | FailureType::Typecheck | FailureType::SchemaMigration => way
            .fix_or_model()
            .or_else(|| way.asked_replan())
            .or_else(|| way.lacking())
            .unwrap_or_else(|| escalate::last_word(case)),
    }
}

/// The fixers that claim a case and may still be tried, best first: a patch that healed this failure
/// before, then the deterministic ones as the past ranks them.
pub fn open_fixers(case: &Case, registry: &Registry, memory: &Memory) -> Vec<Candidate> {
    let history = History::of(case);
    let claimed = registry.claims(case);
    let mut all: Vec<Candidate> = memory.replays(case, &claimed);
    all.extend(memory.ranked(case, claimed));
    all.into_iter().filter(|c| history.is_open(&c.command.id)).collect()
}

/// Whether a fixer may be tried on a case, as far as the case's own past says.
pub fn is_open(case: &Case, fixer: &str) -> bool {
    History::of(case).is_open(fixer)
}

/// A step that its own time limit ended: one retry, one longer limit, then the end.
fn time_limit(case: &Case, history: &History<'_>, jitter: f64) -> Decision {
    if history.spent_budget().is_none() {
        if history.retries_of_step() == 0 {
            return retry::after_time_limit(case, jitter);
        }
        if let Some(changed) = replan::extend_timeout(case).or_else(|| replan::split(case)) {
            return changed;
        }
    }
    let minutes = f64::from(u32::try_from(case.step.timeout_ms / 100).unwrap_or(u32::MAX)) / 600.0;
    Decision::GiveUp {
        reason: format!(
            "the step did not end within its time limit of {minutes:.1} min; {}",
            reason::tried(case)
        ),
    }
}

/// The ways that are open to a failure, each `None` when it is not.
struct Way<'a> {
    case: &'a Case,
    history: &'a History<'a>,
    registry: &'a Registry,
    memory: &'a Memory,
    jitter: f64,
}

impl Way<'_> {
    /// The deterministic fixers that are open.
    fn fix(&self) -> Option<Decision> {
        self.fixers(false)
    }

    /// The same with the model behind them.
    fn fix_or_model(&self) -> Option<Decision> {
        self.fixers(true)
    }

    fn fixers(&self, model: bool) -> Option<Decision> {
        let open = open_fixers(self.case, self.registry, self.memory);
        let mut fixers: Vec<FixerCommand> = open.into_iter().map(|c| c.command).collect();
        if model {
            fixers.extend(self.registry.model(self.case));
        }
        let titles: Vec<&str> = fixers.iter().map(|f| f.title.as_str()).collect();
        let signal = &self.case.signal;
        let reason = format!("{} failure claimed by {}", signal.failure_type, titles.join("; "));
        (!fixers.is_empty()).then_some(Decision::FixSpecificIssue { fixers, reason })
    }

    /// The model alone, where a retry comes before it. A missing package or tool is no code to repair.
    fn model(&self) -> Option<Decision> {
        if reason::missing_module(self.case).is_some() || reason::missing_tool(self.case).is_some()
        {
            return None;
        }
        let fixer = self.registry.model(self.case)?;
        let reason = format!("no deterministic fixer helped; {} is asked", fixer.title);
        Some(Decision::FixSpecificIssue { fixers: vec![fixer], reason })
    }

    /// A re-plan for what the evidence says is lacking in the plan.
    fn lacking(&self) -> Option<Decision> {
        replan::asked_for_by_evidence(self.case)
    }

    fn retry(&self) -> Option<Decision> {
        retry::plain(self.case, self.history, self.jitter)
    }

    fn flake_test(&self) -> Option<Decision> {
        retry::flake_test(self.case, self.history, self.jitter)
    }

    /// A re-plan because the signal asks for one.
    fn asked_replan(&self) -> Option<Decision> {
        self.case.signal.requires_replan.then(|| self.replan()).flatten()
    }

    fn replan(&self) -> Option<Decision> {
        replan::replan(self.case)
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use samples::{case, evidence, retried, try_of};
