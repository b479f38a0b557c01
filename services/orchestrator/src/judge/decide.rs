//! Classifies a failure and lets the auto-fixer decide about it.

use super::draft::{DRAFT_TIMEOUT, LOG_BYTES_MAX, last_log};
use super::{Judge, PEER_TIMEOUT, garbled, machine, peer, spent};
use crate::core::run::{Run, Step};
use crate::core::transition::{BY_MODEL, Input};
use meta_domain::autofix::{Case, Decision};
use meta_domain::failure::FailureType;
use meta_domain::fault::Fault;
use meta_domain::gate::GateType;
use meta_domain::plan::{ApprovalMode, PlanOp};
use meta_domain::signal::Signal;
use meta_proto::autofixer::draft_replan_response::Answer;
use meta_proto::common::Decision as Wire;
use meta_proto::common::decision::Strategy;
use meta_proto::convert::{Number, Required};
use meta_proto::{autofixer as apb, classifier as cpb};
use meta_runtime::{call, now};
use std::time::Instant;

/// How long a flake is remembered, in milliseconds.
const FLAKY_MS: i64 = 30 * 24 * 3_600_000;
/// Rows of the register of flakes that are looked at.
const FLAKY_ROWS_MAX: u32 = 500;

impl Judge {
    pub(super) async fn judge(&mut self, run: &Run, step: &Step) -> Result<Input, Fault> {
        let signal = match &step.signal {
            Some(known) => known.clone(),
            None => self.classify(run, step).await?,
        };
        let mut types = run.failure_types.clone();
        if step.signal.is_none() {
            types.push(signal.failure_type);
        }
        let case = self.case(run, step, signal.clone(), types).await?;
        let began = Instant::now();
        let request = apb::DecideRequest { case: Some(case.clone().into()) };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer = self.autofixer.decide(request).await.map_err(peer("autofixer"))?.into_inner();
        spent("decide", began);
        let decision = answer.decision.required("decision").map_err(garbled("autofixer"))?;
        let decision = Decision::try_from(decision).map_err(garbled("autofixer"))?;
        let decision = self.with_models_plan(run, step, case, decision).await?;
        let paid = run.paid_attempts().count();
        Ok(Input::Judged { step: step.planned.name.clone(), signal, decision, paid })
    }

    async fn classify(&mut self, run: &Run, step: &Step) -> Result<Signal, Fault> {
        let log = match step.logs.iter().rev().find(|l| !l.verification) {
            Some(log) => self.engine.logs.text((run.tenant, run.id), &log.name).await?,
            None => Vec::new(),
        };
        let of_step = run
            .attempts
            .iter()
            .filter(|a| a.step == step.planned.name && a.is_paid())
            .map(|a| a.signal.failure_type.number())
            .collect();
        let context = cpb::ClassifyContext {
            step_name: step.planned.name.clone(),
            command: step.planned.run.to_string(),
            exit: step.exit.map(Into::into),
            previous_types_of_step: of_step,
            types_of_run: run.failure_types.iter().copied().map(Number::number).collect(),
        };
        let began = Instant::now();
        let request = cpb::ClassifyRequest { context: Some(context), log };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer =
            self.classifier.classify(request).await.map_err(peer("classifier"))?.into_inner();
        spent("classify", began);
        let signal = answer.signal.required("signal").map_err(garbled("classifier"))?;
        Signal::try_from(signal).map_err(garbled("classifier"))
    }

