//! What only the event log tells: which execution a turn of the loop answered, which lines spoke for
//! a verdict, what the guard said of each patch.

use crate::auth::{Caller, ask_within};
use crate::problem::Problem;
use crate::routes::App;
use meta_proto::orchestrator as pb;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Events that are read for a page; a run with more shows its first ones in this detail.
const EVENTS_MAX: usize = 5_000;

/// One execution of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Execution {
    pub(super) number: u32,
    pub(super) runner: String,
    /// Milliseconds; `None` while it goes on.
    pub(super) duration_ms: Option<u64>,
    pub(super) passed: Option<bool>,
    /// Lines that spoke for the verdict.
    pub(super) evidence: BTreeSet<u64>,
}

/// What the guard said of a patch.
#[derive(Debug, Clone, Default)]
pub(super) struct Guard {
    pub(super) needs_approval: bool,
    pub(super) reasons: Vec<String>,
    pub(super) risk: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Story {
    executions: BTreeMap<String, Vec<Execution>>,
    answered: BTreeMap<String, u32>,
    guards: BTreeMap<String, Guard>,
}

impl Story {
    /// Reads the events that are there.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn read(app: &App, caller: &Caller, run_id: &str) -> Result<Self, Problem> {
        let limit = app.config.request_timeout();
        let request =
            pb::StreamEventsRequest { run_id: run_id.to_owned(), after_seq: 0, follow: false };
        let mut runs = app.peers.runs();
        let mut log = ask_within(limit, runs.stream_events(caller.message(request))).await?;
        let read = async {
            let mut story = Self::default();
            for _ in 0..EVENTS_MAX {
                let Some(message) = log.message().await? else { break };
                story.take(&message.event.unwrap_or_default());
            }
            Ok::<_, tonic::Status>(story)
        };
        let whole: Duration = limit;
        Ok(tokio::time::timeout(whole, read).await.map_err(|_| Problem::deadline())??)
    }

    /// The executions of a step, first one first.
    pub(super) fn executions(&self, step: &str) -> &[Execution] {
        self.executions.get(step).map_or(&[], Vec::as_slice)
    }

    /// The execution whose failure a turn of the loop answered.
    pub(super) fn answered(&self, attempt_id: &str) -> Option<u32> {
        self.answered.get(attempt_id).copied()
    }

    /// What the guard said of a patch, by its SHA-256.
    pub(super) fn guard(&self, sha256: &str) -> Option<&Guard> {
        self.guards.get(sha256)
    }

    fn take(&mut self, event: &pb::RunEvent) {
        let data: Value = serde_json::from_str(&event.data_json).unwrap_or_default();
        let step = event.step.as_str();
        match event.r#type.as_str() {
            "step.started" => self.executions.entry(step.to_owned()).or_default().push(Execution {
                number: number(&data["execution"]).try_into().unwrap_or(0),
                runner: text(&data["runner"]),
                ..Execution::default()
            }),
            "step.succeeded" | "step.attempt_failed" => {
                let passed = event.r#type == "step.succeeded";
                if let Some(last) = self.last(step) {
                    last.passed = Some(passed);
                    last.duration_ms = Some(number(&data["execution"]["duration_ms"]));
                }
            }
            "autofix.classified" => {
                let lines = data["signal"]["evidence"].as_array().into_iter().flatten();
                let lines: Vec<u64> = lines.map(|e| number(&e["line"])).collect();
                if let Some(last) = self.last(step) {
                    last.evidence.extend(lines);
                }
            }
            "autofix.reviewed" => {
                let reasons = data["reasons"].as_array().into_iter().flatten().map(text).collect();
                let guard = Guard {
                    needs_approval: !data["approval"].is_null(),
                    reasons,
                    risk: number(&data["risk"]),
                };
                self.guards.insert(text(&data["patch"]["sha256"]), guard);
            }
            _ => {}
        }
        if let Some(id) = data["attempt"]["id"].as_str()
            && let Some(last) = self.last(step).map(|e| e.number)
        {
            self.answered.insert(id.to_owned(), last);
        }
    }

    fn last(&mut self, step: &str) -> Option<&mut Execution> {
        self.executions.get_mut(step)?.last_mut()
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(kind: &str, data: &Value) -> pb::RunEvent {
        let (step, data_json) = ("test".to_owned(), data.to_string());
        pb::RunEvent { r#type: kind.into(), step, data_json, ..pb::RunEvent::default() }
    }

    #[test]
    fn turns_belong_to_the_execution_that_failed() {
        let mut story = Story::default();
        for (kind, data) in [
            ("step.started", json!({ "execution": 1, "runner": "r" })),
            ("step.attempt_failed", json!({ "execution": { "duration_ms": 40 } })),
            (
                "autofix.classified",
                json!({ "signal": { "evidence": [{ "line": 3 }, { "line": 9 }] } }),
            ),
            ("autofix.retry", json!({ "attempt": { "id": "one" } })),
            ("step.started", json!({ "execution": 2, "runner": "r" })),
            ("step.succeeded", json!({ "execution": { "duration_ms": 50 } })),
            ("nothing.known", json!("odd")),
        ] {
            story.take(&told(kind, &data));
        }
        assert_eq!(story.answered("one"), Some(1));
        let [first, second] = story.executions("test") else { panic!("two executions") };
        assert_eq!(first.evidence, BTreeSet::from([3, 9]));
        assert_eq!((first.passed, second.passed), (Some(false), Some(true)));
        assert_eq!(second.duration_ms, Some(50));
    }
}
