//! Classifies a failure and lets the auto-fixer decide about it.

use super::{Judge, PEER_TIMEOUT, garbled, machine, peer};
use crate::core::run::{Run, Step};
use crate::core::transition::Input;
use meta_domain::autofix::{Case, Decision};
use meta_domain::failure::FailureType;
use meta_domain::fault::Fault;
use meta_domain::signal::Signal;
use meta_proto::convert::{Number, Required};
use meta_proto::{autofixer as apb, classifier as cpb};
use meta_runtime::call;

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
        let request = apb::DecideRequest { case: Some(case.into()) };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer = self.autofixer.decide(request).await.map_err(peer("autofixer"))?.into_inner();
        let decision = answer.decision.required("decision").map_err(garbled("autofixer"))?;
        let decision = Decision::try_from(decision).map_err(garbled("autofixer"))?;
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
        let request = cpb::ClassifyRequest { context: Some(context), log };
        let request = call(&machine(run), PEER_TIMEOUT, request);
        let answer =
            self.classifier.classify(request).await.map_err(peer("classifier"))?.into_inner();
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
        let files = self.engine.tables.artifact(run.id, "files").await?.unwrap_or_default();
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
        })
    }
}
