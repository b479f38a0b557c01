//! Routes of specs and plans.

use super::creates;
use crate::contract::schema::{many, new_run, new_spec, nothing, one_with, page_token, per_page};
use crate::contract::{Routes, op};
use crate::routes::{create_run, plans, specs};
use meta_domain::role::Role;

/// Their routes.
pub(super) fn routes() -> Routes {
    Routes::default()
        .get(
            "/specs",
            specs::list,
            op("listSpecs", "Specs, newest first").query([per_page(), page_token()]).answers(
                200,
                "A page of specs",
                many("Spec"),
            ),
        )
        .post(
            "/specs",
            specs::create,
            creates("createSpec", "Say what to build", "Spec")
                .role(Role::Member)
                .attributes(new_spec()),
        )
        .get(
            "/specs/{spec_id}",
            specs::show,
            op("getSpec", "A spec with its latest plan and its most recent runs").answers(
                200,
                "The spec",
                one_with("Spec", &["Plan", "Run"]),
            ),
        )
        .post(
            "/specs/{spec_id}/plan",
            plans::create,
            creates("createPlan", "Make a plan, a new version", "Plan")
                .role(Role::Member)
                .some_attributes(nothing()),
        )
        .post(
            "/specs/{spec_id}/runs",
            create_run::create,
            creates("createRun", "Start a run", "Run").role(Role::Admin).some_attributes(new_run()),
        )
}
