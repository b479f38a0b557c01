//! Who calls, as services tell each other of one.

use super::{Number, instant, parse, parse_opt, timestamp, word};
use crate::orchestrator as pb;
use meta_domain::fault::InvalidField;
use meta_domain::role::{Identity, Principal, Scope, Scopes};

impl From<&Identity> for pb::Caller {
    fn from(caller: &Identity) -> Self {
        Self {
            tenant_id: caller.principal.tenant.to_string(),
            role: caller.principal.role.number(),
            actor: caller.principal.actor.clone(),
            credential: caller.credential.clone(),
            scopes: caller.scopes.iter().map(Number::number).collect(),
            home_tenant_id: caller.home.map(|home| home.to_string()).unwrap_or_default(),
            expires_at: caller.expires.map(timestamp),
        }
    }
}

impl TryFrom<pb::Caller> for Identity {
    type Error = InvalidField;
    fn try_from(caller: pb::Caller) -> Result<Self, InvalidField> {
        let scopes = caller.scopes.into_iter().map(|scope| word::<Scope>("scopes", scope));
        Ok(Self {
            principal: Principal {
                tenant: parse("tenant_id", &caller.tenant_id)?,
                role: word("role", caller.role)?,
                actor: caller.actor,
            },
            credential: caller.credential,
            scopes: Scopes::new(scopes.collect::<Result<Vec<_>, _>>()?),
            home: parse_opt("home_tenant_id", &caller.home_tenant_id)?,
            expires: caller.expires_at.as_ref().map(instant),
        })
    }
}
