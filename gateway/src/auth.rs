//! Who is calling: an API key, which the orchestrator knows; a token of the configured issuer, which
//! is checked here; or the cookie of a browser that signed in. What was checked is believed for a few
//! seconds, so that a page of requests costs one check; revocation is in force after that.

mod acting;
mod bearer;
mod check;
mod known;
pub(crate) mod lasting;

pub(crate) use acting::Acting;
pub(crate) use check::{Tokens, refused};
pub(crate) use known::KeyCache;

use crate::denials::Denials;
use crate::edge::Trace;
use crate::problem::Problem;
use crate::quota::Quota;
use crate::routes::App;
use axum::extract::{FromRequestParts, MatchedPath};
use http::StatusCode;
use http::header;
use http::request::Parts;
use lasting::{Slot, Watched};
use meta_domain::fault::ErrorKind;
use meta_domain::id::TenantId;
use meta_domain::role::{Identity, Principal, Role};
use meta_runtime::access::Row;
use meta_runtime::auth::Denial;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::{Response, Status};

/// The verified caller of a request, who also carries the request's ids to the peers.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    /// The credential that says so.
    credential: Identity,
    trace: Option<Trace>,
    timeout: Duration,
    denials: Denials,
    /// What is called, as the role matrix names it.
    called: Arc<str>,
}

impl Caller {
    /// A message for a peer on behalf of this caller, with the usual deadline.
    pub(crate) fn message<T>(&self, message: T) -> tonic::Request<T> {
        self.message_within(self.timeout, message)
    }

    /// A message for a peer on behalf of this caller.
    pub(crate) fn message_within<T>(&self, timeout: Duration, message: T) -> tonic::Request<T> {
        let mut request = meta_runtime::call_as(&self.identity(), timeout, message);
        add_trace(&mut request, self.trace.as_ref());
        request
    }

    /// The caller with the credential, in the tenant where they act.
    fn identity(&self) -> Identity {
        Identity { principal: self.principal.clone(), ..self.credential.clone() }
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
            self.refused(&format!("tenant/{tenant}"), "the path names another tenant");
            let what = meta_domain::fault::Fault::not_found("TENANT_NOT_FOUND", "tenant", tenant);
            return Err(what.into());
        }
        if self.principal.tenant != tenant {
            self.credential.home.get_or_insert(self.principal.tenant);
        }
        self.principal.tenant = tenant;
        Ok(self)
    }

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
        self.refused("", &detail);
        Err(Problem::new(StatusCode::FORBIDDEN, "role_too_low", detail))
    }

    /// Puts on record that this was refused.
    fn refused(&self, object: &str, reason: &str) {
        let identity = self.identity();
        self.denials.tell(denial(identity, &self.called, self.trace.as_ref(), (object, reason)));
    }

    /// The caller of a route, when the role matrix admits what is known of them.
    ///
    /// # Errors
    /// 403 where it does not, which goes on record.
    fn admitted(app: &App, parts: &Parts, credential: Identity) -> Result<Self, Problem> {
        let (called, row) = row(parts)?;
        let trace = parts.extensions.get::<Trace>().cloned();
        if let Err(fault) = row.admits(&called, &credential) {
            if fault.kind == ErrorKind::PermissionDenied {
                let path = parts.uri.path();
                let about = (path, fault.message.as_str());
                app.denials.tell(denial(credential, &called, trace.as_ref(), about));
            }
            return Err(fault.into());
        }
        Ok(Self {
            principal: credential.principal.clone(),
            credential,
            trace,
            timeout: app.config.request_timeout(),
            denials: app.denials.clone(),
            called: called.into(),
        })
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
        Self::admitted(app, parts, credential)
    }

    /// The caller who shows this in a header.
    async fn of_bearer(app: &App, parts: &Parts, shown: &str) -> Result<Self, Problem> {
        let credential = check::shown(app, parts, shown).await?;
        let credential = acting::acting(app, parts, credential).await?;
        let caller = Self::admitted(app, parts, credential)?;
        Slot::fill(parts, &caller, || Watched::Shown(shown.to_owned()));
        Ok(caller)
    }
}

/// The row of a request, with the name that the role matrix has for it.
///
/// # Errors
/// 403 without a row.
fn row(parts: &Parts) -> Result<(String, &'static Row), Problem> {
    let pattern = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let name = format!("{} {pattern}", parts.method);
    if let Some(row) = meta_runtime::access::route(parts.method.as_str(), pattern) {
        return Ok((name, row));
    }
    tracing::error!(route = name, "a route has no row in the role matrix");
    let detail = format!("{name} may be called by nobody");
    Err(Problem::new(StatusCode::FORBIDDEN, "no_access_row", detail))
}

fn denial(
    caller: Identity,
    called: &str,
    trace: Option<&Trace>,
    (object, reason): (&str, &str),
) -> Denial {
    Denial {
        caller,
        action: called.to_owned(),
        object: object.to_owned(),
        reason: reason.to_owned(),
        request_id: trace.map(|t| t.request_id.to_string()).unwrap_or_default(),
        trace_id: trace.map(|t| t.trace_id().to_owned()).unwrap_or_default(),
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
            && let Some(signed) = crate::session::caller(app, parts).await?
        {
            let credential = acting::acting(app, parts, signed.identity.clone()).await?;
            let caller = Self::of_session(app, parts, credential)?;
            Slot::fill(parts, &caller, || Watched::Session(signed.token().to_owned()));
            return Ok(caller);
        }
        let shown = bearer::bearer(&parts.headers)?;
        Self::of_bearer(app, parts, shown).await
    }
}

/// A caller who may also name the key in `X-API-Key`, as the clients of the OpenFeature Remote
/// Evaluation Protocol do.
pub(crate) struct RemoteCaller(pub(crate) Caller);

impl FromRequestParts<Arc<App>> for RemoteCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let key = match bearer::api_key(&parts.headers)? {
            Some(key) => key,
            None => bearer::bearer(&parts.headers)?,
        };
        Caller::of_bearer(app, parts, key).await.map(Self)
    }
}
