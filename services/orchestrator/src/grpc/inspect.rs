//! Questions to a runner that change nothing: what a source holds, and the files of a workspace.
//! They stand in the queue without a run, and whoever asked waits for the answer.

use crate::core::queue::Task;
use crate::core::transition::TaskKind;
use crate::shell::Engine;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::source::Source;
use meta_proto::runner as work;
use meta_runtime::{new_id, now};
use meta_telemetry::trace;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a caller waits for a runner's answer, in milliseconds.
const ANSWER_MS_MAX: u64 = 60_000;
/// How often it is looked for the answer where nothing told that it is there.
const LOOK: Duration = Duration::from_millis(500);

/// A question as it stands in the queue.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The place, in its trace, of the request that asks; empty when it is in none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) trace: String,
    #[serde(flatten)]
    question: Question,
}

/// What a runner is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Question {
    /// To list a source for the planner.
    Source(Source),
    /// To pack the files of a run's workspace.
    Archive {
        /// Whose.
        archive_of: RunId,
        /// At which commit.
        head: String,
    },
}

impl Asked {
    /// Reads what stands in the queue.
    ///
    /// # Errors
    /// When it is no question.
    pub(super) fn read(payload: &str) -> Result<Self, Fault> {
        serde_json::from_str(payload)
            .map_err(|e| Fault::new(ErrorKind::NotFound, "BAD_SOURCE", e.to_string()))
    }

    /// What a runner gets to do.
    pub(super) fn order(self) -> work::task::Work {
        match self.question {
            Question::Source(source) => {
                work::task::Work::Inspect(work::InspectWork { source: Some(source.into()) })
            }
            Question::Archive { archive_of, head } => {
                let run_id = archive_of.to_string();
                work::task::Work::Archive(work::ArchiveWork { run_id, head })
            }
        }
    }
}

impl Question {
    /// Asks, and waits; the runner may say that it cannot.
    pub(super) async fn ask<T: DeserializeOwned>(
        self,
        engine: &Engine,
        tenant: TenantId,
    ) -> Result<Result<T, String>, Fault> {
        let internal = |e: serde_json::Error| {
            Fault::new(ErrorKind::Internal, "INTERNAL", format!("inspection: {e}"))
        };
        let task = TaskId(new_id());
        let trace = trace::current().map(|of| of.to_string()).unwrap_or_default();
        let payload = serde_json::to_string(&Asked { trace, question: self }).map_err(internal)?;
        let new =
            Task { payload, ..Task::new(task, tenant, TaskKind::Inspect, engine.clock.now()) };
        let mut changes = engine.watch_loose();
        engine.put_loose(&new).await?;
        let start = now();
        let result = loop {
            changes.mark_unchanged();
            if let Some(result) = engine.tables.inspection(task).await? {
                break Some(result);
            }
            if now().since_ms(start) > ANSWER_MS_MAX {
                break None;
            }
            Engine::wait(&mut changes, LOOK).await;
        };
        engine.tables.delete_inspection(task).await?;
        let result = result.ok_or_else(|| {
            let text = format!("no runner answered within {ANSWER_MS_MAX} ms");
            Fault::new(ErrorKind::Unavailable, "NO_RUNNER", text)
                .retry_after(Duration::from_secs(5))
        })?;
        serde_json::from_str(&result).map_err(internal)
    }
}

/// The runner's answer as it is kept for whoever waits.
pub(super) fn archived(result: &work::ArchiveResult) -> String {
    STANDARD.encode(&result.tar_gz)
}

/// The files of a run's workspace at a commit.
pub(super) async fn workspace(
    engine: &Engine,
    tenant: TenantId,
    (run, head): (RunId, String),
) -> Result<Vec<u8>, Fault> {
    if head.is_empty() {
        let text = format!("run {run} has no workspace yet");
        return Err(Fault::new(ErrorKind::FailedPrecondition, "NO_WORKSPACE", text));
    }
    let question = Question::Archive { archive_of: run, head };
    let packed: String = question.ask(engine, tenant).await?.map_err(|why| {
        let text = format!("the workspace of run {run} cannot be packed: {why}");
        Fault::new(ErrorKind::FailedPrecondition, "WORKSPACE_NOT_AVAILABLE", text)
    })?;
    STANDARD
        .decode(packed)
        .map_err(|e| Fault::new(ErrorKind::Internal, "INTERNAL", format!("archive: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_keeps_the_trace_of_who_asks_and_one_without_is_read_too() {
        let question = || Question::Source(Source::Path { path: "/src".to_owned() });
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        for trace in [trace, String::new()] {
            let asked = Asked { trace: trace.clone(), question: question() };
            let text = serde_json::to_string(&asked).expect("JSON");
            assert_eq!(text.contains("trace"), !trace.is_empty(), "{text}");
            let read = Asked::read(&text).expect("a question");
            assert_eq!(read.trace, trace);
            let work::task::Work::Inspect(inspect) = read.order() else { panic!("{text}") };
            assert_eq!(inspect.source, Some(Source::Path { path: "/src".to_owned() }.into()));
        }
        let archive = r#"{"archive_of":"01890a5d-ac96-774b-bcce-b302099a8057","head":"abc"}"#;
        let read = Asked::read(archive).expect("a question of before");
        assert!(matches!(read.order(), work::task::Work::Archive(of) if of.head == "abc"));
        assert!(Asked::read("{}").is_err());
    }
}
