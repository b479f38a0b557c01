//! Who is calling: a bearer API key, which the orchestrator knows. A checked key is believed for a
//! few seconds, so that a page of requests costs one check; revocation is in force after that.

use crate::edge::Trace;
use crate::problem::Problem;
use crate::quota::Quota;
use crate::routes::App;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use meta_domain::id::TenantId;
use meta_domain::role::{Identity, Principal, Role, Scope, Scopes};
use meta_proto::convert::{instant, parse, parse_opt, word};
use meta_proto::orchestrator as pb;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tonic::metadata::MetadataValue;
use tonic::{Code, Response, Status};

/// Keys that are remembered at most.
const KEYS_MAX: usize = 10_000;
/// Characters of an API key.
const KEY_CHARS_MAX: usize = 512;

/// The verified caller of a request, who also carries the request's ids to the peers.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// The credential that says so.
    credential: Identity,
    trace: Option<Trace>,
    timeout: Duration,
}

impl Caller {
    /// A message for a peer on behalf of this caller, with the usual deadline.
    pub(crate) fn message<T>(&self, message: T) -> tonic::Request<T> {
        self.message_within(self.timeout, message)
    }

    /// A message for a peer on behalf of this caller.
    pub(crate) fn message_within<T>(&self, timeout: Duration, message: T) -> tonic::Request<T> {
        let caller = Identity { principal: self.principal.clone(), ..self.credential.clone() };
        let mut request = meta_runtime::call_as(&caller, timeout, message);
        add_trace(&mut request, self.trace.as_ref());
        request
    }

    /// Waits for a peer's answer, never longer than the usual deadline.
    ///
    /// # Errors
    /// The peer's status as a problem.
    pub(crate) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Problem> {
        ask_within(self.timeout, answer).await
    }

    /// The same, with how the caller's quota stands then.
    ///
    /// # Errors
    /// The peer's status as a problem.
    pub(crate) async fn ask_counted<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<(T, Quota), Problem> {
        let answer = tokio::time::timeout(limit, answer).await;
        let answer = answer.map_err(|_| Problem::deadline())??;
        let quota = Quota::of(answer.metadata());
        Ok((answer.into_inner(), quota))
    }

    /// The usual deadline of a call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The caller in the tenant that a path names.
    ///
    /// # Errors
    /// 404 for every tenant but the caller's own, as if it did not exist; only a platform
    /// administrator may address any.
    pub(crate) fn in_tenant(mut self, tenant: TenantId) -> Result<Self, Problem> {
        if self.principal.tenant != tenant && self.principal.role != Role::PlatformAdmin {
            let what = meta_domain::fault::Fault::not_found("TENANT_NOT_FOUND", "tenant", tenant);
            return Err(what.into());
        }
        if self.principal.tenant != tenant {
            self.credential.home = Some(self.principal.tenant);
        }
        self.principal.tenant = tenant;
        Ok(self)
    }
}

/// Waits for a peer's answer for a limited time, whatever its channel does.
///
/// # Errors
/// The peer's status as a problem, or 504.
pub(crate) async fn ask_within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Problem> {
    let answer = tokio::time::timeout(limit, answer).await;
    Ok(answer.map_err(|_| Problem::deadline())??.into_inner())
}

/// Carries the request's ids on to a peer.
pub(crate) fn add_trace<T>(request: &mut tonic::Request<T>, trace: Option<&Trace>) {
    let Some(trace) = trace else { return };
    let metadata = request.metadata_mut();
    if let Ok(value) = MetadataValue::try_from(&*trace.traceparent) {
        metadata.insert("traceparent", value);
    }
    if let Ok(value) = MetadataValue::try_from(&*trace.request_id) {
        metadata.insert("x-request-id", value);
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(credential) = crate::session::caller(app, parts).await?
        {
            return Self::of_session(app, parts, credential);
        }
        let key = bearer(&parts.headers)?;
        Self::of_key(app, parts, key).await
    }
}

