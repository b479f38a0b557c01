//! What an OpenFeature client is told: whose settings its context asks for, and why a value is so.
//!
//! Clients keep an answer with the reason `STATIC` by the flag's key alone, whoever asks next, and
//! take their own default where the variant is empty; so neither is ever said here.

use super::{Layer, Owner};
use crate::id::{RunId, TenantId};
use crate::role::{Principal, Role};

/// The attribute of an evaluation context that names the tenant.
pub const TENANT_ATTRIBUTE: &str = "tenantId";
/// The attribute of an evaluation context that names the run.
pub const RUN_ATTRIBUTE: &str = "runId";

/// The name of our flags among those of others.
pub const FLAG_SET: &str = "meta-builder";

/// An attribute of an evaluation context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// Not there, or null.
    Absent,
    /// A text.
    Text(&'a str),
    /// Something else, which names nobody.
    Other,
}

/// The context names a tenant that is not the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignTenant;

/// Whose settings an evaluation is about: `None` means the platform's layers alone.
///
/// The tenant comes from the credential. A context may repeat it; only a platform administrator's
/// may name another. What is no id names nobody and is never a wildcard.
///
/// # Errors
/// When the context names a tenant that is not the caller's.
pub fn owner(
    caller: &Principal,
    tenant: Attribute<'_>,
    run: Attribute<'_>,
) -> Result<Option<Owner>, ForeignTenant> {
    let any = caller.role == Role::PlatformAdmin;
    let own = Some(caller.tenant).filter(|t| !t.0.is_nil());
    let tenant: Option<TenantId> = match tenant {
        Attribute::Absent => own,
        Attribute::Other => None,
        Attribute::Text(text) => match text.parse() {
            Ok(tenant) if any || own == Some(tenant) => Some(tenant),
            Err(_) if any => None,
            Ok(_) | Err(_) => return Err(ForeignTenant),
        },
    };
    let run: Option<RunId> = match run {
        Attribute::Text(text) => text.parse().ok(),
        Attribute::Absent | Attribute::Other => None,
    };
    Ok(tenant.map(|tenant| Owner { tenant, run }))
}

/// The reason of a value from a layer.
pub fn reason(layer: Layer) -> &'static str {
    match layer {
        Layer::Platform | Layer::FailClosed => "DEFAULT",
        Layer::Rollout => "SPLIT",
        Layer::Tenant | Layer::Run | Layer::KillSwitch => "TARGETING_MATCH",
    }
}

/// The same for the OpenFeature Remote Evaluation Protocol, whose list of reasons has no default;
/// its clients keep nothing by the reason.
pub fn remote_reason(layer: Layer) -> &'static str {
    match reason(layer) {
        "DEFAULT" => "STATIC",
        other => other,
    }
}

/// The variant of a value from a layer.
pub fn variant(layer: Layer) -> &'static str {
    match layer {
        Layer::Platform => "platform",
        Layer::Rollout => "rollout",
        Layer::Tenant => "tenant",
        Layer::Run => "run",
        Layer::KillSwitch => "kill-switch",
        Layer::FailClosed => "fail-closed",
    }
}

#[cfg(test)]
mod tests {
    use super::Attribute::{Absent, Other, Text};
    use super::*;
    use uuid::Uuid;

    const OWN: &str = "00000000-0000-7000-8000-000000000001";
    const FOREIGN: &str = "00000000-0000-7000-8000-000000000002";

    fn caller(role: Role, tenant: &str) -> Principal {
        Principal { tenant: tenant.parse().unwrap(), role, actor: "a".to_owned() }
    }

    fn tenant(id: &str) -> Result<Option<Owner>, ForeignTenant> {
        Ok(Some(Owner::tenant(id.parse().unwrap())))
    }

    #[test]
    fn a_tenants_credential_reads_its_own_settings_only() {
        let caller = caller(Role::Owner, OWN);
        for (context, expected) in [
            (Absent, tenant(OWN)),
            (Text(OWN), tenant(OWN)),
            (Text(FOREIGN), Err(ForeignTenant)),
            (Text("nobody"), Err(ForeignTenant)),
            (Other, Ok(None)),
        ] {
            assert_eq!(owner(&caller, context, Absent), expected, "{context:?}");
        }
    }

    #[test]
    fn a_platform_administrator_may_name_any_tenant() {
        let admin = caller(Role::PlatformAdmin, OWN);
        for (context, expected) in [
            (Absent, tenant(OWN)),
            (Text(FOREIGN), tenant(FOREIGN)),
            (Text("nobody"), Ok(None)),
            (Other, Ok(None)),
        ] {
            assert_eq!(owner(&admin, context, Absent), expected, "{context:?}");
        }
        let of_no_tenant = caller(Role::PlatformAdmin, &Uuid::nil().to_string());
        assert_eq!(owner(&of_no_tenant, Absent, Absent), Ok(None));
    }

    #[test]
    fn a_run_is_named_by_its_id_alone() {
        let caller = caller(Role::Viewer, OWN);
        let run = |run| owner(&caller, Absent, run).unwrap().unwrap().run;
        assert_eq!(run(Text(FOREIGN)), Some(RunId(FOREIGN.parse().unwrap())));
        for nothing in [Absent, Other, Text(""), Text("run-7"), Text("%")] {
            assert_eq!(run(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn no_reason_is_static_over_grpc_and_no_variant_is_empty() {
        for layer in Layer::ALL {
            assert_ne!(reason(*layer), "STATIC");
            assert_ne!(remote_reason(*layer), "DEFAULT");
            assert!(!variant(*layer).is_empty());
        }
    }
}
