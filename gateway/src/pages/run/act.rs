//! What somebody may do to a run, each behind a second click.

use super::View;
use super::head::has_ended;
use crate::pages::approvals::back;
use crate::pages::badge::known;
use crate::pages::layout::csrf;
use crate::pages::visitor::Fields;
use crate::params::id;
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use maud::{Markup, html};
use meta_domain::id::RunId;
use meta_domain::role::Role;
use meta_domain::status::RunStatus;
use meta_proto::orchestrator as pb;
use std::sync::Arc;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Pause,
    Resume,
    Retry,
    Rollback,
    Cancel,
}

impl Act {
    const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Retry, Self::Rollback, Self::Cancel];

    fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Rollback => "rollback",
            Self::Cancel => "cancel",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Retry => "Retry",
            Self::Rollback => "Roll back",
            Self::Cancel => "Cancel",
        }
    }

    /// What it does, for the second click.
    fn means(self) -> &'static str {
        match self {
            Self::Pause => {
                "Nothing new of this run starts until somebody resumes it. What is executing goes on."
            }
            Self::Resume => "The run goes on.",
            Self::Retry => "The run goes on from its failed step with a fresh budget.",
            Self::Rollback => {
                "The last patch is taken back: the workspace returns to the last good commit before it."
            }
            Self::Cancel => {
                "What is executing is stopped with all its processes. This cannot be undone; a canceled run can be retried."
            }
        }
    }

    fn fits(self, run: &pb::Run) -> bool {
        let (ended, held) = (has_ended(run), !run.held_by.is_empty());
        match self {
            Self::Pause => !ended && !held,
            Self::Resume => !ended && held,
            Self::Cancel => !ended,
            Self::Retry => matches!(
                known::<RunStatus>(run.status),
                Some(RunStatus::Failed | RunStatus::Canceled)
            ),
            Self::Rollback => {
                known::<RunStatus>(run.status) != Some(RunStatus::Running)
                    && run.attempts.iter().any(|a| !a.commit.is_empty() && !a.reverted)
            }
        }
    }
}

/// The controls that fit the run and whoever looks.
pub(super) fn controls(view: &View<'_>) -> Markup {
    let run = view.run;
    if view.visitor.caller.principal.role < Role::Admin || view.visitor.csrf.is_empty() {
        return html! {};
    }
    html! {
        div.controls {
            @for act in Act::ALL.into_iter().filter(|a| a.fits(run)) {
                details.confirm name="act" id=(format!("act-{}", act.word())) {
                    summary.button { (act.label()) span.sr { " this run…" } }
                    form method="post" action=(format!("/runs/{}/actions/{}", run.id, act.word())) {
                        (csrf(view.visitor))
                        p { (act.means()) }
                        @if act == Act::Pause {
                            label for="reason" { "Why" }
                            input id="reason" name="reason" type="text" maxlength="500";
                        }
                        button.danger[act == Act::Cancel || act == Act::Rollback].primary[act != Act::Cancel && act != Act::Rollback] type="submit" { (act.label()) " this run" }
                    }
                }
            }
        }
    }
}

/// `POST /runs/{run_id}/actions/{action}`
pub(in crate::pages) async fn act(
    State(app): State<Arc<App>>,
    Path((run_id, action)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (visitor, fields) = Fields::of_signed_in(&app, request).await?;
    let run_id = id::<RunId>("run_id", &run_id)?.to_string();
    let Some(act) = Act::ALL.into_iter().find(|a| a.word() == action) else {
        return Err(Problem::of_status(StatusCode::NOT_FOUND));
    };
    let caller = &visitor.caller;
    let (mut runs, mut control) = (app.peers.runs(), app.peers.run_control());
    let page = format!("/runs/{run_id}");
    match act {
        Act::Pause => {
            let reason = fields.text("reason").to_owned();
            let message = caller.message(pb::PauseRunRequest { run_id, reason });
            caller.ask(control.pause_run(message)).await?;
        }
        Act::Resume => {
            let message = caller.message(pb::ResumeRunRequest { run_id });
            caller.ask(control.resume_run(message)).await?;
        }
        Act::Retry => {
            caller.ask(runs.retry_run(caller.message(pb::RetryRunRequest { run_id }))).await?;
        }
        Act::Rollback => {
            caller
                .ask(runs.rollback_run(caller.message(pb::RollbackRunRequest { run_id })))
                .await?;
        }
        Act::Cancel => {
            caller.ask(runs.cancel_run(caller.message(pb::CancelRunRequest { run_id }))).await?;
        }
    }
    Ok(Redirect::to(&back(&page, act.word())).into_response())
}
