//! The overrides and their audit on disk; the only SQL of the service.

use crate::core::change::Change;
use crate::core::document::Document;
use crate::held::{Batch, Owner, Stored};
use meta_domain::settings::Overrides;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Store};
use sqlx::{Sqlite, Transaction};
use std::path::Path;

const SNAPSHOT_VERSION: &str = include_str!("../sql/snapshot_version.sql");
const SNAPSHOT_NEXT: &str = include_str!("../sql/snapshot_next.sql");
const OVERRIDE_GET: &str = include_str!("../sql/override_get.sql");
const OVERRIDE_PUT: &str = include_str!("../sql/override_put.sql");
const OVERRIDE_DELETE: &str = include_str!("../sql/override_delete.sql");
const OVERRIDES_ALL: &str = include_str!("../sql/overrides_all.sql");
const CHANGE_INSERT: &str = include_str!("../sql/change_insert.sql");
const CHANGES_NEWEST: &str = include_str!("../sql/changes_newest.sql");
const CHANGES_SINCE: &str = include_str!("../sql/changes_since.sql");

/// An audited change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Audited {
    /// Who.
    pub actor: String,
    /// When.
    pub changed_at: Timestamp,
    /// The values before.
    pub before: Overrides,
    /// The values after.
    pub after: Overrides,
}

#[derive(sqlx::FromRow)]
struct OverrideRow {
    snapshot: i64,
    tenant: Option<String>,
    run: Option<String>,
    document: Option<String>,
    version: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    version: i64,
    actor: String,
    changed_at: i64,
    before_json: String,
    after_json: String,
}

/// The store of the flag-resolver.
#[derive(Debug, Clone)]
pub(crate) struct FlagStore {
    store: Store,
}

impl FlagStore {
    /// Opens (or creates) the SQLite file, its folder included.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder)
                .await
                .map_err(|e| Error::Unreachable(sqlx::Error::Io(e)))?;
        }
        Ok(Self { store: Store::open(path, &sqlx::migrate!()).await? })
    }

    /// The version of the newest change.
    pub(crate) async fn version(&self) -> Result<u64, Error> {
        let version: i64 =
            sqlx::query_scalar(SNAPSHOT_VERSION).fetch_one(self.store.read()).await?;
        number("snapshot", version)
    }

    /// Every override.
    pub(crate) async fn all(&self) -> Result<Batch, Error> {
        batch(sqlx::query_as(OVERRIDES_ALL).fetch_all(self.store.read()).await?)
    }

    /// What changed after a version.
    pub(crate) async fn since(&self, version: u64) -> Result<Batch, Error> {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        batch(sqlx::query_as(CHANGES_SINCE).bind(version).fetch_all(self.store.read()).await?)
    }

    /// Changes an override: `decide` sees the stored one (or what is wrong with its row) under the
    /// write lock. Document, audit and version are one transaction.
    pub(crate) async fn change<E: From<Error>>(
        &self,
        owner: Owner,
        decide: impl FnOnce(Result<Document, String>) -> Result<Option<Change>, E> + Send,
    ) -> Result<(), E> {
        let mut tx = self.store.begin().await?;
        let before = get(&mut tx, owner).await?;
        if let Some(change) = decide(before)? {
            put(&mut tx, owner, &change).await?;
            tx.commit().await.map_err(Error::from)?;
        }
        Ok(())
    }

    /// The changes of an override, newest first.
    pub(crate) async fn changes(&self, owner: Owner, limit: u32) -> Result<Vec<Audited>, Error> {
        let (tenant, run) = keys(owner);
        let rows: Vec<ChangeRow> = sqlx::query_as(CHANGES_NEWEST)
            .bind(tenant)
            .bind(run)
            .bind(i64::from(limit))
            .fetch_all(self.store.read())
            .await?;
        rows.into_iter().map(audited).collect()
    }
}

async fn get(
    tx: &mut Transaction<'static, Sqlite>,
    owner: Owner,
) -> Result<Result<Document, String>, Error> {
    let (tenant, run) = keys(owner);
    let json: Option<String> =
        sqlx::query_scalar(OVERRIDE_GET).bind(tenant).bind(run).fetch_optional(&mut **tx).await?;
    Ok(json.map_or_else(|| Ok(Document::default()), |json| Document::parse(&json)))
}

async fn put(
    tx: &mut Transaction<'static, Sqlite>,
    owner: Owner,
    change: &Change,
) -> Result<(), Error> {
    let (tenant, run) = keys(owner);
    let after = change.after.overrides();
    let version: i64 = sqlx::query_scalar(SNAPSHOT_NEXT).fetch_one(&mut **tx).await?;
    if after.is_empty() {
        sqlx::query(OVERRIDE_DELETE).bind(&tenant).bind(&run).execute(&mut **tx).await?;
    } else {
        sqlx::query(OVERRIDE_PUT)
            .bind(&tenant)
            .bind(&run)
            .bind(json(&change.after)?)
            .bind(version)
            .bind(&change.actor)
            .bind(change.changed_at.0)
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query(CHANGE_INSERT)
        .bind(version)
        .bind(tenant)
        .bind(run)
        .bind(&change.actor)
        .bind(change.changed_at.0)
        .bind(json(&change.before)?)
        .bind(json(&after)?)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn keys(owner: Owner) -> (String, String) {
    (owner.tenant.to_string(), owner.run.map(|r| r.to_string()).unwrap_or_default())
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)).into())
}

fn number(table: &'static str, version: i64) -> Result<u64, Error> {
    u64::try_from(version).map_err(|_| Error::CorruptRow {
        table,
        id: version.to_string(),
        problem: "the version is negative".to_owned(),
    })
}

/// A row whose document is bad is kept as bad; one whose owner is bad belongs to nobody, so it is
/// an error of the store.
fn batch(rows: Vec<OverrideRow>) -> Result<Batch, Error> {
    let mut batch = Batch::default();
    for row in rows {
        batch.version = number("snapshot", row.snapshot)?;
        let (Some(tenant), Some(run)) = (row.tenant, row.run) else { continue };
        let bad = |problem: String| Error::CorruptRow {
            table: "overrides",
            id: format!("{tenant}/{run}"),
            problem,
        };
        let owner = Owner {
            tenant: tenant.parse().map_err(|e| bad(format!("tenant: {e}")))?,
            run: match run.as_str() {
                "" => None,
                id => Some(id.parse().map_err(|e| bad(format!("run: {e}")))?),
            },
        };
        let stored = match (row.document, row.version) {
            (Some(json), Some(version)) => {
                let document = Document::parse(&json);
                if let Err(problem) = &document {
                    tracing::error!(%tenant, %run, problem, "stored override is corrupt");
                }
                Some(Stored { version: number("overrides", version)?, document })
            }
            _ => None,
        };
        batch.rows.push((owner, stored));
    }
    Ok(batch)
}

fn audited(row: ChangeRow) -> Result<Audited, Error> {
    let values = |json: &str| {
        serde_json::from_str(json).map_err(|e| Error::CorruptRow {
            table: "changes",
            id: row.version.to_string(),
            problem: e.to_string(),
        })
    };
    Ok(Audited {
        before: values(&row.before_json)?,
        after: values(&row.after_json)?,
        actor: row.actor,
        changed_at: Timestamp(row.changed_at),
    })
}

#[cfg(test)]
mod tests;
