//! Who is calling. A call carries a service's token, which the installation's secret signs, and, for
//! a tenant's caller, the identity that the edge has verified; or it carries an API key, where the
//! service can check it.

mod carried;
mod lasting;
mod token;

pub use carried::{asked, call, call_as, identity, machine_call, principal, trace_id};
pub use token::{Machine, runner_secret};

pub(crate) use token::Signer;

use crate::access::{Row, Who, rpc};
use axum::body::Body;
use carried::{Asked, claimed};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use lasting::{Shown, while_in_force};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::{Identity, Principal};
use meta_proto::status::to_status;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer, Service};

const TENANT: &str = "x-metabuilder-tenant";
const ROLE: &str = "x-metabuilder-role";
const ACTOR: &str = "x-metabuilder-actor";
const CREDENTIAL: &str = "x-metabuilder-credential";
const SCOPES: &str = "x-metabuilder-scopes";
const HOME: &str = "x-metabuilder-home";

/// How a service knows its callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By tokens that the services' secret signs (or an API key, where the service can check one).
    #[default]
    Token,
    /// It believes whoever connects. Only on loopback.
    None,
}

/// Checks API keys; the orchestrator has one.
pub type KeyCheck =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Identity, Fault>> + Send + Sync>;

/// Hears of calls that were refused although their caller is known.
pub type DenialSink = Arc<dyn Fn(Denial) + Send + Sync>;

/// A call that was refused although its caller is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who wanted it.
    pub caller: Identity,
    /// What: `/package.Service/Method`, or a route such as `POST /api/...`.
    pub action: String,
    /// What it was about, such as the path of the request; may be empty.
    pub object: String,
    /// Why it was refused.
    pub reason: String,
    /// Names the request, when it has a name.
    pub request_id: String,
    /// The W3C trace that it belongs to, if any.
    pub trace_id: String,
}

/// What the layer needs to know.
#[derive(Clone)]
pub struct Auth {
    mode: Mode,
    signer: Option<Signer>,
    keys: Option<KeyCheck>,
    known: Option<Arc<Principal>>,
    denials: Option<DenialSink>,
}

impl Auth {
    /// Callers are known by tokens that `secret` signs, or by API keys where `keys` is given.
    pub fn new(mode: Mode, secret: &str, keys: Option<KeyCheck>) -> Self {
        Self { mode, signer: Signer::new(secret), keys, known: None, denials: None }
    }

    /// Every caller is this one, whatever the call carries: for clients that cannot send a
    /// credential, on an address that only the right ones can reach.
    pub fn as_caller(known: Principal) -> Self {
        Self { known: Some(Arc::new(known)), ..Self::new(Mode::Token, "", None) }
    }

    /// Tells somebody of what is refused to a caller who is known.
    #[must_use]
    pub fn telling(mut self, denials: Option<DenialSink>) -> Self {
        self.denials = denials;
        self
    }

    async fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Admitted, Fault> {
        let denied = |reason, text: String| Fault::new(ErrorKind::PermissionDenied, reason, text);
        let row = rpc(path)
            .ok_or_else(|| denied("NO_ACCESS_ROW", format!("{path} may be called by nobody")))?;
        if row.who == Who::Public {
            return Ok(Admitted::of(None));
        }
        if let Some(known) = &self.known {
            let known = Identity::from((**known).clone());
            let admitted = row.admits(path, &known);
            return admitted.map(|()| Admitted::of(Some(known))).map_err(|_| {
                denied("NOT_HERE", format!("{path} may not be called on this address"))
            });
        }
        let bearer = bearer(headers)?;
        let machine = match self.mode {
            Mode::None => Some(Machine::Service),
            Mode::Token => bearer.and_then(|token| self.machine(token, path, headers)),
        };
        match (machine, bearer, &self.keys) {
            (Some(machine), ..) => self.of_machine(row, path, machine, headers).map(Admitted::of),
            (None, Some(key), Some(keys)) => {
                let caller = keys(key.to_owned()).await?;
                self.admitted(row, path, &caller, headers)?;
                let (credential, path) = (key.to_owned(), path.to_owned());
                let check = Arc::clone(keys);
                let shown = Shown { credential, caller: caller.clone(), path, row, check };
                Ok(Admitted { caller: Some(caller), shown: Some(shown) })
            }
            _ => {
                let text = "no valid credential (expected an authorization: Bearer header)";
                Err(Fault::new(ErrorKind::Unauthenticated, "UNAUTHENTICATED", text))
            }
        }
    }

    fn machine(&self, token: &str, path: &str, headers: &HeaderMap) -> Option<Machine> {
        self.signer.as_ref()?.verify(token, path, headers, crate::now())
    }

    fn of_machine(
        &self,
        row: &Row,
        path: &str,
        machine: Machine,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, Fault> {
        let denied = |reason, text: String| Fault::new(ErrorKind::PermissionDenied, reason, text);
        match (&row.who, machine) {
            (Who::Machines { runners: true } | Who::Public, _) => Ok(None),
            (_, Machine::Runner) => {
                Err(denied("RUNNER_ONLY_WORKS", format!("{path} may not be called by a runner")))
            }
            (Who::Machines { .. }, Machine::Service) => claimed(headers),
            (Who::Roles(_), Machine::Service) => {
                let caller = claimed(headers)?.ok_or_else(|| {
                    let text =
                        format!("{path} needs {TENANT}, {ROLE} and {ACTOR} beside the token");
                    Fault::new(ErrorKind::Unauthenticated, "NO_PRINCIPAL", text)
                })?;
                self.admitted(row, path, &caller, headers)?;
                Ok(Some(caller))
            }
        }
    }

    /// Refuses what the row does not allow, and tells of it.
    fn admitted(
        &self,
        row: &Row,
        path: &str,
        caller: &Identity,
        headers: &HeaderMap,
    ) -> Result<(), Fault> {
        let fault = match row.admits(path, caller) {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        if let Some(tell) = &self.denials {
            let Asked { request_id, trace_id } = Asked::of(headers);
            tell(Denial {
                caller: caller.clone(),
                action: path.to_owned(),
                object: String::new(),
                reason: fault.message.clone(),
                request_id,
                trace_id,
            });
        }
        Err(fault)
    }
}

/// A call that may be made.
struct Admitted {
    /// For whom, if for anybody.
    caller: Option<Identity>,
    /// What has to stay good while it goes on.
    shown: Option<Shown>,
}

impl Admitted {
    fn of(caller: Option<Identity>) -> Self {
        Self { caller, shown: None }
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

impl<S, B> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let auth = self.auth.clone();
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            match auth.admit(&path, request.headers()).await {
                Ok(Admitted { caller, shown }) => {
                    if let Some(identity) = caller {
                        request.extensions_mut().insert(identity.principal.clone());
                        request.extensions_mut().insert(identity);
                    }
                    let response = inner.call(request).await?;
                    Ok(match shown {
                        Some(shown) => while_in_force(response, shown),
                        None => response,
                    })
                }
                Err(fault) => Ok(to_status(&fault).into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests;
