//! `metabuilder why`: from the run's own event log, so that nothing is made up afterwards.

use crate::args::{Output, WhyArgs};
use crate::display::lines::{Paint, because, evidence};
use crate::display::{colour, print, print_json};
use crate::error::{Error, Exit, Result};
use crate::patch::{printable, summary};
use crate::progress::{Check, Evidence, Happened, Progress, TestCount, Tracker};
use crate::rest::Rest;
use crate::session::{Local, Session};
use meta_domain::autofix::TryVerdict;
use serde::Serialize;
use std::ops::ControlFlow;
use tokio_stream::StreamExt;

/// Explains a step.
pub async fn run(args: WhyArgs, session: &Session) -> Result<Exit> {
    let log = match session.server()? {
        Some(server) => remote_log(&Rest::new(&server)?, &args.run).await?,
        None => local_log(session, &args.run).await?,
    };
    let mut tracker = Tracker::new(&session.program);
    let told: Vec<Part> = log.into_iter().flat_map(|h| parts(h, &mut tracker)).collect();
    let story: Vec<&Part> = told.iter().filter(|p| p.step() == Some(&args.step)).collect();
    if story.is_empty() {
        let mut steps: Vec<&str> = told.iter().filter_map(Part::step).collect();
        steps.sort_unstable();
        steps.dedup();
        let known = format!("steps that ran: {}", steps.join(", "));
        return Err(Error::usage(format!("nothing happened to a step {:?}", args.step), known));
    }
    match args.output.output {
        Output::Json => story.iter().try_for_each(print_json)?,
        Output::Text => {
            let paint = if colour(&session.vars) { Paint::coloured() } else { Paint::plain() };
            for line in story.iter().flat_map(|p| p.lines(paint)) {
                print(&line)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// A part of the story: what everybody is told, and what only this command tells.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Part {
    Progress(Progress),
    Guard(Guard),
    Evidence(Shown),
}

/// What the patch guard said.
#[derive(Debug, Serialize)]
struct Guard {
    event: &'static str,
    step: String,
    needs_approval: bool,
    reasons: Vec<String>,
    risk: u32,
}

/// What a verification showed.
#[derive(Debug, Serialize)]
struct Shown {
    event: &'static str,
    step: String,
    #[serde(flatten)]
    evidence: Evidence,
}

fn parts(happened: Happened, tracker: &mut Tracker) -> Vec<Part> {
    let shown = |step: &String, evidence: &Evidence| {
        let (step, evidence) = (step.clone(), evidence.clone());
        Part::Evidence(Shown { event: "evidence", step, evidence })
    };
    let first = match &happened {
        Happened::Reviewed { step, approval, reasons, risk } => Some(Part::Guard(Guard {
            event: "guard",
            step: step.clone(),
            needs_approval: approval.is_some(),
            reasons: reasons.clone(),
            risk: *risk,
        })),
        Happened::Verified { step, evidence }
        | Happened::Tried { step, evidence: Some(evidence), .. } => Some(shown(step, evidence)),
        _ => None,
    };
    let rest = tracker.next(happened).into_iter().map(Part::Progress);
    first.into_iter().chain(rest).collect()
}

impl Part {
    fn step(&self) -> Option<&str> {
        match self {
            Self::Progress(progress) => step_of(progress),
            Self::Guard(guard) => Some(&guard.step),
            Self::Evidence(shown) => Some(&shown.step),
        }
    }

    fn lines(&self, paint: Paint) -> Vec<String> {
        match self {
            Self::Progress(progress) => tell(progress, paint),
            Self::Guard(guard) => guard.lines(),
            Self::Evidence(shown) => evidence_lines(&shown.evidence, paint),
        }
    }
}

impl Guard {
    fn lines(&self) -> Vec<String> {
        let verdict = if self.needs_approval { "needs approval" } else { "passes" };
        let why = match self.reasons.as_slice() {
            [] => String::new(),
            reasons => format!(": {}", printable(&reasons.join("; "))),
        };
        vec![format!("  guard     {verdict}, risk {}{why}", self.risk)]
    }
}

fn evidence_lines(evidence: &Evidence, paint: Paint) -> Vec<String> {
    let verdict = if evidence.passed { paint.good("holds") } else { paint.bad("no proof") };
    let why = match evidence.detail.as_str() {
        "" => String::new(),
        detail => format!(": {}", printable(detail)),
    };
    let mut lines = vec![format!(
        "  verified  {verdict} for patch {:.12} on {:.12}{why}",
        evidence.patch_sha256, evidence.base
    )];
    for check in &evidence.checks {
        let exit = match check.exit.code {
            _ if check.exit.timed_out => "ran out of time".to_owned(),
            Some(0) => "passed".to_owned(),
            Some(code) => format!("exit code {code}"),
            None => "killed".to_owned(),
        };
        let times = if check.executions > 1 { " twice" } else { "" };
        lines.push(format!(
            "            {} {exit}{times} in {} ms{}",
            check.step,
            check.duration_ms,
            tests(check)
        ));
    }
    if !evidence.check_files.is_empty() {
        let restored = if evidence.restored.is_empty() { "" } else { " (put back first)" };
        let files = printable(&evidence.check_files.join(", "));
        lines.push(format!("            changes the check itself: {files}{restored}"));
    }
    lines
}

/// How many tests ran, with the patch and before.
fn tests(check: &Check) -> String {
    let before =
        |tool: &str| check.before.iter().find(|c| c.tool == tool).map_or(0, |c| c.executed);
    let told = |c: &TestCount| {
        format!(
            "; {}: {} tests, before {}, skipped {}",
            c.tool,
            c.executed,
            before(&c.tool),
            c.skipped
        )
    };
    check.after.iter().map(told).collect()
}

pub(super) async fn local_log(session: &Session, run: &str) -> Result<Vec<Happened>> {
    let local = Local::open(session).await?;
    let client = local.reader().await?;
    let run = super::runs::run_id(&client, run).await?;
    let failed = |s: &tonic::Status| Error::status("read the event log", s);
    let mut stream = client.events(&run, 0, false).await.map_err(|s| failed(&s))?;
    let mut log = Vec::new();
    while let Some(answer) = stream.next().await {
        let Some(event) = answer.map_err(|s| failed(&s))?.event else { continue };
        let happened = Happened::read(&event.r#type, &event.data_json);
        log.push(happened.map_err(|e| Error::failed("an event is not understood", e))?);
    }
    Ok(log)
}

pub(super) async fn remote_log(rest: &Rest, run: &str) -> Result<Vec<Happened>> {
    let run = rest.run_id(run).await?;
    let mut log = Vec::new();
    rest.events(&run, 0, false, |_, happened| {
        log.push(happened);
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(log)
}

/// The step that a happening is about.
fn step_of(progress: &Progress) -> Option<&str> {
    match progress {
        Progress::StepStarted { step, .. }
        | Progress::StepSucceeded { step, .. }
        | Progress::Fixing { step, .. }
        | Progress::Fix { step, .. }
        | Progress::PatchApplied { step, .. }
        | Progress::Retry { step, .. }
        | Progress::Replanned { step, .. }
        | Progress::RolledBack { step, .. }
        | Progress::ApprovalNeeded { step, .. }
        | Progress::Decided { step, .. }
        | Progress::StepFailed { step, .. }
        | Progress::Log { step, .. } => Some(step).filter(|s| !s.is_empty()).map(String::as_str),
        Progress::Failure(failure) => Some(&failure.step),
        Progress::Plan { .. } | Progress::RunFinished { .. } => None,
    }
}

fn tell(progress: &Progress, paint: Paint) -> Vec<String> {
    match progress {
        Progress::StepStarted { attempt, .. } => {
            vec![paint.strong(&format!("execution {attempt}"))]
        }
        Progress::Failure(failure) => {
            let exit = match failure.exit_code {
                _ if failure.timed_out => "killed at its time limit".to_owned(),
                Some(code) => format!("exit code {code}"),
                None => "killed".to_owned(),
            };
            let message = printable(&failure.message);
            let mut lines = vec![
                format!("  failed    {} ({exit}): {message}", paint.bad(failure.kind.as_str())),
                format!("  rule      {}", because(failure)),
            ];
            lines.extend(evidence(paint, &failure.evidence, usize::MAX));
            lines
        }
        Progress::Fixing { fixers, reason, .. } => vec![
            format!("  strategy  fix_specific_issue: {}", printable(reason)),
            format!("  fixers    {}", fixers.join(", ")),
        ],
        Progress::Fix { title, verdict, detail, files, added, removed, .. } => {
            let size = match verdict {
                TryVerdict::NoChange | TryVerdict::FixerError => String::new(),
                _ => format!(" · {}", summary(*files as usize, *added, *removed)),
            };
            let why =
                if detail.is_empty() { String::new() } else { format!(" ({})", printable(detail)) };
            vec![format!("  tried     {title}: {verdict}{size}{why}")]
        }
        Progress::PatchApplied { reason, commit, .. } => {
            vec![format!("  applied   {} as {commit:.12}", printable(reason))]
        }
        Progress::Retry { backoff_ms, reason, .. } => {
            vec![format!("  strategy  retry_step after {backoff_ms} ms: {}", printable(reason))]
        }
        Progress::Replanned { triggered_by, reason, ops, .. } => {
            let mut lines =
                vec![format!("  strategy  re_plan ({triggered_by}): {}", printable(reason))];
            lines.extend(
                ops.iter().map(|op| format!("            {} {}: {}", op.kind, op.step, op.why)),
            );
            lines
        }
        Progress::RolledBack { reason, .. } => {
            vec![format!("  strategy  rollback: {}", printable(reason))]
        }
        Progress::ApprovalNeeded { gate_type, effect, reason, approve, .. } => vec![
            format!("  strategy  manual_intervention ({gate_type}): {}", printable(reason)),
            format!("  asks      {approve}   (approving means: {effect})"),
        ],
        Progress::Decided { approved, actor, notes, .. } => {
            let word = if *approved { "approved" } else { "rejected" };
            vec![
                format!("  decided   {word} by {actor} {}", printable(notes)).trim_end().to_owned(),
            ]
        }
        Progress::StepSucceeded { duration_ms, flaky, .. } => {
            let flaky = if *flaky { ", flaky" } else { "" };
            vec![format!("  {}    in {duration_ms} ms{flaky}", paint.good("passed"))]
        }
        Progress::StepFailed { reason, .. } => {
            vec![format!("  gave up   {}", printable(reason))]
        }
        Progress::Plan { .. } | Progress::Log { .. } | Progress::RunFinished { .. } => Vec::new(),
    }
}
