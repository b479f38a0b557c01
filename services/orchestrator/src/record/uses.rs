//! When a key was last used: written now and then, and never by the call that uses it.

use crate::store::{KeyRow, Tables};
use meta_domain::id::{KeyId, TenantId};
use meta_domain::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How old what is written has to be, in milliseconds.
const NOTE_EVERY_MS: u64 = 10 * 60 * 1000;
/// Uses that wait to be written; more are not noted.
const WAITING_MAX: usize = 256;

/// Notes that keys are used.
#[derive(Clone)]
pub struct Uses(mpsc::Sender<(TenantId, KeyId, Timestamp)>);

/// Writes it down.
pub struct Writing {
    tables: Tables,
    used: mpsc::Receiver<(TenantId, KeyId, Timestamp)>,
}

impl Uses {
    /// Over these tables, and what writes it down.
    pub fn new(tables: Tables) -> (Self, Writing) {
        let (sender, used) = mpsc::channel(WAITING_MAX);
        (Self(sender), Writing { tables, used })
    }

    /// Notes that a key was used.
    pub fn note(&self, key: &KeyRow, at: Timestamp) {
        let known = key.last_used_at.is_some_and(|last| at.since_ms(last) < NOTE_EVERY_MS);
        if !known {
            // the next use is as good
            let _ = self.0.try_send((key.tenant, key.id, at));
        }
    }
}

impl Writing {
    /// Writes until the process stops.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some((tenant, key, at))) = stop.run_until_cancelled(self.used.recv()).await {
            if let Err(error) = self.tables.key_used(tenant, key, at).await {
                tracing::warn!(%error, %key, "the use of a key could not be noted");
            }
        }
    }
}
