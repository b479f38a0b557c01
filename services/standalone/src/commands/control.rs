//! `metabuilder runs pause|resume|mark|verify`

use super::runs::{run_id, show};
use crate::args::{RunsCommand, StepMark};
use crate::client::Client;
use crate::display::print;
use crate::error::{Exit, Result};
use crate::rest::Rest;
use crate::session::Session;
use crate::view::RunView;
use meta_proto::orchestrator as pb;
use reqwest::Method;
use serde_json::json;

/// Runs that are verified when none is named.
const VERIFIED_MAX: u32 = 100;

/// Steers a run of this machine.
pub(super) async fn local(
    command: RunsCommand,
    client: &Client,
    session: &Session,
) -> Result<Exit> {
    let (run, output) = match command {
        RunsCommand::Pause { run, reason } => {
            let id = run_id(client, &run.run).await?;
            (client.pause(&id, &reason).await?, run.output)
        }
        RunsCommand::Mark { run, step, status, reason } => {
            let mark = match status {
                StepMark::Succeeded => pb::StepMark::Succeeded,
                StepMark::Skipped => pb::StepMark::Skipped,
            };
            let run_id = run_id(client, &run.run).await?;
            let request = pb::MarkStepRequest { run_id, step, mark: mark.into(), reason };
            (client.mark(request).await?, run.output)
        }
        RunsCommand::Resume(run) => {
            let id = run_id(client, &run.run).await?;
            (client.resume(&id).await?, run.output)
        }
        _ => return Ok(Exit::Usage),
    };
    show(&RunView::from(&run), output, session)
}

/// Steers a run on a server.
pub(super) async fn remote(command: RunsCommand, rest: &Rest, session: &Session) -> Result<Exit> {
    let (run, path, body) = match command {
        RunsCommand::Pause { run, reason } => {
            (run, "pause".to_owned(), Some(json!({ "reason": reason })))
        }
        RunsCommand::Mark { run, step, status, reason } => {
            let status = match status {
                StepMark::Succeeded => "succeeded",
                StepMark::Skipped => "skipped",
            };
            let body = json!({ "status": status, "reason": reason });
            (run, format!("steps/{step}/mark"), Some(body))
        }
        RunsCommand::Resume(run) => (run, "resume".to_owned(), None),
        _ => return Ok(Exit::Usage),
    };
    let id = rest.run_id(&run.run).await?;
    rest.send(Method::POST, &format!("/runs/{id}/{path}"), body.as_ref()).await?;
    show(&rest.run(&id).await?, run.output, session)
}

/// Verifies a run of this machine, or the latest.
pub(super) async fn verify_local(run: Option<&str>, client: &Client) -> Result<Exit> {
    let ids = if let Some(part) = run {
        vec![run_id(client, part).await?]
    } else {
        client.list_runs(VERIFIED_MAX, None).await?.into_iter().map(|r| r.id).collect()
    };
    let mut bad = 0;
    for id in &ids {
        let found = client.verify(id).await?;
        bad += usize::from(!found.problems.is_empty());
        say(id, found.events, &found.problems)?;
    }
    total(ids.len(), bad)
}

/// Verifies a run on a server, or the latest.
pub(super) async fn verify_remote(run: Option<&str>, rest: &Rest) -> Result<Exit> {
    let ids = match run {
        Some(part) => vec![rest.run_id(part).await?],
        None => rest.runs(VERIFIED_MAX, None).await?.into_iter().map(|r| r.id).collect(),
    };
    let mut bad = 0;
    for id in &ids {
        let document = rest.get(&format!("/runs/{id}/verify")).await?;
        let found = &document["data"]["attributes"];
        let problems: Vec<String> =
            serde_json::from_value(found["problems"].clone()).unwrap_or_default();
        bad += usize::from(found["verified"] != true);
        say(id, found["events"].as_u64().unwrap_or_default(), &problems)?;
    }
    total(ids.len(), bad)
}

fn say(id: &str, events: u64, problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(print(&format!("{id}  {events} events, as stored"))?);
    }
    let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
    Ok(print(&format!("{id}  {events} events, NOT as stored:{}", lines.concat()))?)
}

fn total(runs: usize, bad: usize) -> Result<Exit> {
    print(&format!("{runs} verified, {bad} with problems"))?;
    Ok(if bad == 0 { Exit::Done } else { Exit::Failed })
}
