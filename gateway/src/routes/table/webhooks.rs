//! Routes of webhooks.

use super::creates;
use crate::contract::schema::{many, new_webhook, one, redelivery};
use crate::contract::{Routes, op};
use crate::routes::webhooks;
use meta_domain::role::Role;

/// Their routes.
pub(super) fn routes() -> Routes {
    Routes::default()
        .get(
            "/webhooks",
            webhooks::list,
            op("listWebhooks", "Who is told of events, and how deliveries go")
                .role(Role::Admin)
                .answers(200, "Webhooks", many("Webhook")),
        )
        .post(
            "/webhooks",
            webhooks::create,
            creates("createWebhook", "Add a webhook; answers once with its secret", "Webhook")
                .role(Role::Admin)
                .attributes(new_webhook()),
        )
        .get(
            "/webhooks/{webhook_id}",
            webhooks::show,
            op("getWebhook", "One webhook").role(Role::Admin).answers(
                200,
                "The webhook",
                one("Webhook"),
            ),
        )
        .delete(
            "/webhooks/{webhook_id}",
            webhooks::delete,
            op("deleteWebhook", "Remove a webhook and what it was still to be told")
                .role(Role::Admin)
                .empty(204, "It is removed"),
        )
        .post(
            "/webhooks/{webhook_id}/redeliver",
            webhooks::redeliver,
            op("redeliverWebhook", "Send one event once more, whatever became of it before")
                .role(Role::Admin)
                .attributes(redelivery())
                .empty(204, "It is sent again")
                .refuses(&[409]),
        )
}
