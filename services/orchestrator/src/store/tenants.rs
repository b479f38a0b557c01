//! Tenants and users. What somebody asked for is put on record in the same transaction.

use super::keys::{NewKey, insert_key};
use super::{TENANT_GET, TENANT_INSERT, TENANTS_AFTER, Tables, USER_INSERT, append};
use crate::core::audit::Entry;
use meta_domain::id::{TenantId, UserId};
use meta_domain::time::Timestamp;
use meta_storage::{Error, on};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A tenant as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Which.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// Since when.
    pub created_at: Timestamp,
}

impl Tables {
    /// Creates a tenant; false when the id is taken.
    pub async fn insert_tenant(
        &self,
        id: TenantId,
        name: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.insert_tenant_as(id, name, now, None).await
    }

    /// The same, put on record.
    pub async fn insert_tenant_as(
        &self,
        id: TenantId,
        name: &str,
        now: Timestamp,
        entry: Option<Entry>,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = TENANT_INSERT.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(id.0)
            .bind(name)
            .bind(now.0)
            .execute(db)
            .await?
            .rows_affected());
        if rows == 1 {
            append(&mut tx, entry).await?;
        }
        self.commit(tx).await?;
        Ok(rows == 1)
    }

    /// Tenants in the order of their ids, from behind `after` on.
    pub async fn tenants(
        &self,
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TenantRow>, Error> {
        let read = self.read()?;
        let sql = TENANTS_AFTER.on(&read);
        let rows: Vec<(Uuid, String, i64)> = on!(read, |db| sqlx::query_as(sql)
            .bind(after.map(|id| id.0))
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        let row = |(id, name, at): (Uuid, String, i64)| TenantRow {
            id: id.into(),
            name,
            created_at: Timestamp(at),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Whether a tenant exists.
    pub async fn tenant_exists(&self, id: TenantId) -> Result<bool, Error> {
        let read = self.read()?;
        let sql = TENANT_GET.on(&read);
        Ok(on!(read, |db| sqlx::query(sql).bind(id.0).fetch_optional(db).await?.is_some()))
    }

    /// Creates a user with a key; false when the e-mail address is taken in the tenant.
    pub async fn insert_user(
        &self,
        user: UserId,
        key: &NewKey,
        now: Timestamp,
        entry: Entry,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = USER_INSERT.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(key.tenant.0)
            .bind(user.0)
            .bind(&key.actor)
            .bind(key.role.as_str())
            .bind(now.0)
            .execute(db)
            .await?
            .rows_affected());
        if rows == 0 {
            return Ok(false);
        }
        insert_key(&mut tx, key, Some(user), now).await?;
        append(&mut tx, [entry]).await?;
        self.commit(tx).await?;
        Ok(true)
    }
}

pub(super) fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}
