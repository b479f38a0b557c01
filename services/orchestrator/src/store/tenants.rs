//! Tenants, users and keys. A key is stored as its SHA-256 only.

use super::{Tables, corrupt};
use meta_domain::id::{TenantId, UserId};
use meta_domain::role::{Principal, Role};
use meta_domain::time::Timestamp;
use meta_storage::Error;
use sha2::{Digest, Sha256};
use sqlx::Row;
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
        let sql = "INSERT INTO tenants (id, name, created_at) VALUES ($1, $2, $3) \
                   ON CONFLICT (id) DO NOTHING";
        let mut tx = self.store.begin().await?;
        let done = sqlx::query(sql).bind(id.0).bind(name).bind(now.0).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Tenants in the order of their ids, from behind `after` on.
    pub async fn tenants(
        &self,
        after: Option<TenantId>,
        limit: u32,
    ) -> Result<Vec<TenantRow>, Error> {
        let sql = "SELECT id, name, created_at FROM tenants WHERE ($1 IS NULL OR id > $1) \
                   ORDER BY id LIMIT $2";
        let rows = sqlx::query(sql)
            .bind(after.map(|id| id.0))
            .bind(limit)
            .fetch_all(self.store.read())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(TenantRow {
                    id: row.try_get::<Uuid, _>("id")?.into(),
                    name: row.try_get("name")?,
                    created_at: Timestamp(row.try_get("created_at")?),
                })
            })
            .collect()
    }

    /// Whether a tenant exists.
    pub async fn tenant_exists(&self, id: TenantId) -> Result<bool, Error> {
        let row = sqlx::query("SELECT 1 FROM tenants WHERE id = $1")
            .bind(id.0)
            .fetch_optional(self.store.read())
            .await?;
        Ok(row.is_some())
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
        let mut tx = self.store.begin().await?;
        let sql = "INSERT INTO users (tenant_id, id, email, role, created_at) \
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, email) DO NOTHING";
        let done = sqlx::query(sql)
            .bind(tenant.0)
            .bind(user.0)
            .bind(email)
            .bind(role.as_str())
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        insert_key(&mut tx, (tenant, user), role, email, key, now).await?;
        tx.commit().await?;
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
        let mut tx = self.store.begin().await?;
        insert_key(&mut tx, (tenant, user), role, actor, key, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Who a key belongs to.
    pub async fn key_owner(&self, key: &str) -> Result<Option<Principal>, Error> {
        let row = sqlx::query("SELECT tenant_id, role, actor FROM api_keys WHERE hash = $1")
            .bind(hash(key))
            .fetch_optional(self.store.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let tenant: Uuid = row.try_get("tenant_id")?;
        let role: String = row.try_get("role")?;
        Ok(Some(Principal {
            tenant: tenant.into(),
            role: role.parse().map_err(|e: String| corrupt("api_keys", tenant, e))?,
            actor: row.try_get("actor")?,
        }))
    }
}

async fn insert_key(
    tx: &mut sqlx::SqliteConnection,
    (tenant, user): (TenantId, UserId),
    role: Role,
    actor: &str,
    key: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "INSERT INTO api_keys (hash, tenant_id, user_id, role, actor, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (hash) DO NOTHING";
    sqlx::query(sql)
        .bind(hash(key))
        .bind(tenant.0)
        .bind(user.0)
        .bind(role.as_str())
        .bind(actor)
        .bind(now.0)
        .execute(tx)
        .await?;
    Ok(())
}

fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tenants_are_read_page_by_page_in_the_order_of_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(&folder.path().join("tenants.db")).await.unwrap();
        let id = |n: u128| TenantId(Uuid::from_u128(n));
        for n in [3, 1, 2] {
            let name = format!("tenant {n}");
            assert!(tables.insert_tenant(id(n), &name, Timestamp(7)).await.unwrap());
        }
        let first = tables.tenants(None, 2).await.unwrap();
        let expected = TenantRow { id: id(1), name: "tenant 1".into(), created_at: Timestamp(7) };
        assert_eq!((first.len(), &first[0], first[1].id), (2, &expected, id(2)));
        let rest = tables.tenants(Some(id(2)), 2).await.unwrap();
        assert_eq!(rest.iter().map(|t| t.id).collect::<Vec<_>>(), [id(3)]);
        assert_eq!(tables.tenants(Some(id(3)), 2).await.unwrap(), []);
        tables.close().await;
    }
}