impl Caller {
    /// The caller with this role at least.
    ///
    /// # Errors
    /// 403 for a lower one.
    pub(crate) fn with_role(self, needed: Role) -> Result<Self, Problem> {
        let role = self.principal.role;
        if role >= needed {
            return Ok(self);
        }
        let detail = format!("this needs role {needed}, the credential has {role}");
        Err(Problem::new(StatusCode::FORBIDDEN, "role_too_low", detail))
    }

    /// The caller whose browser signed in.
    ///
    /// # Errors
    /// 403 where the role matrix does not allow the route.
    pub(crate) fn of_session(
        app: &App,
        parts: &Parts,
        credential: Identity,
    ) -> Result<Self, Problem> {
        admitted(parts, &credential)?;
        let (trace, timeout) =
            (parts.extensions.get::<Trace>().cloned(), app.config.request_timeout());
        Ok(Self { principal: credential.principal.clone(), credential, trace, timeout })
    }

    async fn of_key(app: &App, parts: &Parts, key: &str) -> Result<Self, Problem> {
        let trace = parts.extensions.get::<Trace>().cloned();
        let timeout = app.config.request_timeout();
        let hash: KeyHash = Sha256::digest(key.as_bytes()).into();
        let known = app.keys.get(&hash, Instant::now());
        let known = known.filter(|c| c.expires.is_none_or(|end| meta_runtime::now() < end));
        let credential = if let Some(credential) = known {
            credential
        } else {
            let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
            let address = app.signins.address(peer, &parts.headers);
            app.signins.check(address, Instant::now())?;
            let found = authenticated(app, key, trace.as_ref()).await;
            if found.as_ref().is_err_and(|p| p.status == StatusCode::UNAUTHORIZED) {
                app.signins.failed(address, Instant::now());
            }
            let credential = found?;
            app.keys.put(hash, credential.clone(), Instant::now());
            credential
        };
        admitted(parts, &credential)?;
        Ok(Self { principal: credential.principal.clone(), credential, trace, timeout })
    }
}

/// Refuses what the row of the route does not allow, and routes without a row.
fn admitted(parts: &Parts, credential: &Identity) -> Result<(), Problem> {
    let pattern = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let name = format!("{} {pattern}", parts.method);
    let Some(row) = meta_runtime::access::route(parts.method.as_str(), pattern) else {
        tracing::error!(route = name, "a route has no row in the role matrix");
        let detail = format!("{name} may be called by nobody");
        return Err(Problem::new(StatusCode::FORBIDDEN, "no_access_row", detail));
    };
    Ok(row.admits(&name, credential)?)
}

/// A caller who may also name the key in `X-API-Key`, as the clients of the OpenFeature Remote
/// Evaluation Protocol do.
pub(crate) struct RemoteCaller(pub(crate) Caller);

impl FromRequestParts<Arc<App>> for RemoteCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let key = match api_key(&parts.headers)? {
            Some(key) => key,
            None => bearer(&parts.headers)?,
        };
        Caller::of_key(app, parts, key).await.map(Self)
    }
}

async fn authenticated(app: &App, key: &str, trace: Option<&Trace>) -> Result<Identity, Problem> {
    let timeout = app.config.request_timeout();
    let message = pb::AuthenticateRequest { api_key: key.to_owned(), ..Default::default() };
    let mut request = meta_runtime::auth::machine_call(timeout, message);
    add_trace(&mut request, trace);
    let mut tenants = app.peers.tenants();
    let answer = tokio::time::timeout(timeout, tenants.authenticate(request)).await;
    let caller = match answer.map_err(|_| Problem::deadline())? {
        Ok(answer) => answer.into_inner().caller.unwrap_or_default(),
        Err(status) if status.code() == Code::Unauthenticated => {
            return Err(Problem::unauthenticated("the API key is not known, or no longer"));
        }
        Err(status) => return Err(status.into()),
    };
    let broken = |e: meta_domain::fault::InvalidField| {
        tracing::error!(error = %e, "the orchestrator's answer about a key is not valid");
        Problem::internal()
    };
    decode(caller).map_err(broken)
}

