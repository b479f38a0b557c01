//! Tenants, users and keys. A key is stored as its SHA-256 only.

use super::{
    KEY_INSERT, KEY_OWNER, TENANT_GET, TENANT_INSERT, TENANTS_AFTER, Tables, USER_INSERT, corrupt,
};
use meta_domain::id::{TenantId, UserId};
use meta_domain::role::{Principal, Role};
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
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
        let mut tx = self.begin().await?;
        let sql = TENANT_INSERT.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(id.0)
            .bind(name)
            .bind(now.0)
            .execute(db)
            .await?
            .rows_affected());
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
        (tenant, user): (TenantId, UserId),
        email: &str,
        role: Role,
        key: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = USER_INSERT.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(user.0)
            .bind(email)
            .bind(role.as_str())
            .bind(now.0)
            .execute(db)
            .await?
            .rows_affected());
        if rows == 0 {
            return Ok(false);
        }
        insert_key(&mut tx, (tenant, user), role, email, key, now).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    /// Makes sure that a key works, as the development key of `up` has to.
    pub async fn ensure_key(
        &self,
        (tenant, user): (TenantId, UserId),
        role: Role,
        actor: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        insert_key(&mut tx, (tenant, user), role, actor, key, now).await?;
        self.commit(tx).await?;
        Ok(())
    }

    /// Who a key belongs to.
    pub async fn key_owner(&self, key: &str) -> Result<Option<Principal>, Error> {
        let read = self.read()?;
        let sql = KEY_OWNER.on(&read);
        let row: Option<(Uuid, String, String)> =
            on!(read, |db| sqlx::query_as(sql).bind(hash(key)).fetch_optional(db).await?);
        let Some((tenant, role, actor)) = row else { return Ok(None) };
        Ok(Some(Principal {
            tenant: tenant.into(),
            role: role.parse().map_err(|e: String| corrupt("api_keys", tenant, e))?,
            actor,
        }))
    }
}

async fn insert_key(
    tx: &mut Tx,
    (tenant, user): (TenantId, UserId),
    role: Role,
    actor: &str,
    key: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = KEY_INSERT.on(tx);
    on!(tx, |db| sqlx::query(sql)
        .bind(hash(key))
        .bind(tenant.0)
        .bind(user.0)
        .bind(role.as_str())
        .bind(actor)
        .bind(now.0)
        .execute(db)
        .await
        .map(drop)?);
    Ok(())
}

pub(super) fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}
