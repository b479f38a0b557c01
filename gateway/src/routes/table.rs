//! The table of the API: every route with its handler and what it promises, a file a resource.

mod approvals;
mod keys;
mod outside;
mod runs;
mod settings;
mod specs;
mod streams;
mod tenants;
mod webhooks;

use crate::contract::schema::{idempotency_key, one};
use crate::contract::{Operation, Routes, op};

/// Every route, in the order of the document.
pub(super) fn routes() -> Routes {
    tenants::routes()
        .merge(settings::of_tenants())
        .merge(settings::of_runs())
        .merge(settings::of_the_platform())
        .merge(specs::routes())
        .merge(runs::lists())
        .merge(runs::histories())
        .merge(streams::routes())
        .merge(runs::actions())
        .merge(approvals::routes())
        .merge(webhooks::routes())
        .merge(keys::routes())
        .merge(super::ofrep::routes())
        .merge(outside::routes())
}

/// What every POST that creates has.
fn creates(id: &'static str, summary: &'static str, resource: &'static str) -> Operation {
    op(id, summary)
        .headers([idempotency_key()])
        .answers(201, "It is made", one(resource))
        .refuses(&[409, 422])
}
