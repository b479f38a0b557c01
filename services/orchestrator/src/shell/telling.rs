//! What the world is told of a stored change: counts, and the spans of a run that has ended.

use crate::core::counted::{Counted, Ending, counted};
use crate::core::event::RunEvent;
use crate::core::run::{Run, State, Step};
use crate::core::work::Work;
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use meta_telemetry::catalogue as metric;
use meta_telemetry::trace::{self, Ended, KeyValue, Kind, Span};
use std::time::Duration;

/// Tells a change that is stored; to be called once for each.
pub(super) fn tell(work: &Work) {
    for (_, event) in &work.events {
        turn(&work.run, event);
    }
    for one in counted(&work.was, &work.run, &work.events) {
        count(one);
    }
    for kind in &work.lost {
        metric::LEASE_LOSSES.add(&[kind.as_str()], 1);
    }
    let ends = |(_, event): &(Timestamp, RunEvent)| {
        matches!(event, RunEvent::Succeeded | RunEvent::Failed { .. } | RunEvent::Canceled { .. })
    };
    if work.events.iter().any(ends) {
        ended(&work.run);
    }
}

/// A line for each turn of the loop.
fn turn(run: &Run, event: &RunEvent) {
    let (RunEvent::Retry { attempt, .. }
    | RunEvent::PatchApplied { attempt, .. }
    | RunEvent::Replanned { attempt, .. }
    | RunEvent::Escalated { attempt, .. }
    | RunEvent::GaveUp { attempt }
    | RunEvent::RolledBack { attempt: Some(attempt), .. }) = event
    else {
        return;
    };
    let span = run.place_of(&attempt.step).map_or_else(Span::none, Span::as_part_of);
    let _within = span.enter();
    tracing::info!(
        run = %run.id,
        step = attempt.step,
        signal_type = attempt.signal.failure_type.as_str(),
        strategy = %attempt.strategy,
        outcome = %attempt.outcome,
        "a turn of the auto-fix loop"
    );
}

fn count(one: Counted) {
    match one {
        Counted::Attempt(failure, outcome) => {
            metric::AUTOFIX_ATTEMPTS.add(&[failure.as_str(), outcome.as_str()], 1);
        }
        Counted::Passed(failure, outcome) => {
            metric::AUTOFIX_PASSED.add(&[failure.as_str(), outcome.as_str()], 1);
        }
        Counted::Backoff(ms) => metric::AUTOFIX_BACKOFF.record(&[], Duration::from_millis(ms)),
        Counted::Replan => metric::AUTOFIX_REPLANS.add(&[], 1),
        Counted::Gate(gate, status) => {
            metric::APPROVAL_REQUESTS.add(&[gate.as_str(), status.as_str()], 1);
        }
        Counted::Classified(failure) => metric::CLASSIFIED.add(&[failure.as_str()], 1),
        Counted::Tried(verdict) => metric::FIXER_TRIES.add(&[verdict.as_str()], 1),
        Counted::StepEnded(ending, ms) => {
            metric::STEP_DURATION.record(&[ending.as_str()], Duration::from_millis(ms));
        }
        Counted::RunEnded(ending, ms, failure) => {
            metric::RUN_DURATION.record(&[ending.as_str()], Duration::from_millis(ms));
            if let Some(failure) = failure {
                metric::RUN_ERRORS.add(&[failure.as_str()], 1);
            }
        }
    }
}

/// A run has ended: its span, and one for each of its steps.
fn ended(run: &Run) {
    let place = run.place();
    let eventful = run.status != RunStatus::Succeeded || !run.attempts.is_empty();
    if eventful {
        let within = place.map_or_else(Span::none, Span::as_part_of);
        let _within = within.enter();
        tracing::info!(run = %run.id, status = %run.status, "a run has ended");
    } else {
        // there may be a thousand of them in a second
        tracing::debug!(run = %run.id, status = %run.status, "a run has ended");
    }
    let (Some(place), Some(asked)) = (place, run.asked_in()) else { return };
    if !trace::is_told(place) {
        return;
    }
    let last = run.failure_types.last().copied();
    let ending = match run.status {
        RunStatus::Succeeded => Ending::Success,
        RunStatus::Canceled => Ending::Cancellation,
        _ => Ending::of_type(last),
    };
    let name = run.spec.to_string();
    let mut attributes = vec![
        KeyValue::new("cicd.pipeline.name", name.clone()),
        KeyValue::new("cicd.pipeline.run.id", run.id.to_string()),
        KeyValue::new("cicd.pipeline.run.url.full", format!("/api/meta/v2/runs/{}", run.id)),
        KeyValue::new("cicd.pipeline.action.name", "RUN"),
        KeyValue::new("cicd.pipeline.result", ending.as_str()),
        KeyValue::new("metabuilder.autofix.attempts", number(run.attempts.len())),
    ];
    let broken = matches!(ending, Ending::Failure | Ending::Error);
    if let Some(last) = last.filter(|_| broken) {
        attributes.push(KeyValue::new("error.type", last.as_str()));
    }
    trace::tell(Ended {
        context: place,
        parent: asked.span,
        kind: Kind::Server,
        name: format!("RUN {name}").into(),
        began_ms: run.created_at.0,
        ended_ms: run.finished_at.unwrap_or(run.created_at).0,
        attributes,
        failure: broken.then(|| run.reason.clone()),
    });
    for step in &run.steps {
        step_ended(run, step, place.span);
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A step that was begun, with everything that was done for it.
fn step_ended(run: &Run, step: &Step, parent: u64) {
    let name = &step.planned.name;
    let (Some(context), Some(began)) = (run.place_of(name), step.started_at) else { return };
    let ending = match &step.state {
        State::Succeeded => Ending::Success,
        State::Skipped => Ending::Skip,
        State::Canceled => Ending::Cancellation,
        _ => step.exit.as_ref().map_or(Ending::Failure, Ending::of),
    };
    let failure = step.signal.as_ref().map(|s| s.failure_type);
    let mut attributes = vec![
        KeyValue::new("cicd.pipeline.task.name", name.clone()),
        KeyValue::new("cicd.pipeline.task.run.id", format!("{}/{name}", run.id)),
        KeyValue::new(
            "cicd.pipeline.task.run.url.full",
            format!("/api/meta/v2/runs/{}#{name}", run.id),
        ),
        KeyValue::new("cicd.pipeline.task.run.result", ending.as_str()),
        KeyValue::new("metabuilder.step.executions", i64::from(step.executions)),
        KeyValue::new("metabuilder.step.flaky", step.flaky),
    ];
    for attempt in run.attempts.iter().filter(|a| a.step == *name).take(1) {
        attributes.push(KeyValue::new("metabuilder.autofix.strategy", attempt.strategy.as_str()));
        attributes.push(KeyValue::new("metabuilder.autofix.outcome", attempt.outcome.as_str()));
    }
    let broken = matches!(ending, Ending::Failure | Ending::Error | Ending::Timeout);
    if let Some(failure) = failure.filter(|_| broken) {
        attributes.push(KeyValue::new("error.type", failure.as_str()));
    }
    let end = step.finished_at.or(run.finished_at).unwrap_or(began);
    trace::tell(Ended {
        context,
        parent,
        kind: Kind::Internal,
        name: format!("step {name}").into(),
        began_ms: began.0,
        ended_ms: end.0,
        attributes,
        failure: broken.then(|| step.reason.clone()),
    });
}
