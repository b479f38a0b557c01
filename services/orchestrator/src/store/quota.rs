//! How the tenants' quotas stand, shared by everybody on the tables.

use super::{QUOTA_EMPTY, QUOTA_TAKE, QUOTAS_PRUNE, Tables};
use crate::core::quota::{Action, PERIOD_MS, Quota};
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, on};

/// Whether a quota had one left, and when it is whole again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// One was taken.
    Yes(Timestamp),
    /// None was left; nothing has changed.
    No(Timestamp),
}

impl Tables {
    /// Takes one of a quota, in one statement, so that of two at the same time for the last one,
    /// one gets it. Where the clock was set back, the quota counts as used up from then on.
    pub async fn take(
        &self,
        tenant: TenantId,
        (action, quota): (Action, Quota),
        now: Timestamp,
    ) -> Result<Taken, Error> {
        let mut tx = self.begin().await?;
        let sql = QUOTA_TAKE.on(&tx);
        let row: Option<(i64,)> = on!(tx, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(action.as_str())
            .bind(now.0)
            .bind(quota.interval_ms())
            .bind(PERIOD_MS)
            .fetch_optional(db)
            .await?);
        if let Some((full_at,)) = row {
            self.commit(tx).await?;
            return Ok(Taken::Yes(Timestamp(full_at)));
        }
        let latest = now.plus_ms(PERIOD_MS);
        let sql = QUOTA_EMPTY.on(&tx);
        let row: Option<(i64,)> = on!(tx, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(action.as_str())
            .bind(latest.0)
            .fetch_optional(db)
            .await?);
        self.commit(tx).await?;
        Ok(Taken::No(row.map_or(latest, |(full_at,)| Timestamp(full_at))))
    }

    /// Forgets quotas that are whole again.
    pub async fn prune_quotas(&self, now: Timestamp) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let sql = QUOTAS_PRUNE.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql).bind(now.0).execute(db).await?.rows_affected());
        self.commit(tx).await?;
        Ok(rows)
    }
}
