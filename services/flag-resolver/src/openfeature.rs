//! What OpenFeature clients of flagd speak: evaluation in two versions, and sync.

mod evaluation;
mod events;
mod sync;

use crate::resolver::Resolver;
use meta_domain::id::TenantId;
use meta_domain::role::{Principal, Role};
use meta_proto::flagd;
use meta_runtime::Wiring;
use std::sync::Arc;
use tonic::{Request, Status};

/// The header in which a client chooses a tenant.
const SELECTOR: &str = "flagd-selector";

/// Serves flagd's interfaces too.
pub(crate) fn serve(wiring: Wiring, resolver: &Arc<Resolver>) -> Wiring {
    let evaluation = || evaluation::Evaluation { resolver: Arc::clone(resolver) };
    wiring
        .serve(flagd::evaluation::v1::service_server::ServiceServer::new(evaluation()))
        .serve(flagd::evaluation::v2::service_server::ServiceServer::new(evaluation()))
        .serve(flagd::sync::v1::flag_sync_service_server::FlagSyncServiceServer::new(sync::Sync {
            resolver: Arc::clone(resolver),
        }))
}

/// What a stream is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Every tenant.
    All,
    /// The whole platform's settings, and no tenant's.
    Platform,
    /// One tenant, and the whole platform's settings.
    Tenant(TenantId),
}

impl About {
    /// The tenant of a caller; a platform administrator chooses one, as `tenant=<id>` or the id
    /// alone, or else none.
    fn of(caller: &Principal, selector: &str) -> Result<Self, Status> {
        let text = selector.strip_prefix("tenant=").unwrap_or(selector);
        let any = caller.role == Role::PlatformAdmin;
        match text.parse::<TenantId>() {
            _ if text.is_empty() && any => Ok(Self::All),
            _ if text.is_empty() => Ok(Self::Tenant(caller.tenant)),
            Ok(tenant) if any || tenant == caller.tenant => Ok(Self::Tenant(tenant)),
            Err(_) if any => Ok(Self::Platform),
            Ok(_) | Err(_) => Err(Status::not_found("no such tenant")),
        }
    }

    /// The tenant whose overrides are shown.
    fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::All | Self::Platform => None,
        }
    }
}

/// The selector of a call, which some clients send as a header and some in the message.
fn selector<'a, T>(request: &'a Request<T>, in_message: &'a str) -> &'a str {
    let header = request.metadata().get(SELECTOR).and_then(|v| v.to_str().ok());
    header.filter(|text| !text.is_empty()).unwrap_or(in_message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "00000000-0000-7000-8000-000000000001";
    const FOREIGN: &str = "00000000-0000-7000-8000-000000000002";

    fn caller(role: Role) -> Principal {
        Principal { tenant: OWN.parse().unwrap(), role, actor: "a".to_owned() }
    }

    #[test]
    fn a_tenants_credential_follows_its_own_settings_only() {
        let caller = caller(Role::Owner);
        let own = About::Tenant(OWN.parse().unwrap());
        for selector in ["", OWN, &format!("tenant={OWN}")] {
            assert_eq!(About::of(&caller, selector).unwrap(), own, "{selector}");
        }
        for selector in [FOREIGN, "nobody", "tenant=", "tenant=%"] {
            let got = About::of(&caller, selector);
            let expected = if selector == "tenant=" { Ok(own) } else { Err(tonic::Code::NotFound) };
            assert_eq!(got.map_err(|s| s.code()), expected, "{selector}");
        }
    }

    #[test]
    fn a_platform_administrator_chooses() {
        let admin = caller(Role::PlatformAdmin);
        assert_eq!(About::of(&admin, "").unwrap(), About::All);
        assert_eq!(About::of(&admin, FOREIGN).unwrap(), About::Tenant(FOREIGN.parse().unwrap()));
        assert_eq!(About::of(&admin, "nobody").unwrap(), About::Platform);
    }
}
