//! What is noted besides the changes themselves: refused calls, and that keys are used. Neither may
//! hold up a call, nor fill the store when somebody tries the same over and over.

mod changes;
mod denials;
mod uses;

pub use changes::Changes;
pub use denials::Denials;
pub use uses::Uses;

use crate::store::Tables;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::Identity;
use meta_runtime::auth::Denial;
use meta_runtime::now;
use meta_tokens::{Refused, Verifier, is_token};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Checks what callers show.
#[derive(Clone)]
pub struct Credentials {
    tables: Tables,
    denials: Denials,
    uses: Uses,
    tokens: Option<Arc<Verifier>>,
}

/// Writes down what is noted.
pub struct Noting {
    denied: denials::Writing,
    used: uses::Writing,
}

impl Noting {
    /// Until the process stops.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.denied.run(stop.clone()), self.used.run(stop));
    }
}

impl Credentials {
    /// Over these tables, with an issuer's tokens, and what it has to do in the background.
    pub fn new(tables: Tables, tokens: Option<Verifier>) -> (Self, Noting) {
        let tokens = tokens.map(Arc::new);
        let (denials, denied) = Denials::new(tables.clone());
        let (uses, used) = Uses::new(tables.clone());
        (Self { tables, denials, uses, tokens }, Noting { denied, used })
    }

    /// Hears of refused calls.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Somebody whom an issuer knows, when their tenant is one of this installation.
    ///
    /// # Errors
    /// `Unauthenticated` when it is not.
    pub async fn here(&self, known: Identity) -> Result<Identity, Fault> {
        if self.tables.tenant_exists(known.principal.tenant).await? {
            return Ok(known);
        }
        let text = "the credential is for a tenant that is not here";
        Err(Fault::new(ErrorKind::Unauthenticated, "UNKNOWN_TENANT", text))
    }

    /// Who shows this: a key, or a token of the issuer where one is configured.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody does, or no longer.
    pub async fn shown(&self, credential: &str) -> Result<Identity, Fault> {
        let Some(verifier) = self.tokens.as_ref().filter(|_| is_token(credential)) else {
            return self.check(credential).await;
        };
        let claims =
            verifier.verify(credential, now()).await.map_err(|refused| match &refused {
                Refused::Token(_) => {
                    let text = refused.to_string();
                    Fault::new(ErrorKind::Unauthenticated, "TOKEN_REFUSED", text)
                }
                Refused::Keys(error) => {
                    tracing::error!(%error, "an issuer's keys cannot be had");
                    Fault::new(ErrorKind::Unavailable, "ISSUER_UNREACHABLE", refused.to_string())
                }
            })?;
        self.here(claims.identity()).await
    }

    /// Who shows this key.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody has it, or it is ended.
    pub async fn check(&self, key: &str) -> Result<Identity, Fault> {
        let unknown = || {
            let text = "the API key is not known, or no longer";
            Fault::new(ErrorKind::Unauthenticated, "UNKNOWN_KEY", text)
        };
        let row = self.tables.key(key).await?.ok_or_else(unknown)?;
        let at = now();
        if !row.in_force(at) {
            let over = if row.revoked_at.is_some() { "revoked" } else { "expired" };
            self.denials.tell(Denial {
                caller: row.identity(),
                action: "key.used".to_owned(),
                object: format!("key/{}", row.id),
                reason: format!("the key is {over}"),
                request_id: String::new(),
                trace_id: String::new(),
            });
            return Err(unknown());
        }
        self.uses.note(&row, at);
        Ok(row.identity())
    }
}
