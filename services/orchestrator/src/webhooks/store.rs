//! The tables of webhooks, on either engine.

use super::subscribers::Subscribers;
use crate::core::audit::Entry;
use crate::core::webhook::{EventFilter, OutboxRow};
use crate::store::append;
use meta_domain::id::{RunId, TenantId, WebhookId};
use meta_domain::time::Timestamp;
use meta_storage::{Engine, Error, Tx, on, statements};
use uuid::Uuid;

statements! {
    WEBHOOK_INSERT = "webhook_insert";
    WEBHOOK_COUNT = "webhook_count";
    WEBHOOK_LIST = "webhook_list";
    WEBHOOK_DELETE = "webhook_delete";
    WEBHOOK_DISABLE = "webhook_disable";
    WEBHOOK_URL = "webhook_url";
    WEBHOOK_SUBSCRIBERS = "webhook_subscribers";
    OUTBOX_INSERT = "outbox_insert";
    OUTBOX_AGAIN = "outbox_again";
    OUTBOX_CLAIM = "outbox_claim.sqlite" | "outbox_claim.postgres";
    OUTBOX_DONE = "outbox_done";
    OUTBOX_PUT_BACK = "outbox_put_back";
    OUTBOX_GIVE_UP = "outbox_give_up";
    OUTBOX_DROP = "outbox_drop";
    OUTBOX_FORGET = "outbox_forget";
    OUTBOX_NEXT_DUE = "outbox_next_due";
}

/// Webhooks of one tenant.
pub const WEBHOOKS_MAX: i64 = 20;

/// A webhook as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its id.
    pub id: WebhookId,
    /// Where messages go.
    pub url: String,
    /// Which events it is told of; none means all.
    pub events: Vec<EventFilter>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Why nothing is sent any more; empty while something is.
    pub disabled_reason: String,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that were given up.
    pub dead: u64,
    /// Why the newest failed delivery failed.
    pub last_error: String,
}

/// A message in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) webhook: WebhookId,
    pub(super) run: RunId,
    pub(super) seq: u64,
    pub(super) tenant: TenantId,
    /// Which try this is, from 1.
    pub(super) tries: u32,
}

/// The store of webhooks and of what they are to be told.
#[derive(Debug, Clone)]
pub struct WebhookStore {
    pub(super) engine: Engine,
    pub(super) subscribers: Subscribers,
}

type ListRow = (Uuid, String, String, String, i64, String, i64, i64, String);
type ClaimRow = (Uuid, Uuid, i64, Uuid, i64);

impl WebhookStore {
    /// On an engine whose schema is up to date.
    pub fn new(engine: Engine) -> Self {
        Self { engine, subscribers: Subscribers::default() }
    }

