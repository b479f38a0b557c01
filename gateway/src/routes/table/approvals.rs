//! Routes of gates and their decisions.

use crate::contract::schema::{decision, id, many, one, parameter, words};
use crate::contract::{Routes, op};
use crate::routes::approvals;
use meta_domain::gate::GateStatus;
use meta_domain::role::Role;

/// Their routes.
pub(super) fn routes() -> Routes {
    let decides = |id, summary| {
        op(id, summary)
            .role(Role::Admin)
            .some_attributes(decision())
            .answers(200, "The gate", one("Approval"))
            .refuses(&[409])
    };
    Routes::default()
        .get(
            "/approvals",
            approvals::list,
            op("listApprovals", "The gates that wait for a human, or those of another status")
                .query([
                    parameter("status", words(GateStatus::ALL), "pending unless given"),
                    parameter("run_id", id(), "Only this run's"),
                ])
                .answers(200, "Gates", many("Approval"))
                .refuses(&[404]),
        )
        .post(
            "/runs/{run_id}/approve",
            approvals::approve_run,
            decides("approveRun", "Approve the run's one pending gate"),
        )
        .post(
            "/runs/{run_id}/reject",
            approvals::reject_run,
            decides("rejectRun", "Reject the run's one pending gate"),
        )
        .post(
            "/approvals/{gate_id}/approve",
            approvals::approve,
            decides("approveGate", "Approve a gate"),
        )
        .post(
            "/approvals/{gate_id}/reject",
            approvals::reject,
            decides("rejectGate", "Reject a gate"),
        )
}