    pub(super) async fn case(
        &mut self,
        run: &Run,
        step: &Step,
        signal: Signal,
        failure_types_of_run: Vec<FailureType>,
    ) -> Result<Case, Fault> {
        let name = &step.planned.name;
        let tables = &self.engine.tables;
        let (files, known_flaky) = tokio::try_join!(
            async { Ok(tables.artifact(run.id, "files").await?.unwrap_or_default()) },
            self.known_flaky(run, name, &signal.fingerprint),
        )?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Case {
            step: step.planned.clone(),
            exit: step.exit.unwrap_or_default(),
            signal,
            settings: self.settings.of_run(&machine(run), run.id),
            history: run.history(name),
            tried: step.tries.clone(),
            attempts_of_run: count(run.paid_attempts().count()),
            failure_types_of_run,
            parallel_steps: run.graph.beside(name),
            replans_of_run: count(run.deltas.len()),
            files: serde_json::from_slice(&files).unwrap_or_default(),
            patched: run.is_patched(name),
            bot_commits_in_a_row: run.bot_commits,
            plan: run.graph.steps.clone(),
            known_flaky,
        })
    }

    /// Whether this very failure of the step went away by itself before: in this run, or registered
    /// for its source not too long ago.
    async fn known_flaky(&self, run: &Run, step: &str, fingerprint: &str) -> Result<bool, Fault> {
        let since = now().plus_ms(-FLAKY_MS);
        let tables = &self.engine.tables;
        let of_source = tables.flaky_steps(run.tenant, &run.cache_key, since).await?;
        if !of_source.iter().any(|name| name == step) {
            return Ok(false);
        }
        let register = tables.flaky(run.tenant, FLAKY_ROWS_MAX).await?;
        Ok(register
            .iter()
            .any(|row| row.step == step && row.fingerprint == fingerprint && row.last_at >= since))
    }

    /// A change of the plan by a model, where the failure asks for one, the rules have none, and
    /// nothing but an end is decided. It is asked once in a run; a busy or absent model changes
    /// nothing.
    async fn with_models_plan(
        &mut self,
        run: &Run,
        step: &Step,
        case: Case,
        decided: Decision,
    ) -> Result<Decision, Fault> {
        if !wants_models_plan(&case, &decided)
            || run.deltas.iter().any(|d| d.triggered_by == BY_MODEL)
        {
            return Ok(decided);
        }
        let log = self.end_of_log(run, last_log(step), LOG_BYTES_MAX).await?;
        let request = apb::DraftReplanRequest { case: Some(case.into()), log };
        let request = call(&machine(run), DRAFT_TIMEOUT, request);
        let answer = match self.autofixer.draft_replan(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                tracing::debug!(%status, "no model proposes a plan");
                return Ok(decided);
            }
        };
        let Some(Answer::RePlan(delta)) = answer.answer else {
            tracing::info!(answer = ?answer.answer, "the model proposes no plan");
            return Ok(decided);
        };
        let wire = Wire { strategy: Some(Strategy::RePlan(delta)) };
        match Decision::try_from(wire).map_err(garbled("autofixer"))? {
            Decision::RePlan { ops, triggered_by, reason } if leaves_approvals(run, &ops) => {
                let reason = format!("{} proposes: {reason}", answer.model);
                Ok(Decision::RePlan { ops, triggered_by, reason })
            }
            _ => Ok(decided),
        }
    }
}

/// Whether a change of the plan leaves steps alone that already ask somebody: their own question must
/// not be lost in another one.
fn leaves_approvals(run: &Run, ops: &[PlanOp]) -> bool {
    let asks = |name: &String| {
        run.step(name).is_some_and(|step| step.planned.approval != ApprovalMode::Never)
    };
    !ops.iter().any(|op| asks(&op.step))
}

/// Whether the loop is at its end with a failure that asks for another plan, and still has budget.
fn wants_models_plan(case: &Case, decided: &Decision) -> bool {
    let ends = match decided {
        Decision::GiveUp { .. } => true,
        Decision::ManualIntervention { gate, .. } => *gate == GateType::Unknown,
        _ => false,
    };
    let budget = case.attempts_of_run < case.settings.max_total_attempts
        && case.history.len() < case.settings.max_per_step_attempts as usize;
    let asks = case.step.approval != ApprovalMode::Never;
    ends && budget && !asks && case.signal.requires_replan && case.settings.autofix_enabled
}

#[cfg(test)]
mod tests {
    use super::wants_models_plan;
    use meta_domain::autofix::{Case, Decision};
    use meta_domain::gate::{GateEffect, GateType};
    use serde_json::json;

    fn case() -> Case {
        serde_json::from_value(json!({
            "step": { "name": "t", "run": "t", "needs": [], "timeout_ms": 0, "cache": [],
                      "fix": null, "env": {}, "network": false, "writable": [],
                      "approval": "never", "why": "" },
            "exit": meta_domain::signal::ExitInfo::code(1),
            "signal": super::super::unreadable("a reason"),
            "settings": meta_domain::settings::Settings::default_of(
                meta_domain::settings::Environment::Staging),
            "history": [], "tried": [], "attempts_of_run": 0, "failure_types_of_run": [],
            "parallel_steps": [], "replans_of_run": 0, "files": [], "patched": false,
        }))
        .unwrap()
    }

    #[test]
    fn a_model_is_asked_for_a_plan_only_where_the_failure_asks_and_nothing_else_is_left() {
        let end = Decision::GiveUp { reason: String::new() };
        let mut asking = case();
        assert!(!wants_models_plan(&asking, &end), "no other plan is asked for");
        asking.signal.requires_replan = true;
        assert!(wants_models_plan(&asking, &end));
        let security = Decision::ManualIntervention {
            gate: GateType::Security,
            effect: GateEffect::Accept,
            reason: String::new(),
        };
        assert!(!wants_models_plan(&asking, &security), "a human has a finding to decide");
        let retry = Decision::RetryStep { backoff_ms: 0, reason: String::new() };
        assert!(!wants_models_plan(&asking, &retry));
        asking.attempts_of_run = asking.settings.max_total_attempts;
        assert!(!wants_models_plan(&asking, &end), "the budget is used up");
    }
}
