//! Finds out whose a credential is: a key by the orchestrator, a token by its issuer's keys.

use super::add_trace;
use crate::edge::Trace;
use crate::problem::Problem;
use crate::routes::App;
use axum::extract::ConnectInfo;
use http::StatusCode;
use http::request::Parts;
use meta_domain::fault::InvalidField;
use meta_domain::role::Identity;
use meta_proto::orchestrator as pb;
use meta_tokens::{Issuer, Refused, Verifier, is_token};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::time::Instant;
use tonic::Code;

/// The tokens that are believed; none unless an issuer is configured.
#[derive(Default)]
pub(crate) struct Tokens(Option<Verifier>);

impl Tokens {
    /// Of this issuer.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn of(issuer: Option<&Issuer>) -> Result<Self, Vec<InvalidField>> {
        issuer.map(Verifier::new).transpose().map(Self)
    }
}

/// Whose a credential is that a request shows. An address that shows wrong ones is stopped soon;
/// what was found good a moment ago is not asked about again.
///
/// # Errors
/// 401 when nobody has it, 429 for an address that tried too many.
pub(super) async fn shown(app: &App, parts: &Parts, shown: &str) -> Result<Identity, Problem> {
    let hash = Sha256::digest(shown.as_bytes()).into();
    if let Some(credential) = app.keys.get(&hash, Instant::now()) {
        return Ok(credential);
    }
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let address = app.signins.address(peer, &parts.headers);
    app.signins.check(address, Instant::now())?;
    let found = asked(app, shown, parts.extensions.get::<Trace>()).await;
    if found.as_ref().is_err_and(|p| p.status == StatusCode::UNAUTHORIZED) {
        app.signins.failed(address, Instant::now());
    }
    let credential = found?;
    app.keys.put(hash, credential.clone(), Instant::now());
    Ok(credential)
}

/// The same without a request: whether it is still so.
///
/// # Errors
/// 401 when it is over.
pub(super) async fn again(app: &App, shown: &str) -> Result<Identity, Problem> {
    let hash = Sha256::digest(shown.as_bytes()).into();
    if let Some(credential) = app.keys.get(&hash, Instant::now()) {
        return Ok(credential);
    }
    let credential = asked(app, shown, None).await?;
    app.keys.put(hash, credential.clone(), Instant::now());
    Ok(credential)
}

async fn asked(app: &App, shown: &str, trace: Option<&Trace>) -> Result<Identity, Problem> {
    match &app.tokens.0 {
        Some(verifier) if is_token(shown) => {
            let claims = verifier.verify(shown, meta_runtime::now()).await.map_err(refused)?;
            let known = Some(pb::Caller::from(&claims.identity()));
            let message = pb::AuthenticateRequest { known, ..Default::default() };
            authenticated(app, message, trace, "the token names a tenant that is not here").await
        }
        _ => {
            let api_key = shown.to_owned();
            let message = pb::AuthenticateRequest { api_key, ..Default::default() };
            authenticated(app, message, trace, "the API key is not known, or no longer").await
        }
    }
}

/// Why a token is not believed, as its bearer is told.
pub(crate) fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Token(_) => Problem::unauthenticated(&refused.to_string()),
        Refused::Keys(ref error) => {
            tracing::error!(%error, "an issuer's keys cannot be had");
            let text = refused.to_string();
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "issuer_unreachable", text)
                .wait(crate::problem::RETRY_AFTER_DEFAULT)
        }
    }
}

/// What the orchestrator knows of a caller.
///
/// # Errors
/// 401 with this text when it knows nobody.
pub(super) async fn authenticated(
    app: &App,
    message: pb::AuthenticateRequest,
    trace: Option<&Trace>,
    unknown: &str,
) -> Result<Identity, Problem> {
    let timeout = app.config.request_timeout();
    let mut request = meta_runtime::auth::machine_call(timeout, message);
    add_trace(&mut request, trace);
    let mut tenants = app.peers.tenants();
    let answer = tokio::time::timeout(timeout, tenants.authenticate(request)).await;
    let caller = match answer.map_err(|_| Problem::deadline())? {
        Ok(answer) => answer.into_inner().caller.unwrap_or_default(),
        Err(status) if status.code() == Code::Unauthenticated => {
            return Err(Problem::unauthenticated(unknown));
        }
        Err(status) => return Err(status.into()),
    };
    Identity::try_from(caller).map_err(|error| {
        tracing::error!(%error, "the orchestrator's answer about a credential is not valid");
        Problem::internal()
    })
}
