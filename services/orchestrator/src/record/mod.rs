//! What is noted besides the changes themselves: refused calls, and that keys are used. Neither may
//! hold up a call, nor fill the store when somebody tries the same over and over.

mod denials;
mod uses;

pub use denials::Denials;
pub use uses::Uses;

use crate::store::Tables;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::Identity;
use meta_runtime::auth::Denial;
use meta_runtime::now;
use tokio_util::sync::CancellationToken;

/// Checks API keys.
#[derive(Clone)]
pub struct Credentials {
    tables: Tables,
    denials: Denials,
    uses: Uses,
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
    /// Over these tables, and what it has to do in the background.
    pub fn new(tables: Tables) -> (Self, Noting) {
        let (denials, denied) = Denials::new(tables.clone());
        let (uses, used) = Uses::new(tables.clone());
        (Self { tables, denials, uses }, Noting { denied, used })
    }

    /// Hears of refused calls.
    pub fn denials(&self) -> &Denials {
        &self.denials
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
