//! How things are, for the metrics.

use super::{AUDIT_TENANTS, QUEUE_OWNERS, QUEUE_STATE, RUNS_OPEN, Tables};
use crate::gauges::QueueRow;
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, on};
use std::collections::BTreeSet;
use uuid::Uuid;

impl Tables {
    /// How many tasks there are, by kind and state.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn queue_state(&self, now: Timestamp) -> Result<Vec<QueueRow>, Error> {
        let read = self.read()?;
        let sql = QUEUE_STATE.on(&read);
        let rows: Vec<(String, i64, String, i64, i64, Option<i64>)> =
            on!(read, |db| sqlx::query_as(sql).bind(now.0).fetch_all(db).await?);
        let row = |(kind, internal, state, due, later, oldest)| QueueRow {
            kind,
            internal: internal != 0,
            state,
            due,
            later,
            oldest,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The runners that hold tasks.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn busy_runners(&self) -> Result<BTreeSet<String>, Error> {
        let read = self.read()?;
        let sql = QUEUE_OWNERS.on(&read);
        let owners: Vec<String> = on!(read, |db| sqlx::query_scalar(sql).fetch_all(db).await?);
        Ok(owners.into_iter().collect())
    }

    /// How many runs have not ended, by status.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn open_runs(&self) -> Result<Vec<(String, i64)>, Error> {
        let read = self.read()?;
        let sql = RUNS_OPEN.on(&read);
        Ok(on!(read, |db| sqlx::query_as(sql).fetch_all(db).await?))
    }

    /// The tenants that have a chain in the audit.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audited_tenants(&self) -> Result<Vec<TenantId>, Error> {
        let read = self.read()?;
        let sql = AUDIT_TENANTS.on(&read);
        let ids: Vec<Uuid> = on!(read, |db| sqlx::query_scalar(sql).fetch_all(db).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }
}
