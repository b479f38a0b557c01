//! Routes of runs: lists, what became of them, and what is done to them.

use crate::contract::schema::{
    failure, many, marked, nothing, one, one_with, page, page_token, per_page, plan_edit,
    run_filters, why as reason,
};
use crate::contract::{Operation, Routes, op};
use crate::routes::{classify, control, flaky, runs, why};
use meta_domain::role::Role;

/// Lists of them, one of them, and what is asked beside them.
pub(super) fn lists() -> Routes {
    let parts = ["Spec", "Plan", "Step", "Approval", "Diff", "Evaluation", "Artifact"];
    Routes::default()
        .get(
            "/runs",
            runs::list,
            op("listRuns", "Runs, newest first, by page or by cursor")
                .query(run_filters())
                .query([page(), per_page(), page_token()])
                .answers(200, "A page of runs", many("Run")),
        )
        .get(
            "/runs/{run_id}",
            runs::show,
            op("getRun", "A run with all that hangs on it").answers(
                200,
                "The run",
                one_with("Run", &parts),
            ),
        )
        .get(
            "/flaky",
            flaky::list,
            op("listFlakySteps", "Failures that went away without a change, last seen first")
                .query([per_page()])
                .answers(200, "Flaky steps", many("FlakyStep")),
        )
        .post(
            "/classify-failure",
            classify::classify,
            op("classifyFailure", "Classify a log; it may be sent compressed with gzip")
                .role(Role::Member)
                .attributes(failure())
                .answers(
                    200,
                    "The signal, or null without a failure",
                    one("FailureClassification"),
                ),
        )
}

/// What the loop did to one.
pub(super) fn histories() -> Routes {
    Routes::default()
        .get(
            "/runs/{run_id}/autofix",
            runs::autofix,
            op("getAutofix", "The turns of the auto-fix loop, newest first").answers(
                200,
                "The turns",
                one("Autofix"),
            ),
        )
        .get(
            "/runs/{run_id}/escalation",
            runs::escalation,
            op("getEscalation", "The run's gates, newest first").answers(
                200,
                "The gates",
                one("Escalation"),
            ),
        )
        .get(
            "/runs/{run_id}/plan-delta",
            runs::plan_delta,
            op("getPlanDelta", "The run's changes of plan, newest first").answers(
                200,
                "The changes",
                one("PlanDelta"),
            ),
        )
        .get(
            "/runs/{run_id}/steps/{step}/why",
            why::why,
            op("explainStep", "Why a step is as it is, with the evidence").answers(
                200,
                "The explanation",
                one("Explanation"),
            ),
        )
        .get(
            "/runs/{run_id}/verify",
            control::verify,
            op("verifyRun", "Whether the event log and the tables say the same").answers(
                200,
                "What was found",
                one("RunVerification"),
            ),
        )
}

/// What does something to a run and answers how it is then.
fn changes(id: &'static str, summary: &'static str) -> Operation {
    op(id, summary).role(Role::Admin).answers(200, "The run", one("Run")).refuses(&[409])
}

/// What somebody does to one.
pub(super) fn actions() -> Routes {
    Routes::default()
        .post(
            "/runs/{run_id}/cancel",
            runs::cancel,
            changes("cancelRun", "Stop the steps' whole process trees").some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/retry",
            runs::retry,
            changes("retryRun", "Go on from the failed step with a fresh budget")
                .some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/rollback",
            runs::rollback,
            changes("rollbackRun", "Back to the last good commit").some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/pause",
            control::pause,
            changes("pauseRun", "Start nothing new of it").some_attributes(reason()),
        )
        .post(
            "/runs/{run_id}/resume",
            control::resume,
            changes("resumeRun", "Go on").some_attributes(nothing()),
        )
        .post(
            "/runs/{run_id}/steps/{step}/mark",
            control::mark,
            changes("markStep", "A step counts as passed, or is not needed").attributes(marked()),
        )
        .post(
            "/runs/{run_id}/plan-edit",
            control::edit,
            changes("editPlan", "A new plan version while the run goes on").attributes(plan_edit()),
        )
}
