//! Routes of API keys and the audit.

use super::creates;
use crate::contract::schema::{many, new_key, one, page_token, parameter, per_page, text};
use crate::contract::{Routes, op};
use crate::routes::{audit, keys};
use meta_domain::role::Role;

/// Their routes.
pub(super) fn routes() -> Routes {
    let path = "/tenants/{tenant_id}/keys";
    Routes::default()
        .get(
            path,
            keys::list,
            op("listKeys", "A tenant's API keys, newest first, without their secrets")
                .role(Role::Admin)
                .query([per_page(), page_token()])
                .answers(200, "A page of keys", many("Key")),
        )
        .post(
            path,
            keys::create,
            creates("createKey", "Make an API key; answers once with it", "Key")
                .role(Role::Admin)
                .attributes(new_key()),
        )
        .delete(
            "/tenants/{tenant_id}/keys/{key_id}",
            keys::revoke,
            op("revokeKey", "End an API key, within seconds; again is fine")
                .role(Role::Admin)
                .answers(200, "The key, ended", one("Key")),
        )
        .get(
            "/audit",
            audit::list,
            op("listAudit", "Who did what, newest first; also for auditors")
                .role(Role::Admin)
                .query([
                    parameter("action", text(), "Only this action, or those below it (`key.`)"),
                    per_page(),
                    page_token(),
                ])
                .answers(200, "A page of entries", many("AuditEntry")),
        )
        .get(
            "/audit/verify",
            audit::verify,
            op("verifyAudit", "Read the whole chain, and find what was changed in it")
                .role(Role::Admin)
                .query([
                    parameter("known_seq", text(), "The number of an entry that was noted"),
                    parameter("known_hash", text(), "Its hash: the chain has to hold it still"),
                ])
                .answers(200, "What was found", one("AuditVerification")),
        )
}