    /// Adds a webhook; `false` when the tenant has as many as it may have.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create(&self, tenant: TenantId, row: &WebhookRow) -> Result<bool, Error> {
        self.create_as(tenant, row, None).await
    }

    /// The same, put on record.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_as(
        &self,
        tenant: TenantId,
        row: &WebhookRow,
        entry: Option<Entry>,
    ) -> Result<bool, Error> {
        let events = encoded(&row.events)?;
        let mut tx = self.engine.begin().await?;
        let sql = WEBHOOK_COUNT.on(&tx);
        let count: i64 = on!(tx, |db| sqlx::query_scalar(sql).bind(tenant.0).fetch_one(db).await?);
        if count >= WEBHOOKS_MAX {
            tx.rollback().await?;
            return Ok(false);
        }
        let sql = WEBHOOK_INSERT.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(row.id.0)
            .bind(&row.url)
            .bind(&events)
            .bind(&row.created_by)
            .bind(row.created_at.0)
            .execute(db)
            .await
            .map(drop)?);
        append(&mut tx, entry).await?;
        tx.commit().await?;
        self.refresh().await?;
        Ok(true)
    }

    /// The tenant's webhooks, with how deliveries go.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, tenant: TenantId) -> Result<Vec<WebhookRow>, Error> {
        let read = self.engine.read();
        let sql = WEBHOOK_LIST.on(&read);
        let rows: Vec<ListRow> =
            on!(read, |db| sqlx::query_as(sql).bind(tenant.0).fetch_all(db).await?);
        rows.into_iter().map(row).collect()
    }

    /// Removes a webhook and what it was still to be told; `false` when the tenant has none of that
    /// id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, tenant: TenantId, id: WebhookId) -> Result<bool, Error> {
        self.delete_as(tenant, id, None).await
    }

    /// The same, put on record.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete_as(
        &self,
        tenant: TenantId,
        id: WebhookId,
        entry: Option<Entry>,
    ) -> Result<bool, Error> {
        let mut tx = self.engine.begin().await?;
        let sql = WEBHOOK_DELETE.on(&tx);
        let removed = on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(id.0)
            .execute(db)
            .await?
            .rows_affected());
        if removed == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        let sql = OUTBOX_DROP.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(id.0).execute(db).await.map(drop)?);
        append(&mut tx, entry).await?;
        tx.commit().await?;
        self.refresh().await?;
        Ok(true)
    }

    /// Puts an event of one of the tenant's runs into a webhook's outbox anew, due at once; `false`
    /// when there is no such event, or no such webhook that is told anything.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn again_as(
        &self,
        tenant: TenantId,
        id: WebhookId,
        (run, seq): (RunId, u64),
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<bool, Error> {
        let mut tx = self.engine.begin().await?;
        let sql = OUTBOX_AGAIN.on(&tx);
        let put = on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(id.0)
            .bind(run.0)
            .bind(number(seq))
            .bind(now.0)
            .execute(db)
            .await?
            .rows_affected());
        if put == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        append(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Where a webhook's messages go; `None` when nothing is sent there.
    pub(super) async fn url(&self, id: WebhookId) -> Result<Option<String>, Error> {
        let read = self.engine.read();
        let sql = WEBHOOK_URL.on(&read);
        Ok(on!(read, |db| sqlx::query_scalar(sql).bind(id.0).fetch_optional(db).await?))
    }

    /// Takes messages that are due at `now` into hand until `until`: at most `limit`, and of one
    /// webhook at most `each` at a time.
    pub(super) async fn claim(
        &self,
        (now, until): (Timestamp, Timestamp),
        limit: i64,
        each: i64,
    ) -> Result<Vec<Claimed>, Error> {
        let mut tx = self.engine.begin().await?;
        let sql = OUTBOX_CLAIM.on(&tx);
        let rows: Vec<ClaimRow> = on!(tx, |db| sqlx::query_as(sql)
            .bind(now.0)
            .bind(until.0)
            .bind(limit)
            .bind(each)
            .fetch_all(db)
            .await?);
        tx.commit().await?;
        let claimed = |(webhook, run, seq, tenant, tries): ClaimRow| Claimed {
            webhook: webhook.into(),
            run: run.into(),
            seq: u64::try_from(seq).unwrap_or(0),
            tenant: tenant.into(),
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
        };
        Ok(rows.into_iter().map(claimed).collect())
    }

    /// The message was taken, or is of no use any more.
    pub(super) async fn done(&self, claimed: &Claimed) -> Result<(), Error> {
        let mut tx = self.engine.begin().await?;
        let sql = OUTBOX_DONE.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(claimed.webhook.0)
            .bind(claimed.run.0)
            .bind(number(claimed.seq))
            .bind(i64::from(claimed.tries))
            .execute(db)
            .await
            .map(drop)?);
        tx.commit().await
    }

    /// The message was not taken: it is due again, or (no `due`) given up at `now`.
    pub(super) async fn put_back(
        &self,
        claimed: &Claimed,
        due: Option<Timestamp>,
        now: Timestamp,
        why: &str,
    ) -> Result<(), Error> {
        let state = if due.is_some() { "waiting" } else { "dead" };
        let mut tx = self.engine.begin().await?;
        let sql = OUTBOX_PUT_BACK.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(claimed.webhook.0)
            .bind(claimed.run.0)
            .bind(number(claimed.seq))
            .bind(i64::from(claimed.tries))
            .bind(state)
            .bind(due.unwrap_or(now).0)
            .bind(why)
            .execute(db)
            .await
            .map(drop)?);
        tx.commit().await
    }

    /// Nothing is sent to a webhook any more; what waits is given up.
    pub(super) async fn disable(
        &self,
        id: WebhookId,
        now: Timestamp,
        why: &str,
    ) -> Result<(), Error> {
        let mut tx = self.engine.begin().await?;
        let sql = WEBHOOK_DISABLE.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(id.0).bind(why).execute(db).await.map(drop)?);
        let sql = OUTBOX_GIVE_UP.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(id.0)
            .bind(now.0)
            .bind(why)
            .execute(db)
            .await
            .map(drop)?);
        tx.commit().await?;
        self.refresh().await
    }

    /// Removes what was given up before `before`; answers how much that was.
    pub(super) async fn forget(&self, before: Timestamp) -> Result<u64, Error> {
        let mut tx = self.engine.begin().await?;
        let sql = OUTBOX_FORGET.on(&tx);
        let removed =
            on!(tx, |db| sqlx::query(sql).bind(before.0).execute(db).await?.rows_affected());
        tx.commit().await?;
        Ok(removed)
    }

    /// When the next message is due.
    pub(super) async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        let read = self.engine.read();
        let sql = OUTBOX_NEXT_DUE.on(&read);
        let due: Option<i64> = on!(read, |db| sqlx::query_scalar(sql).fetch_one(db).await?);
        Ok(due.map(Timestamp))
    }
}

/// Writes what webhooks are to be told, in the transaction that commits the events.
///
/// # Errors
/// When the store fails.
pub async fn insert(tx: &mut Tx, rows: &[OutboxRow]) -> Result<(), Error> {
    let sql = OUTBOX_INSERT.on(tx);
    for row in rows {
        on!(tx, |db| sqlx::query(sql)
            .bind(row.webhook.0)
            .bind(row.run.0)
            .bind(number(row.seq))
            .bind(row.tenant.0)
            .bind(row.due.0)
            .execute(db)
            .await
            .map(drop)?);
    }
    Ok(())
}

fn row(row: ListRow) -> Result<WebhookRow, Error> {
    let (id, url, events, created_by, created_at, disabled_reason, waiting, dead, last_error) = row;
    Ok(WebhookRow {
        events: decoded(id, &events)?,
        id: id.into(),
        url,
        created_by,
        created_at: Timestamp(created_at),
        disabled_reason,
        waiting: u64::try_from(waiting).unwrap_or(0),
        dead: u64::try_from(dead).unwrap_or(0),
        last_error,
    })
}

fn encoded(events: &[EventFilter]) -> Result<String, Error> {
    serde_json::to_string(events).map_err(|e| corrupt("new", &e))
}

pub(super) fn decoded(id: Uuid, events: &str) -> Result<Vec<EventFilter>, Error> {
    serde_json::from_str(events).map_err(|e| corrupt(&id.to_string(), &e))
}

fn corrupt(id: &str, error: &serde_json::Error) -> Error {
    Error::CorruptRow { table: "webhooks", id: id.to_owned(), problem: format!("events: {error}") }
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
