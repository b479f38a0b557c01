//! `metabuilder build`: everything in this process, in a private copy of the project.

use crate::args::{BuildArgs, PatchArgs};
use crate::client::{Client, RUNS_SEARCHED_MAX, status_of};
use crate::display::Display;
use crate::embedded::Scope;
use crate::error::{Error, Exit, Result};
use crate::finish::{Finish, check_targets};
use crate::follow::Follow;
use crate::progress::{PlanStep, Progress};
use crate::session::{Local, Session};
use meta_domain::plan::{PlanGraph, RiskPart};
use meta_domain::status::RunStatus;
use meta_proto::orchestrator as pb;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Builds a project.
pub async fn run(args: BuildArgs, session: &Session) -> Result<Exit> {
    let path = project(&args.path)?;
    check_targets(&args.patch, &path)?;
    let local = Local::open(session).await?;
    let mut display = Display::new(args.output.output, &session.vars);
    let reader = local.reader().await?;
    let earlier = if args.resume { unfinished(&reader, &path).await? } else { None };
    if args.resume && earlier.is_none() {
        display.say("there is nothing to go on with; this is a new run")?;
    }
    let (run, plan) = if let Some(run) = earlier {
        let plan = reader.plan(&run.plan_id).await?;
        (run, plan)
    } else {
        let planning = local.stack(Scope::Planning).await?;
        let client = planning.client(&session.vars);
        let mut work = planning.start();
        let made = work
            .beside(async {
                tokio::select! {
                    made = start(&client, &path) => made.map(Some),
                    () = session.stop.cancelled() => Ok(None),
                }
            })
            .await;
        work.stop().await?;
        let Some(made) = made? else { return Ok(Exit::Interrupted) };
        made
    };
    display.show(&told(&run.id, &plan)?)?;
    let on = GoOn { run: &run, wake: args.resume, project: Some(&path), verbose: args.verbose };
    on.go(&local, session, &args.patch, &mut display).await
}

/// The absolute path of a project's folder.
pub fn project(path: &Path) -> Result<PathBuf> {
    let bad = |why: String| {
        Error::usage(format!("{} cannot be built", path.display()), why)
            .next("give the path of a project's folder")
    };
    let path = path.canonicalize().map_err(|e| bad(e.to_string()))?;
    if path.is_dir() { Ok(path) } else { Err(bad("it is not a folder".to_owned())) }
}

async fn start(client: &Client, path: &Path) -> Result<(pb::Run, pb::Plan)> {
    let spec = client.create_spec(path).await?;
    let plan = client.create_plan(&spec).await?;
    let run = client.create_run(&plan, path).await?;
    Ok((run, plan))
}

/// The last run of a folder, unless it succeeded.
async fn unfinished(client: &Client, path: &Path) -> Result<Option<pb::Run>> {
    for run in client.list_runs(RUNS_SEARCHED_MAX, None).await? {
        if client.folder(&run.spec_id).await?.is_some_and(|folder| Path::new(&folder) == path) {
            return Ok(Some(run).filter(|r| r.status != i32::from(pb::RunStatus::Succeeded)));
        }
    }
    Ok(None)
}

/// The plan as it is told.
pub fn told(run_id: &str, plan: &pb::Plan) -> Result<Progress> {
    let graph = graph(plan)?;
    let steps = graph.steps.iter().map(|s| PlanStep {
        name: s.name.clone(),
        run: s.run.to_string(),
        needs: s.needs.clone(),
        why: s.why.clone(),
    });
    let risk: Vec<RiskPart> = graph.risk.clone();
    Ok(Progress::Plan {
        run_id: run_id.to_owned(),
        version: plan.version,
        steps: steps.collect(),
        risk_score: plan.risk_score,
        risk,
        summary: graph.summary,
    })
}

/// The content of a plan.
pub fn graph(plan: &pb::Plan) -> Result<PlanGraph> {
    let graph = plan.graph.clone().unwrap_or_default();
    PlanGraph::try_from(graph).map_err(|e| Error::failed("the plan is not understood", e))
}

/// A run that this process carries on.
pub struct GoOn<'a> {
    /// The run, as it is known to the user.
    pub run: &'a pb::Run,
    /// A run that failed or was canceled goes on from there.
    pub wake: bool,
    /// The project's folder, where there is one.
    pub project: Option<&'a Path>,
    /// Also print the output of the steps.
    pub verbose: bool,
}

impl GoOn<'_> {
    /// Works on the run until it ends or waits, shows it, and tells how it ended.
    pub async fn go(
        &self,
        local: &Local,
        session: &Session,
        wanted: &PatchArgs,
        display: &mut Display,
    ) -> Result<Exit> {
        let began = Instant::now();
        let claim = local.claim(&self.run.id)?;
        let stack = local.stack(Scope::Run(self.run.id.clone())).await?;
        let client = stack.client(&session.vars);
        let again = matches!(status_of(self.run)?, RunStatus::Failed | RunStatus::Canceled);
        if self.wake && again {
            client.retry(&self.run.id).await?;
        }
        let mut work = stack.start();
        let fresh = status_of(self.run)? == RunStatus::Pending;
        for step in self.run.steps.iter().filter(|s| !fresh && passed(s)) {
            display.passed_before(name(step))?;
        }
        let follow = Follow {
            client: &client,
            run_id: &self.run.id,
            // a run that has just been made is told from its beginning
            // ... and one that waits at a gate has told all but that it waits
            told: match (fresh, status_of(self.run)?) {
                (true, _) => 0,
                (false, RunStatus::PausedAwaitingApproval) => self.run.last_seq.saturating_sub(1),
                (false, _) => self.run.last_seq,
            },
            program: &session.program,
            verbose: self.verbose,
            seen: self.run.steps.iter().map(|s| (name(s).to_owned(), s.executions)).collect(),
            stop: &session.stop,
            cancels: true,
        };
        let ended = work.beside(follow.until_end(display)).await;
        work.stop().await?;
        drop(claim);
        let finish = Finish {
            client: &client,
            project: self.project,
            data: &local.dir,
            wanted,
            program: &session.program,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        finish.tell(&ended?, display).await
    }
}

fn name(step: &pb::RunStep) -> &str {
    step.step.as_ref().map(|s| s.name.as_str()).unwrap_or_default()
}

fn passed(step: &pb::RunStep) -> bool {
    step.status == i32::from(pb::StepStatus::Succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_folder_is_bad_input() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, why) in [(dir.path().join("none"), "No such file"), (file, "not a folder")] {
            let error = project(&path).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(project(dir.path()).unwrap().is_absolute());
    }
}
