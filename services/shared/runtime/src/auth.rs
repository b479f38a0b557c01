//! Who is calling. A call carries the installation's service token and, for a tenant's caller, the
//! principal that the edge has verified; or it carries an API key, where the service can check it.

use crate::access::{Access, required};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::Principal;
use meta_proto::status::to_status;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tower::{Layer, Service};

const TENANT: &str = "x-metabuilder-tenant";
const ROLE: &str = "x-metabuilder-role";
const ACTOR: &str = "x-metabuilder-actor";

/// How a service knows its callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By the service token (or an API key, where the service can check one).
    #[default]
    Token,
    /// It believes whoever connects. Only on loopback.
    None,
}

/// Checks API keys; the orchestrator has one.
pub type KeyCheck =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Principal, Fault>> + Send + Sync>;

/// What the layer needs to know.
#[derive(Clone)]
pub struct Auth {
    mode: Mode,
    token: Arc<str>,
    keys: Option<KeyCheck>,
    known: Option<Arc<Principal>>,
}

impl Auth {
    /// Callers are known by `token`, or by API keys where `keys` is given.
    pub fn new(mode: Mode, token: &str, keys: Option<KeyCheck>) -> Self {
        Self { mode, token: token.into(), keys, known: None }
    }

    /// Every caller is this one, whatever the call carries: for clients that cannot send a
    /// credential, on an address that only the right ones can reach.
    pub fn as_caller(known: Principal) -> Self {
        Self { known: Some(Arc::new(known)), ..Self::new(Mode::Token, "", None) }
    }

    async fn check(&self, path: &str, headers: &HeaderMap) -> Result<Option<Principal>, Fault> {
        let denied = |reason, text: String| Fault::new(ErrorKind::PermissionDenied, reason, text);
        let access = required(path)
            .ok_or_else(|| denied("NO_ACCESS_ROW", format!("{path} may be called by nobody")))?;
        if access == Access::Public {
            return Ok(None);
        }
        if let Some(known) = &self.known {
            return match access {
                Access::Role(needed) if known.role >= needed => Ok(Some((**known).clone())),
                Access::Role(_) | Access::Machine | Access::Public => {
                    Err(denied("NOT_HERE", format!("{path} may not be called on this address")))
                }
            };
        }
        let bearer = bearer(headers)?;
        let machine = self.mode == Mode::None
            || bearer.is_some_and(|b| same(b.as_bytes(), self.token.as_bytes()));
        let caller = match (machine, bearer, &self.keys) {
            (true, ..) => claimed(headers)?,
            (false, Some(key), Some(keys)) => Some(keys(key.to_owned()).await?),
            _ => {
                let text = "no valid credential (expected an authorization: Bearer header)";
                return Err(Fault::new(ErrorKind::Unauthenticated, "UNAUTHENTICATED", text));
            }
        };
        match (access, &caller) {
            (Access::Public, _) => Ok(caller),
            (Access::Machine, _) if machine => Ok(caller),
            (Access::Machine, _) => {
                Err(denied("MACHINE_ONLY", format!("{path} is for services of this installation")))
            }
            (Access::Role(needed), Some(p)) if p.role >= needed => Ok(caller),
            (Access::Role(needed), Some(p)) => Err(denied(
                "ROLE_TOO_LOW",
                format!("{path} needs role {needed}, this credential has {}", p.role),
            )),
            (Access::Role(_), None) => Err(Fault::new(
                ErrorKind::Unauthenticated,
                "NO_PRINCIPAL",
                format!("{path} needs {TENANT}, {ROLE} and {ACTOR} beside the service token"),
            )),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        let text = "more than one authorization header (expected one)";
        return Err(Fault::new(ErrorKind::Unauthenticated, "UNAUTHENTICATED", text));
    }
    Ok(first.and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer ")))
}

/// Compares without telling by its time where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    !b.is_empty() && a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

fn claimed(headers: &HeaderMap) -> Result<Option<Principal>, Fault> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let (Some(tenant), Some(role)) = (text(TENANT), text(ROLE)) else { return Ok(None) };
    let bad = |what: String| Fault::new(ErrorKind::Unauthenticated, "BAD_PRINCIPAL", what);
    Ok(Some(Principal {
        tenant: tenant
            .parse()
            .map_err(|e: meta_domain::id::MalformedId| bad(format!("{TENANT}: {e}")))?,
        role: role.parse().map_err(|e: String| bad(format!("{ROLE}: {e}")))?,
        actor: text(ACTOR).unwrap_or("service").to_owned(),
    }))
}

/// The layer around every service.
#[derive(Clone)]
pub struct AuthLayer(pub Auth);

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;
    fn layer(&self, inner: S) -> AuthService<S> {
        AuthService { inner, auth: self.0.clone() }
    }
}

/// See [`AuthLayer`].
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    auth: Auth,
}

impl<S, B, R> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let auth = self.auth.clone();
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            match auth.check(&path, request.headers()).await {
                Ok(caller) => {
                    if let Some(principal) = caller {
                        request.extensions_mut().insert(principal);
                    }
                    inner.call(request).await
                }
                Err(fault) => Ok(to_status(&fault).into_http()),
            }
        })
    }
}

/// The caller of a request, as the layer found it.
///
/// # Errors
/// `UNAUTHENTICATED` when the call came without one.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<Principal, tonic::Status> {
    request.extensions().get::<Principal>().cloned().ok_or_else(|| {
        to_status(&Fault::new(
            ErrorKind::Unauthenticated,
            "NO_PRINCIPAL",
            "the call names no tenant",
        ))
    })
}

