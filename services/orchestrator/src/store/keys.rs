//! API keys. A key is `mb_<tenant>_<id>_<secret>`; what is stored is its SHA-256, which says nothing
//! of a secret of 256 random bits.

use super::tenants::hash;
use super::{
    KEY_BY_HASH, KEY_GET, KEY_INSERT, KEY_LIST, KEY_REVOKE, KEY_USED, Tables, append, corrupt,
};
use crate::core::audit::Entry;
use meta_domain::id::{KeyId, TenantId, UserId};
use meta_domain::role::{Identity, Principal, Role, Scopes};
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use sqlx::FromRow;
use uuid::Uuid;

/// Characters of a secret in hex.
const SECRET_CHARS: usize = 64;

/// A key as it is kept, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id.
    pub id: KeyId,
    /// The one tenant that it is for.
    pub tenant: TenantId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is limited to.
    pub scopes: Scopes,
    /// For whom it acts.
    pub actor: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when, if it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to within some minutes.
    pub last_used_at: Option<Timestamp>,
    /// Since when it is ended.
    pub revoked_at: Option<Timestamp>,
}

impl KeyRow {
    /// Whether it opens anything.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Who shows it.
    pub fn identity(&self) -> Identity {
        Identity {
            principal: Principal {
                tenant: self.tenant,
                role: self.role,
                actor: self.actor.clone(),
            },
            credential: format!("key:{}", self.id),
            scopes: self.scopes.clone(),
            home: None,
            expires: self.expires_at,
        }
    }
}

/// A key that is to be made.
#[derive(Clone)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// The one tenant that it is for.
    pub tenant: TenantId,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is limited to.
    pub scopes: Scopes,
    /// For whom it acts.
    pub actor: String,
    /// Until when, if it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// The whole key.
    pub text: String,
}

impl NewKey {
    /// A key for a role in a tenant, not limited, with this secret of 256 bits in hex.
    pub fn new(tenant: TenantId, role: Role, actor: &str, id: KeyId, secret: &str) -> Self {
        Self {
            id,
            tenant,
            name: actor.to_owned(),
            role,
            scopes: Scopes::default(),
            actor: actor.to_owned(),
            expires_at: None,
            text: format!("mb_{}_{}_{secret}", tenant.0.simple(), id.0.simple()),
        }
    }

    /// The row that it becomes.
    pub fn row(&self, created_at: Timestamp) -> KeyRow {
        KeyRow {
            id: self.id,
            tenant: self.tenant,
            name: self.name.clone(),
            role: self.role,
            scopes: self.scopes.clone(),
            actor: self.actor.clone(),
            created_at,
            expires_at: self.expires_at,
            last_used_at: None,
            revoked_at: None,
        }
    }
}

/// The tenant and the id that a key of the present form names. Keys of earlier forms name none, and
/// are found by their hash.
fn named(key: &str) -> Option<(TenantId, KeyId)> {
    let mut parts = key.strip_prefix("mb_")?.split('_');
    let (tenant, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = |text: &str, chars: usize| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.len() == chars && text.bytes().all(hex)
    };
    let fits = plain(tenant, 32) && plain(id, 32) && plain(secret, SECRET_CHARS);
    let (tenant, id) = (Uuid::try_parse(tenant).ok()?, Uuid::try_parse(id).ok()?);
    (fits && parts.next().is_none()).then_some((TenantId(tenant), KeyId(id)))
}

/// Compares without telling by its time where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[derive(FromRow)]
struct Row {
    hash: Vec<u8>,
    tenant_id: Uuid,
    id: Uuid,
    name: String,
    role: String,
    scopes: String,
    actor: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl TryFrom<Row> for KeyRow {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self, Error> {
        let bad = |e: String| corrupt("api_keys", row.id, e);
        Ok(Self {
            id: KeyId(row.id),
            tenant: TenantId(row.tenant_id),
            role: row.role.parse().map_err(bad)?,
            scopes: row.scopes.parse().map_err(bad)?,
            name: row.name,
            actor: row.actor,
            created_at: Timestamp(row.created_at),
            expires_at: row.expires_at.map(Timestamp),
            last_used_at: row.last_used_at.map(Timestamp),
            revoked_at: row.revoked_at.map(Timestamp),
        })
    }
}

impl Tables {
    /// The key that this is, whether it is in force or not; `None` when nobody has it.
    pub async fn key(&self, key: &str) -> Result<Option<KeyRow>, Error> {
        let (shown, named) = (hash(key), named(key));
        let read = self.read()?;
        let row: Option<Row> = if let Some((tenant, id)) = named {
            let sql = KEY_GET.on(&read);
            on!(read, |db| sqlx::query_as(sql).bind(tenant.0).bind(id.0).fetch_optional(db).await?)
        } else {
            return self.key_by_hash(&shown).await;
        };
        row.filter(|row| same(&row.hash, &shown)).map(KeyRow::try_from).transpose()
    }

