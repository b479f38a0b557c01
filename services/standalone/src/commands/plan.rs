//! `metabuilder plan`: what would be done, and why.

use super::build::{graph, project, told};
use crate::args::{Output, PlanArgs};
use crate::client::Client;
use crate::display::lines::flow;
use crate::display::{print, print_json};
use crate::embedded::Scope;
use crate::error::{Exit, Result};
use crate::progress::Progress;
use crate::session::{Local, Session};
use meta_proto::orchestrator as pb;
use std::path::Path;

/// Shows the plan of a project.
pub async fn run(args: PlanArgs, session: &Session) -> Result<Exit> {
    if let Some(workflow) = &args.from {
        return super::import::run(workflow);
    }
    let path = project(&args.path)?;
    let local = Local::open(session).await?;
    let stack = local.stack(Scope::Planning).await?;
    let client = stack.client(&session.vars);
    let mut work = stack.start();
    let made = work
        .beside(async {
            tokio::select! {
                plan = make(&client, &path) => plan.map(Some),
                () = session.stop.cancelled() => Ok(None),
            }
        })
        .await;
    work.stop().await?;
    let Some(plan) = made? else { return Ok(Exit::Interrupted) };
    match args.output.output {
        Output::Json => print_json(&graph(&plan)?)?,
        Output::Text => print(&text(&plan)?)?,
    }
    Ok(Exit::Done)
}

async fn make(client: &Client, path: &Path) -> Result<pb::Plan> {
    let spec = client.create_spec(path).await?;
    client.create_plan(&spec).await
}

fn text(plan: &pb::Plan) -> Result<String> {
    let Progress::Plan { steps, risk_score, risk, summary, .. } = told("", plan)? else {
        return Ok(String::new());
    };
    let width = steps.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
    let mut lines = vec![summary, String::new(), flow(&steps), String::new()];
    for step in &steps {
        lines.push(format!(" {:<width$}  {}", step.name, step.run));
        lines.push(format!(" {:<width$}  why: {}", "", step.why));
        if !step.needs.is_empty() {
            lines.push(format!(" {:<width$}  after: {}", "", step.needs.join(", ")));
        }
    }
    lines.push(String::new());
    lines.push(format!(" risk {risk_score} of 100"));
    lines.extend(risk.iter().map(|part| format!("   +{:<3} {}", part.points, part.reason)));
    Ok(lines.join("\n"))
}
