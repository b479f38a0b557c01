//! Who is to be told, in memory: a commit of events may not wait for another question to the
//! database. A webhook that another process made is known here a second later.

use super::store::{self, WEBHOOK_SUBSCRIBERS, WebhookStore};
use crate::core::webhook::{Subscription, outbox_rows};
use meta_domain::id::{RunId, TenantId};
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

/// An event that was just written: whose, its number and its type.
pub type Written<'a> = (TenantId, RunId, u64, &'a str);

type ByTenant = HashMap<TenantId, Vec<Subscription>>;

/// The webhooks that are told something, by tenant.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscribers(Arc<RwLock<Arc<ByTenant>>>);

impl Subscribers {
    fn all(&self) -> Arc<ByTenant> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, all: ByTenant) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
    }
}

impl WebhookStore {
    /// Reads who is to be told.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn refresh(&self) -> Result<(), Error> {
        let read = self.engine.read();
        let sql = WEBHOOK_SUBSCRIBERS.on(&read);
        let rows: Vec<(Uuid, Uuid, String)> =
            on!(read, |db| sqlx::query_as(sql).fetch_all(db).await?);
        let mut all = ByTenant::new();
        for (tenant, id, events) in rows {
            let subscription =
                Subscription { webhook: id.into(), events: store::decoded(id, &events)? };
            all.entry(tenant.into()).or_default().push(subscription);
        }
        self.subscribers.replace(all);
        Ok(())
    }

    /// Whether anybody is to be told anything.
    pub fn anybody(&self) -> bool {
        !self.subscribers.all().is_empty()
    }

    /// Writes what webhooks are to be told of events, in the transaction that commits them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell(
        &self,
        tx: &mut Tx,
        events: impl IntoIterator<Item = Written<'_>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let all = self.subscribers.all();
        let mut rows = Vec::new();
        for (tenant, run, seq, event_type) in events {
            if let Some(subscriptions) = all.get(&tenant) {
                rows.extend(outbox_rows((tenant, run), [(seq, event_type)], subscriptions, now));
            }
        }
        store::insert(tx, &rows).await
    }
}
