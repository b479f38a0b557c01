//! A task as a part of its run's trace, and how long the loop's own tasks take.

use meta_proto::common::PlannedStep;
use meta_proto::runner::Task;
use meta_proto::runner::complete_task_request::Result as Outcome;
use meta_proto::runner::task::Work;
use meta_telemetry::catalogue::AUTOFIX_PROCESSING;
use meta_telemetry::trace::{KeyValue, Kind, Span};
use std::fmt::{Display, Formatter};
use std::time::{Duration, Instant};

/// A task at work.
pub(super) struct Traced {
    span: Span,
    began: Instant,
    operation: Option<&'static str>,
}

impl Traced {
    /// A task that is begun by a runner.
    pub(super) fn begin(task: &Task, runner_id: &str) -> Self {
        let attributes = || {
            vec![
                KeyValue::new("cicd.pipeline.run.id", task.run_id.clone()),
                KeyValue::new("cicd.worker.id", runner_id.to_owned()),
                KeyValue::new("metabuilder.task.id", task.task_id.clone()),
                KeyValue::new("metabuilder.task.kind", word(task)),
            ]
        };
        let span = match task.traceparent.parse() {
            Ok(place) => Span::under(place, Kind::Consumer, Name(task), attributes),
            Err(_) => Span::none(),
        };
        Self { span, began: Instant::now(), operation: operation(task) }
    }

    /// Carries the work out as a part of the trace.
    pub(super) async fn carry<F: Future>(&self, work: F) -> F::Output {
        self.span.carry(work).await
    }

    /// What came of it.
    pub(super) fn end(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Error(error) => self.span.fail(error.message.clone()),
            Outcome::Step(step) => {
                let exit = step.execution.as_ref().and_then(|e| e.exit.as_ref());
                let code = exit.and_then(|e| e.code);
                self.span.set(|| KeyValue::new("process.exit.code", i64::from(code.unwrap_or(-1))));
                if code != Some(0) {
                    self.span.fail("the step did not pass");
                }
            }
            _ => {}
        }
        if let Some(operation) = self.operation.filter(|_| !matches!(outcome, Outcome::Error(_))) {
            let took: Duration = self.began.elapsed();
            AUTOFIX_PROCESSING.record_in(&[operation], took, self.span.context());
        }
    }
}

fn word(task: &Task) -> &'static str {
    match &task.work {
        Some(Work::Inspect(_)) => "inspect",
        Some(Work::Prepare(_)) => "prepare",
        Some(Work::Step(_)) => "step",
        Some(Work::Propose(_)) => "propose",
        Some(Work::Verify(_)) => "verify",
        Some(Work::Commit(_)) => "commit",
        Some(Work::Rollback(_)) => "rollback",
        Some(Work::Collect(_)) => "collect",
        Some(Work::Archive(_)) => "archive",
        None => "nothing",
    }
}

/// What the loop spends time on; the project's own steps are not that.
fn operation(task: &Task) -> Option<&'static str> {
    let loops = ["collect", "propose", "verify", "commit", "rollback"];
    loops.into_iter().find(|word_of| *word_of == word(task))
}

fn of(step: Option<&PlannedStep>) -> &str {
    step.map_or("", |step| step.name.as_str())
}

/// What a task is called in a trace.
struct Name<'a>(&'a Task);

impl Display for Name<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.0.work {
            Some(Work::Step(work)) => write!(to, "execute {}", of(work.step.as_ref())),
            Some(Work::Verify(work)) => write!(to, "verify {}", of(work.step.as_ref())),
            Some(Work::Propose(work)) => {
                write!(to, "fixer {}", work.fixer.as_ref().map_or("", |f| f.id.as_str()))
            }
            _ => to.write_str(word(self.0)),
        }
    }
}
