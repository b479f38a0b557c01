//! `X-Act-As-Tenant`: a platform administrator in another tenant, which goes on record there with
//! both. Whoever else names another tenant is refused, and that goes on record at home.

use super::check::authenticated;
use super::known::{KeyCache, KeyHash};
use crate::edge::Trace;
use crate::params::id;
use crate::problem::{At, Problem};
use crate::routes::App;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use meta_domain::id::TenantId;
use meta_domain::role::{Identity, Role};
use meta_proto::orchestrator as pb;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// The header.
const HEADER: HeaderName = HeaderName::from_static("x-act-as-tenant");
/// How often it goes on record that the same credential acts in the same tenant.
const ON_RECORD_EVERY: Duration = Duration::from_mins(10);

/// Who acts where, as the orchestrator admitted it lately.
pub(crate) struct Acting(KeyCache);

impl Default for Acting {
    fn default() -> Self {
        Self(KeyCache::new(ON_RECORD_EVERY))
    }
}

/// The caller in the tenant that the request names, if it names one.
///
/// # Errors
/// 400 for what is no id, 403 for who may not, 404 for a tenant that is not there.
pub(super) async fn acting(
    app: &App,
    parts: &Parts,
    caller: Identity,
) -> Result<Identity, Problem> {
    let Some(tenant) = named(&parts.headers)? else { return Ok(caller) };
    let own = caller.principal.tenant;
    if tenant == own {
        return Ok(caller);
    }
    let key = key(&caller, tenant);
    if caller.principal.role == Role::PlatformAdmin
        && let Some(admitted) = app.acting.0.get(&key, Instant::now())
    {
        return Ok(admitted);
    }
    let message = pb::AuthenticateRequest {
        known: Some((&caller).into()),
        act_as_tenant_id: tenant.to_string(),
        ..Default::default()
    };
    let trace = parts.extensions.get::<Trace>();
    let unknown = "the credential is not known, or no longer";
    let admitted = authenticated(app, message, trace, unknown).await?;
    app.acting.0.put(key, admitted.clone(), Instant::now());
    Ok(admitted)
}

fn named(headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    let mut values = headers.get_all(&HEADER).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| values.next().is_none());
    let tenant = text.and_then(|text| id::<TenantId>("X-Act-As-Tenant", text).ok());
    tenant.map(Some).ok_or_else(|| {
        let detail = "X-Act-As-Tenant does not name a tenant (expected one header with its id)";
        Problem::bad("invalid_header", detail).at(At::Header("X-Act-As-Tenant"))
    })
}

fn key(caller: &Identity, tenant: TenantId) -> KeyHash {
    let Identity { principal, credential, scopes, .. } = caller;
    let (own, role, actor) = (principal.tenant, principal.role, &principal.actor);
    let text = format!("{own}\n{tenant}\n{role}\n{scopes}\n{credential}\n{actor}");
    Sha256::digest(text.as_bytes()).into()
}
