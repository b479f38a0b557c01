//! `metabuilder report`: a run told to other tools, from its event log.

use super::why::{local_log, remote_log};
use crate::args::{ReportArgs, ReportFormat};
use crate::display::print;
use crate::error::{Error, Exit, Result};
use crate::progress::{Happened, Tracker};
use crate::report::{Report, junit, markdown, sarif};
use crate::rest::Rest;
use crate::session::{Local, Session};
use crate::view::RunView;

/// Reports a run.
pub async fn run(args: ReportArgs, session: &Session) -> Result<Exit> {
    let (view, log, folder) = match session.server()? {
        Some(server) => {
            let (view, log) = remote(&Rest::new(&server)?, args.run).await?;
            (view, log, None)
        }
        None => local(session, args.run).await?,
    };
    let mut tracker = Tracker::new(&session.program);
    let story = log.into_iter().flat_map(|happened| tracker.next(happened)).collect();
    let mut report = Report::new(&view, story);
    if let Some(folder) = folder {
        report.root = folder;
    }
    let text = match args.format {
        ReportFormat::Markdown => markdown::text(&report),
        ReportFormat::Junit => junit::text(&report),
        ReportFormat::Sarif => {
            let document = serde_json::to_string_pretty(&sarif::document(&report));
            document.map_err(|e| Error::failed("the report is no JSON", e))?
        }
    };
    print(text.trim_end())?;
    Ok(Exit::Done)
}

fn none_yet() -> Error {
    Error::usage("there is no run to report", "nothing was built yet").next("metabuilder build .")
}

/// A run of this machine, what happened to it, and the folder that was built.
async fn local(
    session: &Session,
    run: Option<String>,
) -> Result<(RunView, Vec<Happened>, Option<String>)> {
    let opened = Local::open(session).await?;
    let client = opened.reader().await?;
    let id = match run {
        Some(part) => super::runs::run_id(&client, &part).await?,
        None => {
            client.list_runs(1, None).await?.first().map(|r| r.id.clone()).ok_or_else(none_yet)?
        }
    };
    let view = RunView::from(&client.run(&id).await?);
    let folder = client.folder(&view.spec_id).await?;
    drop((client, opened));
    Ok((view, local_log(session, &id).await?, folder))
}

async fn remote(rest: &Rest, run: Option<String>) -> Result<(RunView, Vec<Happened>)> {
    let id = match run {
        Some(part) => rest.run_id(&part).await?,
        None => rest.runs(1, None).await?.first().map(|r| r.id.clone()).ok_or_else(none_yet)?,
    };
    Ok((rest.run(&id).await?, remote_log(rest, &id).await?))
}