/// A caller as the orchestrator tells of it.
///
/// # Errors
/// Names the field that does not fit.
pub(crate) fn decode(caller: pb::Caller) -> Result<Identity, meta_domain::fault::InvalidField> {
    let scopes = caller.scopes.into_iter().map(|scope| word::<Scope>("scopes", scope));
    Ok(Identity {
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

/// The bearer key of a request: one header, one scheme, no stray characters.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let expected = "expected one header: Authorization: Bearer <API key>";
    let refuse = |what: &str| Problem::unauthenticated(&format!("{what} ({expected})"));
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next().ok_or_else(|| refuse("there is no credential"))?;
    if values.next().is_some() {
        return Err(refuse("there are two Authorization headers"));
    }
    let text = first.to_str().map_err(|_| refuse("the credential is not readable"))?;
    let (scheme, key) =
        text.split_once(' ').ok_or_else(|| refuse("the credential has no scheme"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refuse("the credential is not a bearer key"));
    }
    if is_key(key) {
        Ok(key)
    } else {
        Err(refuse("the credential does not have the form of a key"))
    }
}

/// The key of `X-API-Key`; `None` without that header.
fn api_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("x-api-key").iter();
    let Some(first) = values.next() else { return Ok(None) };
    let refuse = |what: &str| Problem::unauthenticated(&format!("{what} (expected one API key)"));
    if values.next().is_some() || headers.contains_key(header::AUTHORIZATION) {
        return Err(refuse("there are two credentials"));
    }
    match first.to_str() {
        Ok(key) if is_key(key) => Ok(Some(key)),
        Ok(_) | Err(_) => Err(refuse("X-API-Key does not have the form of a key")),
    }
}

fn is_key(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain)
}

type KeyHash = [u8; 32];

/// Keys that were checked a moment ago, by their hash.
pub(crate) struct KeyCache {
    believed: Mutex<HashMap<KeyHash, (Identity, Instant)>>,
    lifetime: Duration,
}

impl KeyCache {
    /// A cache that believes a key for this long.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { believed: Mutex::default(), lifetime }
    }

    fn get(&self, hash: &KeyHash, now: Instant) -> Option<Identity> {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        let (credential, since) = believed.get(hash)?;
        (now.duration_since(*since) < self.lifetime).then(|| credential.clone())
    }

    fn put(&self, hash: KeyHash, credential: Identity, now: Instant) {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= KEYS_MAX {
            believed.retain(|_, (_, since)| now.duration_since(*since) < self.lifetime);
        }
        if believed.len() >= KEYS_MAX {
            believed.clear();
        }
        believed.insert(hash, (credential, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(values: &[&str]) -> Result<String, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn only_one_plain_bearer_key_is_read() {
        assert_eq!(key_of(&["Bearer mb_1"]).unwrap(), "mb_1");
        assert_eq!(key_of(&["bearer mb_1"]).unwrap(), "mb_1");
        for bad in [
            vec![],
            vec!["Bearer a", "Bearer a"],
            vec!["mb_1"],
            vec!["Basic bWI="],
            vec!["Bearer "],
            vec!["Bearer  mb_1"],
            vec!["Bearer mb_1 "],
            vec!["Bearer mb_1,Bearer mb_2"],
        ] {
            assert_eq!(key_of(&bad).unwrap_err().status.as_u16(), 401, "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_believed_only_for_a_while() {
        let cache = KeyCache::new(Duration::from_secs(5));
        let tenant = TenantId(meta_runtime::new_id());
        let principal =
            Identity::from(Principal { tenant, role: Role::Viewer, actor: "key".into() });
        let then = Instant::now();
        cache.put([7; 32], principal.clone(), then);
        assert_eq!(cache.get(&[7; 32], then), Some(principal));
        assert_eq!(cache.get(&[8; 32], then), None);
        assert_eq!(cache.get(&[7; 32], then + Duration::from_secs(5)), None);
    }
}