/// A request to a peer on behalf of a caller, with a deadline.
pub fn call<T>(caller: &Principal, timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = machine_call(timeout, message);
    let ascii = |text: &str| {
        let plain: String =
            text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect();
        MetadataValue::try_from(plain).unwrap_or_else(|_| MetadataValue::from_static("?"))
    };
    let metadata = request.metadata_mut();
    metadata.insert(TENANT, ascii(&caller.tenant.to_string()));
    metadata.insert(ROLE, ascii(caller.role.as_str()));
    metadata.insert(ACTOR, ascii(&caller.actor));
    request
}

/// The W3C trace that a request belongs to, if it names one.
pub fn trace_id<T>(request: &tonic::Request<T>) -> Option<&str> {
    let trace = request.metadata().get("traceparent")?.to_str().ok()?.split('-').nth(1)?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (trace.len() == 32 && trace.bytes().all(hex)).then_some(trace)
}

/// A request to a peer that belongs to no tenant, with a deadline.
pub fn machine_call<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::role::Role;

    const RESOLVE: &str = "/metabuilder.flags.v1.FlagsService/Resolve";
    const POLL: &str = "/metabuilder.runner.v1.WorkService/PollTask";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (k, v) in pairs {
            map.append(*k, v.parse().unwrap());
        }
        map
    }

    async fn kind(auth: &Auth, path: &str, pairs: &[(&'static str, &str)]) -> Option<ErrorKind> {
        auth.check(path, &headers(pairs)).await.err().map(|f| f.kind)
    }

    const T: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f";
    const OTHER: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e60";

    #[tokio::test]
    async fn the_service_token_and_a_principal_pass() {
        let auth = Auth::new(Mode::Token, "s3cret", None);
        let good = [("authorization", "Bearer s3cret"), (TENANT, T), (ROLE, "viewer")];
        let caller = auth.check(RESOLVE, &headers(&good)).await.unwrap().unwrap();
        assert_eq!(caller.role, Role::Viewer);
    }

    #[tokio::test]
    async fn wrong_missing_and_doubled_credentials_are_refused() {
        let auth = Auth::new(Mode::Token, "s3cret", None);
        for bad in [
            vec![(TENANT, T), (ROLE, "owner")],
            vec![("authorization", "Bearer s3creT"), (TENANT, T), (ROLE, "owner")],
            vec![("authorization", "Bearer "), (TENANT, T), (ROLE, "owner")],
            vec![("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")],
            vec![("authorization", "Bearer s3cret")],
            vec![("authorization", "Bearer s3cret"), (TENANT, "x"), (ROLE, "owner")],
            vec![("authorization", "Bearer s3cret"), (TENANT, T), (ROLE, "king")],
        ] {
            let got = kind(&auth, RESOLVE, &bad).await;
            assert_eq!(got, Some(ErrorKind::Unauthenticated), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn an_empty_token_lets_nobody_in() {
        let auth = Auth::new(Mode::Token, "", None);
        let got = kind(&auth, POLL, &[("authorization", "Bearer ")]).await;
        assert_eq!(got, Some(ErrorKind::Unauthenticated));
    }

    #[tokio::test]
    async fn a_low_role_is_denied() {
        let auth = Auth::new(Mode::Token, "s", None);
        let set = "/metabuilder.flags.v1.FlagsService/SetOverrides";
        let viewer = [("authorization", "Bearer s"), (TENANT, T), (ROLE, "viewer")];
        assert_eq!(kind(&auth, set, &viewer).await, Some(ErrorKind::PermissionDenied));
    }

    #[tokio::test]
    async fn a_known_caller_needs_no_credential_and_is_nothing_more() {
        let known =
            Principal { tenant: T.parse().unwrap(), role: Role::Viewer, actor: "flagd".to_owned() };
        let auth = Auth::as_caller(known.clone());
        let forged = [("authorization", "Bearer x"), (TENANT, OTHER), (ROLE, "owner")];
        assert_eq!(auth.check(RESOLVE, &headers(&forged)).await, Ok(Some(known)));
        let set = "/metabuilder.flags.v1.FlagsService/SetOverrides";
        assert_eq!(kind(&auth, set, &forged).await, Some(ErrorKind::PermissionDenied));
        assert_eq!(kind(&auth, POLL, &forged).await, Some(ErrorKind::PermissionDenied));
    }

    #[tokio::test]
    async fn keys_work_where_they_can_be_checked_but_never_for_machines() {
        let keys: KeyCheck = Arc::new(|key| {
            Box::pin(async move {
                if key == "mb_good" {
                    Ok(Principal {
                        tenant: T.parse().unwrap(),
                        role: Role::Owner,
                        actor: "key".into(),
                    })
                } else {
                    Err(Fault::new(ErrorKind::Unauthenticated, "UNKNOWN_KEY", "unknown key"))
                }
            })
        });
        let auth = Auth::new(Mode::Token, "s", Some(keys));
        let good = [("authorization", "Bearer mb_good")];
        assert_eq!(kind(&auth, RESOLVE, &good).await, None);
        assert_eq!(kind(&auth, POLL, &good).await, Some(ErrorKind::PermissionDenied));
        let bad = [("authorization", "Bearer mb_bad")];
        assert_eq!(kind(&auth, RESOLVE, &bad).await, Some(ErrorKind::Unauthenticated));
    }
}
