//! Who asks, and what goes on record of that.

use crate::core::audit::By;
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role, Scopes};
use meta_runtime::{asked, identity};
use tonic::{Request, Status};

/// A caller with what goes on record.
pub struct Asking {
    /// Where they act.
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
    /// What their credential is limited to.
    pub scopes: Scopes,
    /// Who they are.
    pub actor: String,
    /// By which credential and request.
    pub by: By,
}

/// Who made a request.
///
/// # Errors
/// `UNAUTHENTICATED` when the call came without a caller.
pub fn asking<T>(request: &Request<T>) -> Result<Asking, Status> {
    let identity = identity(request)?;
    let asked = asked(request);
    let scopes = identity.scopes;
    let by = By {
        credential: identity.credential,
        home: identity.home,
        request_id: asked.request_id,
        trace_id: asked.trace_id,
    };
    let Principal { tenant, role, actor } = identity.principal;
    Ok(Asking { tenant, role, scopes, actor, by })
}
