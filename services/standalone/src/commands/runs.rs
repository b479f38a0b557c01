//! `metabuilder runs`: looks at runs and steers them, here or on a server.

use super::build::{GoOn, told};
use super::{control, rollback};
use crate::args::{Output, OutputArgs, PatchArgs, RunArgs, RunsCommand};
use crate::client::{Client, RUNS_SEARCHED_MAX, status_of};
use crate::display::{Display, colour, lines::Paint, print, print_json};
use crate::error::{Error, Exit, Result};
use crate::finish::{Finish, exit_of};
use crate::follow::Follow;
use crate::progress::{Happened, Tracker};
use crate::rest::Rest;
use crate::select::pick;
use crate::session::{Local, Session};
use crate::view::{RunView, list};
use meta_domain::status::RunStatus;
use reqwest::Method;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use tokio_stream::StreamExt;

/// Pause before a server's event log is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Carries out a command about runs.
pub async fn run(command: RunsCommand, session: &Session) -> Result<Exit> {
    match session.server()? {
        Some(server) => remote(command, &Rest::new(&server)?, session).await,
        None => local(command, session).await,
    }
}

/// The id of the run that a part of an id means.
pub(super) async fn run_id(client: &Client, part: &str) -> Result<String> {
    if part.len() == 36 {
        return Ok(part.to_owned());
    }
    let runs = client.list_runs(RUNS_SEARCHED_MAX, None).await?;
    let ids = runs.iter().map(|r| r.id.as_str());
    Ok(pick("run", "metabuilder runs ls", part, ids)?.to_owned())
}

pub(super) fn show(view: &RunView, output: OutputArgs, session: &Session) -> Result<Exit> {
    let paint = if colour(&session.vars) { Paint::coloured() } else { Paint::plain() };
    match output.output {
        Output::Json => print_json(view)?,
        Output::Text => print(&view.text(paint))?,
    }
    Ok(Exit::Done)
}

fn show_list(views: &[RunView], output: OutputArgs) -> Result<Exit> {
    match output.output {
        Output::Json => print_json(&views)?,
        Output::Text => print(&list(views))?,
    }
    Ok(Exit::Done)
}

async fn local(command: RunsCommand, session: &Session) -> Result<Exit> {
    let local = Local::open(session).await?;
    let client = local.reader().await?;
    match command {
        RunsCommand::Ls { output, limit, status } => {
            let runs = client.list_runs(limit, status).await?;
            show_list(&runs.iter().map(RunView::from).collect::<Vec<_>>(), output)
        }
        RunsCommand::Show(args) => {
            let run = client.run(&run_id(&client, &args.run).await?).await?;
            show(&RunView::from(&run), args.output, session)
        }
        RunsCommand::Logs { run, step, follow } => {
            let run = run_id(&client, &run).await?;
            logs(&client, &run, step.as_deref().unwrap_or_default(), follow).await
        }
        RunsCommand::Watch(args) => watch(&client, &args, session).await,
        RunsCommand::Cancel(args) => {
            let run = client.cancel(&run_id(&client, &args.run).await?).await?;
            show(&RunView::from(&run), args.output, session)
        }
        RunsCommand::Retry(args) => retry(&local, &client, &args, session).await,
        RunsCommand::Rollback(args) => {
            let run = client.run(&run_id(&client, &args.run).await?).await?;
            match rollback::run(&local, &run.id, session).await? {
                Some(commit) => {
                    let view = RunView::from(&client.run(&run.id).await?);
                    if matches!(args.output.output, Output::Text) {
                        print(&format!("rolled back; the run's head is now {commit}"))?;
                    }
                    show(&view, args.output, session)
                }
                None => Ok(Exit::Interrupted),
            }
        }
        RunsCommand::Pause { .. } | RunsCommand::Resume(_) | RunsCommand::Mark { .. } => {
            control::local(command, &client, session).await
        }
        RunsCommand::Verify { run } => control::verify_local(run.as_deref(), &client).await,
        RunsCommand::Patch { run, patch } => {
            let run = client.run(&run_id(&client, &run).await?).await?;
            let folder = client.folder(&run.spec_id).await?;
            let finish = Finish {
                client: &client,
                project: folder.as_deref().map(Path::new),
                data: &local.dir,
                wanted: &patch,
                program: &session.program,
                elapsed_ms: 0,
            };
            finish.patch_only(&run, colour(&session.vars)).await
        }
    }
}