    /// The key of which this is the hash.
    pub(super) async fn key_by_hash(&self, hash: &[u8]) -> Result<Option<KeyRow>, Error> {
        let read = self.read()?;
        let sql = KEY_BY_HASH.on(&read);
        let row: Option<Row> =
            on!(read, |db| sqlx::query_as(sql).bind(hash).fetch_optional(db).await?);
        row.filter(|row| same(&row.hash, hash)).map(KeyRow::try_from).transpose()
    }

    /// A tenant's key by its id.
    pub async fn key_of(&self, tenant: TenantId, id: KeyId) -> Result<Option<KeyRow>, Error> {
        let read = self.read()?;
        let sql = KEY_GET.on(&read);
        let row: Option<Row> = on!(read, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(db)
            .await?);
        row.map(KeyRow::try_from).transpose()
    }

    /// A tenant's keys, newest first, from before `before` on.
    pub async fn keys(
        &self,
        tenant: TenantId,
        before: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyRow>, Error> {
        let read = self.read()?;
        let sql = KEY_LIST.on(&read);
        let rows: Vec<Row> = on!(read, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(before.map(|id| id.0))
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        rows.into_iter().map(KeyRow::try_from).collect()
    }

    /// Makes a key and puts that on record.
    pub async fn insert_key(
        &self,
        key: &NewKey,
        now: Timestamp,
        entry: Entry,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        insert_key(&mut tx, key, None, now).await?;
        append(&mut tx, [entry]).await?;
        self.commit(tx).await
    }

    /// Makes sure that a key works, as the development key of `up` has to.
    pub async fn ensure_key(
        &self,
        user: UserId,
        key: &NewKey,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        insert_key(&mut tx, key, Some(user), now).await?;
        self.commit(tx).await
    }

    /// Ends a key and puts that on record; false when it was ended already.
    pub async fn revoke_key(
        &self,
        tenant: TenantId,
        id: KeyId,
        now: Timestamp,
        entry: Entry,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = KEY_REVOKE.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(id.0)
            .bind(now.0)
            .execute(db)
            .await?
            .rows_affected());
        if rows == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        append(&mut tx, [entry]).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    /// Notes that a key was used.
    pub async fn key_used(&self, tenant: TenantId, id: KeyId, at: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let sql = KEY_USED.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(id.0)
            .bind(at.0)
            .execute(db)
            .await
            .map(drop)?);
        self.commit(tx).await
    }
}

/// Stores a key, unless it is there already. A key of no user is its own.
pub(super) async fn insert_key(
    tx: &mut Tx,
    key: &NewKey,
    user: Option<UserId>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = KEY_INSERT.on(tx);
    on!(tx, |db| sqlx::query(sql)
        .bind(hash(&key.text))
        .bind(key.tenant.0)
        .bind(user.map_or(key.id.0, |user| user.0))
        .bind(key.role.as_str())
        .bind(&key.actor)
        .bind(now.0)
        .bind(key.id.0)
        .bind(&key.name)
        .bind(key.scopes.to_string())
        .bind(key.expires_at.map(|end| end.0))
        .execute(db)
        .await
        .map(drop)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_form_names_a_key() {
        let (tenant, id) = (TenantId(Uuid::from_u128(1)), KeyId(Uuid::from_u128(2)));
        let key = NewKey::new(tenant, Role::Viewer, "ann", id, &"ab".repeat(32)).text;
        assert_eq!(named(&key), Some((tenant, id)));
        let upper = key.replacen("ab", "AB", 1);
        let long = format!("{key}_x");
        for bad in ["mb_dev_key", &key[..key.len() - 1], &upper, &long, &key[1..], ""] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }
}
