//! Drafts: asks the model, lets it repair what cannot be read, and waits out a busy endpoint a little.

use crate::core::model::edit::{self, Scene};
use crate::core::model::plan::{self, PlanReply};
use crate::core::model::prompt::{self, Material};
use crate::core::model::reply::{self, Reply};
use crate::core::replan;
use crate::endpoint::{Answer, Endpoint, Message};
use meta_domain::autofix::{Case, FileEdit};
use meta_domain::plan::PlanOp;
use std::time::Duration;

/// Answers that may be sent back because they cannot be used.
const REPAIRS_MAX: usize = 2;
/// Calls again of a busy endpoint within one draft.
const BUSY_CALLS_MAX: usize = 2;
/// Longest wait for a busy endpoint within one draft, in milliseconds.
const BUSY_WAIT_MS_MAX: u64 = 5_000;
/// Bytes of an unusable answer that go back to the model.
const ECHO_BYTES_MAX: usize = 16 * 1024;

/// What a draft came to.
#[derive(Debug)]
pub(crate) struct Draft<T> {
    pub(crate) result: Drafted<T>,
    pub(crate) tokens_in: u64,
    pub(crate) tokens_out: u64,
}

#[derive(Debug)]
pub(crate) enum Drafted<T> {
    Done(T),
    NoFix(String),
    TryLater { retry_after_ms: u64, reason: String },
    Failed(String),
}

impl<T> Drafted<T> {
    /// What it came to, for a log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::NoFix(_) => "no_fix",
            Self::TryLater { .. } => "try_later",
            Self::Failed(_) => "failed",
        }
    }
}

/// Edits and what the model says about them.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) edits: Vec<FileEdit>,
    pub(crate) explanation: String,
}

/// What an answer is worth: something, an honest no, or problems to send back.
enum Read<T> {
    Good(T),
    No(String),
    Bad(Vec<String>),
}

/// Asks for edits.
pub(crate) async fn edits(endpoint: &Endpoint, material: &Material<'_>) -> Draft<Edited> {
    let scene = Scene {
        files: material.files,
        paths: &material.case.files,
        fixer: material.fixer,
        writable: &material.case.step.writable,
    };
    converse(endpoint, prompt::edits(material), |text| match reply::read(text) {
        Ok(Reply::NoFix(reason)) => Read::No(reason),
        Ok(Reply::Blocks { blocks, explanation }) => match edit::apply(&blocks, &scene) {
            Ok(edits) => Read::Good(Edited { edits, explanation }),
            Err(problems) => Read::Bad(problems),
        },
        Err(problems) => Read::Bad(problems),
    })
    .await
}

/// Asks for a change of the plan.
pub(crate) async fn plan(
    endpoint: &Endpoint,
    case: &Case,
    log: &str,
) -> Draft<(Vec<PlanOp>, String)> {
    converse(endpoint, plan::prompt(case, log), |text| match plan::read(text) {
        Ok(PlanReply::NoFix(reason)) => Read::No(reason),
        Ok(PlanReply::Ops(ops, why)) => match replan::checked(case, &ops) {
            Ok(()) => Read::Good((ops, why)),
            Err(problems) => Read::Bad(problems),
        },
        Err(problems) => Read::Bad(problems),
    })
    .await
}

async fn converse<T>(
    endpoint: &Endpoint,
    first: String,
    read: impl Fn(&str) -> Read<T>,
) -> Draft<T> {
    let mut messages = vec![Message { role: "user", content: first }];
    let (mut tokens_in, mut tokens_out) = (0, 0);
    let mut problems = Vec::new();
    for _ in 0..=REPAIRS_MAX {
        let (text, cut_off) = match patiently(endpoint, &messages).await {
            Answer::Text { text, cut_off, tokens_in: read, tokens_out: written } => {
                tokens_in += read;
                tokens_out += written;
                (text, cut_off)
            }
            Answer::Busy { retry_after_ms, reason } => {
                let result = Drafted::TryLater { retry_after_ms, reason };
                return Draft { result, tokens_in, tokens_out };
            }
            Answer::Refused(reason) => {
                return Draft { result: Drafted::Failed(reason), tokens_in, tokens_out };
            }
        };
        problems = match read(&text) {
            _ if cut_off => vec!["the answer was cut off: give fewer, smaller blocks".to_owned()],
            Read::Good(done) => {
                return Draft { result: Drafted::Done(done), tokens_in, tokens_out };
            }
            Read::No(reason) => {
                return Draft { result: Drafted::NoFix(reason), tokens_in, tokens_out };
            }
            Read::Bad(problems) => problems,
        };
        tracing::debug!(?problems, "the model's answer cannot be used");
        messages.push(Message { role: "assistant", content: echo(&text) });
        messages.push(Message { role: "user", content: prompt::repair(&problems) });
    }
    let reason = format!("the model's answers cannot be used: {}", problems.join("; "));
    Draft { result: Drafted::Failed(reason), tokens_in, tokens_out }
}

fn echo(text: &str) -> String {
    let mut end = text.len().min(ECHO_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown = &text[..end];
    if shown.trim().is_empty() { "(nothing)".to_owned() } else { shown.to_owned() }
}

/// Waits a busy endpoint out when it asks for little.
async fn patiently(endpoint: &Endpoint, messages: &[Message]) -> Answer {
    let mut calls = 0;
    loop {
        match endpoint.ask(messages).await {
            Answer::Busy { retry_after_ms, .. }
                if calls < BUSY_CALLS_MAX && retry_after_ms <= BUSY_WAIT_MS_MAX =>
            {
                calls += 1;
                let more = meta_runtime::jitter() / 10.0;
                let wait = Duration::from_millis(retry_after_ms).mul_f64(1.0 + more);
                tokio::time::sleep(wait).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests;