async fn logs(client: &Client, run: &str, step: &str, follow: bool) -> Result<Exit> {
    let mut stream = client.logs(run, step, follow).await?;
    let mut out = std::io::stdout().lock();
    let mut current = (String::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|s| Error::status("read the logs", &s))?;
        let here = (piece.step, piece.attempt);
        if here != current {
            writeln!(out, "==> {} (attempt {}) <==", here.0, here.1)?;
            current = here;
        }
        out.write_all(&piece.text)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

async fn watch(client: &Client, args: &RunArgs, session: &Session) -> Result<Exit> {
    let run = client.run(&run_id(client, &args.run).await?).await?;
    let mut display = Display::new(args.output.output, &session.vars);
    display.show(&told(&run.id, &client.plan(&run.plan_id).await?)?)?;
    let follow = Follow {
        client,
        run_id: &run.id,
        told: 0,
        program: &session.program,
        verbose: false,
        seen: BTreeMap::new(),
        stop: &session.stop,
        cancels: false,
    };
    let ended = follow.until_end(&mut display).await?;
    display.close()?;
    Ok(if ended.interrupted { Exit::Interrupted } else { exit_of(ended.status) })
}

async fn retry(local: &Local, client: &Client, args: &RunArgs, session: &Session) -> Result<Exit> {
    let run = client.run(&run_id(client, &args.run).await?).await?;
    if status_of(&run)? == RunStatus::Succeeded {
        let next = format!("a new run: {} build", session.program);
        return Err(
            Error::failed(format!("cannot retry {}", run.id), "it has succeeded").next(next)
        );
    }
    let folder = client.folder(&run.spec_id).await?;
    let mut display = Display::new(args.output.output, &session.vars);
    display.show(&told(&run.id, &client.plan(&run.plan_id).await?)?)?;
    let project = folder.as_deref().map(Path::new);
    let on = GoOn { run: &run, wake: true, project, verbose: false };
    on.go(local, session, &PatchArgs::default(), &mut display).await
}

async fn remote(command: RunsCommand, rest: &Rest, session: &Session) -> Result<Exit> {
    match command {
        RunsCommand::Ls { output, limit, status } => {
            let runs = rest.runs(limit, status.map(RunStatus::as_str)).await?;
            show_list(&runs, output)
        }
        RunsCommand::Show(args) => {
            let id = rest.run_id(&args.run).await?;
            show(&rest.run(&id).await?, args.output, session)
        }
        RunsCommand::Logs { run, step, follow } => {
            let id = rest.run_id(&run).await?;
            let step = step.map(|s| format!("&step={s}")).unwrap_or_default();
            copy(rest, &format!("/runs/{id}/logs?follow={follow}{step}")).await
        }
        RunsCommand::Watch(args) => remote_watch(rest, &args, session).await,
        RunsCommand::Cancel(args) => act(rest, "cancel", &args, session).await,
        RunsCommand::Retry(args) => act(rest, "retry", &args, session).await,
        RunsCommand::Rollback(args) => act(rest, "rollback", &args, session).await,
        RunsCommand::Pause { .. } | RunsCommand::Resume(_) | RunsCommand::Mark { .. } => {
            control::remote(command, rest, session).await
        }
        RunsCommand::Verify { run } => control::verify_remote(run.as_deref(), rest).await,
        RunsCommand::Patch { run, patch } => {
            let id = rest.run_id(&run).await?;
            let path = format!("/runs/{id}/artifacts/patch");
            match patch.patch {
                Some(file) => save(rest, &path, &file).await,
                None if patch.apply || patch.branch.is_some() => Err(Error::usage(
                    "--apply and --branch work on this machine's runs",
                    "the run is on a server",
                )
                .next("use --patch FILE, then git apply FILE")),
                None => copy(rest, &path).await,
            }
        }
    }
}

async fn act(rest: &Rest, verb: &str, args: &RunArgs, session: &Session) -> Result<Exit> {
    let id = rest.run_id(&args.run).await?;
    rest.send(Method::POST, &format!("/runs/{id}/{verb}"), None).await?;
    show(&rest.run(&id).await?, args.output, session)
}

async fn copy(rest: &Rest, path: &str) -> Result<Exit> {
    let mut stream = rest.text(path).await?.bytes_stream();
    let mut out = std::io::stdout().lock();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|e| Error::failed("the answer broke off", e))?;
        out.write_all(&piece)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

async fn save(rest: &Rest, path: &str, file: &Path) -> Result<Exit> {
    let text = rest.text(path).await?.bytes().await;
    let text = text.map_err(|e| Error::failed("the answer broke off", e))?;
    std::fs::write(file, &text)
        .map_err(|e| Error::usage(format!("cannot write {}", file.display()), e))?;
    Ok(Exit::Done)
}

async fn remote_watch(rest: &Rest, args: &RunArgs, session: &Session) -> Result<Exit> {
    let id = rest.run_id(&args.run).await?;
    let mut display = Display::new(args.output.output, &session.vars);
    let mut tracker = Tracker::new(&session.program);
    let watching = async {
        let mut seen = 0;
        loop {
            let mut paused = false;
            rest.events(&id, seen, true, |seq, happened| {
                seen = seq;
                paused = happened == Happened::Paused;
                for progress in tracker.next(happened) {
                    display.show(&progress)?;
                }
                Ok(if paused { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .await?;
            let status = rest.run(&id).await?.status;
            let waits = status == RunStatus::PausedAwaitingApproval.as_str();
            if paused && !waits {
                // somebody decided meanwhile: the log goes on
                continue;
            }
            if status != RunStatus::Running.as_str() && status != RunStatus::Pending.as_str() {
                return Ok::<(), Error>(());
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    };
    let stopped = tokio::select! {
        result = watching => { result?; false }
        () = session.stop.cancelled() => true,
    };
    display.close()?;
    let run = rest.run(&id).await?;
    display.say(&format!("\n run {id} is {}", run.status))?;
    let status = run.status.parse::<RunStatus>();
    Ok(if stopped { Exit::Interrupted } else { status.map_or(Exit::Failed, exit_of) })
}
