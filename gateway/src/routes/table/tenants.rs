//! Routes of tenants and users.

use super::creates;
use crate::contract::schema::{many, new_tenant, new_user, one, page_token, per_page};
use crate::contract::{Routes, op};
use crate::routes::tenants;
use meta_domain::role::Role;

/// Their routes.
pub(super) fn routes() -> Routes {
    Routes::default()
        .get(
            "/caller",
            tenants::caller,
            op("getCaller", "Whose key this is").answers(200, "The caller's tenant", one("Caller")),
        )
        .get(
            "/tenants",
            tenants::list,
            op("listTenants", "All tenants in the order of their ids")
                .role(Role::PlatformAdmin)
                .query([per_page(), page_token()])
                .answers(200, "A page of tenants", many("Tenant")),
        )
        .post(
            "/tenants",
            tenants::create,
            creates("createTenant", "Create a tenant", "Tenant")
                .role(Role::PlatformAdmin)
                .attributes(new_tenant()),
        )
        .post(
            "/tenants/{tenant_id}/users",
            tenants::create_user,
            creates("createUser", "Create a user; answers once with the API key", "User")
                .role(Role::Owner)
                .attributes(new_user()),
        )
}
