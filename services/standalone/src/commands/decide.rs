//! `metabuilder approve` and `metabuilder reject`: decides a gate and goes on from there.

use super::build::{GoOn, told};
use crate::args::{DecideArgs, Output};
use crate::client::{Client, RUNS_SEARCHED_MAX};
use crate::display::{Display, print, print_json};
use crate::error::{Error, Exit, Result};
use crate::patch::summary;
use crate::rest::Rest;
use crate::select::pick;
use crate::session::{Local, Session};
use meta_proto::orchestrator as pb;
use std::path::Path;

/// Decides a gate.
pub async fn run(args: DecideArgs, approve: bool, session: &Session) -> Result<Exit> {
    if let Some(server) = session.server()? {
        let answer = Rest::new(&server)?.decide(&args.target, approve, &args.notes).await?;
        match args.output.output {
            Output::Json => print_json(&answer)?,
            Output::Text => print(if approve { "approved" } else { "rejected" })?,
        }
        return Ok(Exit::Done);
    }
    let local = Local::open(session).await?;
    let client = local.reader().await?;
    let gate = find(&client, &args.target).await?;
    let run = client.run(&gate.run_id).await?;
    let folder = client.folder(&run.spec_id).await?;
    // taken first, so that the decision is not made while another process works on the run
    let claim = local.claim(&run.id)?;
    client.decide(&gate, approve, &args.notes).await?;
    if let (Output::Text, true) = (args.output.output, approve) {
        print(&approved(&gate))?;
    }
    drop(claim);
    let mut display = Display::new(args.output.output, &session.vars);
    display.show(&told(&run.id, &client.plan(&run.plan_id).await?)?)?;
    let go_on = GoOn {
        run: &run,
        wake: false,
        project: folder.as_deref().map(Path::new),
        verbose: args.verbose,
    };
    go_on.go(&local, session, &args.patch, &mut display).await
}

/// What exactly was approved.
fn approved(gate: &pb::Gate) -> String {
    let step = &gate.step;
    if gate.patch_sha256.is_empty() {
        return format!("approved for step {step}, plan version {}", gate.plan_version);
    }
    let size = summary(gate.files as usize, gate.added, gate.removed);
    format!(
        "approved patch {:.12} by {} for step {step}, plan version {}: {size}, risk {}",
        gate.patch_sha256, gate.fixer, gate.plan_version, gate.risk
    )
}

/// The pending gate of that id, or of the run of that id.
async fn find(client: &Client, target: &str) -> Result<pb::Gate> {
    let gates = client.pending_gates().await?;
    if let Ok(id) = pick("gate", "", target, gates.iter().map(|g| g.id.as_str()))
        && let Some(gate) = gates.iter().find(|g| g.id == id)
    {
        return Ok(gate.clone());
    }
    let waiting: Vec<_> = gates.iter().map(|g| g.run_id.as_str()).collect();
    if let Ok(id) = pick("run", "", target, waiting.iter().copied()) {
        let mut of_run = gates.iter().filter(|g| g.run_id == id);
        if let (Some(gate), None) = (of_run.next(), of_run.next()) {
            return Ok(gate.clone());
        }
        let ids: Vec<_> = gates.iter().filter(|g| g.run_id == id).map(|g| &*g.id).collect();
        return Err(
            Error::usage("the run waits at several gates", ids.join(", ")).next("name one of them")
        );
    }
    decided(client, target).await
}

/// Why a target that names no pending gate cannot be decided.
async fn decided(client: &Client, target: &str) -> Result<pb::Gate> {
    let runs = client.list_runs(RUNS_SEARCHED_MAX, None).await?;
    for run in &runs {
        let ids = run.gates.iter().map(|g| g.id.as_str()).chain([run.id.as_str()]);
        if pick("gate", "", target, ids).is_ok() {
            let status = crate::client::status_of(run)?;
            let why = format!("run {} is {status}; nothing waits there", run.id);
            return Err(Error::failed("cannot decide", why));
        }
    }
    Err(Error::usage(format!("no gate or run {target:?}"), "nothing that waits has such an id")
        .next("see metabuilder runs ls --status paused_awaiting_approval"))
}
