//! Classifying a log without a run.

use super::App;
use crate::auth::Caller;
use crate::body::Payload;
use crate::document::{Document, Resource};
use crate::problem::Problem;
use crate::view;
use axum::extract::State;
use meta_domain::fault::InvalidField;
use meta_domain::limits::TITLE_CHARS_MAX;
use meta_domain::signal::ExitInfo;
use meta_proto::classifier as pb;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    step_name: String,
    logs: String,
    #[serde(default)]
    artifacts: Vec<Artifact>,
    exit_code: Option<i32>,
}

/// A report beside the log, such as a test report in XML; it is read after the log.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Artifact {
    Text(String),
    Named(NamedArtifact),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedArtifact {
    name: String,
    content: String,
}

/// `POST /classify-failure`: the signal, or null when the log shows no failure.
pub(super) async fn classify(
    State(app): State<Arc<App>>,
    caller: Caller,
    payload: Payload,
) -> Result<Document, Problem> {
    let failure: Failure = payload.read()?;
    if !(1..=TITLE_CHARS_MAX).contains(&failure.step_name.trim().chars().count()) {
        let problem = format!("is not a step name (expected 1 to {TITLE_CHARS_MAX} characters)");
        return Err(Problem::fields("invalid_field", &[InvalidField::new("step_name", problem)]));
    }
    let context = pb::ClassifyContext {
        step_name: failure.step_name.clone(),
        exit: failure.exit_code.map(|code| ExitInfo::code(code).into()),
        ..pb::ClassifyContext::default()
    };
    let log = whole_log(failure.logs, &failure.artifacts).into_bytes();
    let message = caller.message(pb::ClassifyRequest { context: Some(context), log });
    let found = caller.ask(app.peers.classifier().classify(message)).await?;
    let attributes = json!({
        "step_name": failure.step_name,
        "failure_signal": view::signal::signal(found.signal.as_ref()),
    });
    let id = meta_runtime::new_id().to_string();
    Ok(Document::of(Resource::new("failure_classification", id, attributes)))
}

fn whole_log(mut log: String, artifacts: &[Artifact]) -> String {
    for artifact in artifacts {
        if !log.is_empty() && !log.ends_with('\n') {
            log.push('\n');
        }
        match artifact {
            Artifact::Text(text) => log.push_str(text),
            Artifact::Named(NamedArtifact { name, content }) => {
                for part in ["==> ", name, " <==\n", content] {
                    log.push_str(part);
                }
            }
        }
    }
    log
}
