//! Tenants' chains: each entry follows the one before.

use crate::core::audit::{Entry, Hash, ORIGIN, Sealed};
use crate::store::{
    AUDIT_HEAD, AUDIT_HEAD_INSERT, AUDIT_HEAD_READ, AUDIT_HEAD_SET, Tables, corrupt, signed,
    unsigned,
};
use meta_domain::id::TenantId;
use meta_storage::{Error, Tx, on};
use sqlx::{QueryBuilder, Sqlite};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows that one statement takes: below the engines' limit of parameters.
const ROWS_MAX: usize = 64;

/// Chains whose ends are kept in memory; with more, all of them are read again.
const ENDS_MAX: usize = 1_000;

/// Entries at their places, and where their tenants' chains end then.
#[derive(Debug, Default)]
pub(in crate::store) struct Links {
    pub(in crate::store) sealed: Vec<Sealed>,
    pub(in crate::store) ends: BTreeMap<TenantId, (u64, Hash)>,
}

impl Links {
    /// Adds a tenant's entries after the end of its chain.
    fn add(&mut self, tenant: TenantId, end: (u64, Hash), entries: Vec<Entry>) {
        let (mut seq, mut prev) = end;
        for entry in entries {
            seq += 1;
            let hash = entry.hash(seq, &prev);
            self.sealed.push(Sealed { seq, entry, prev, hash });
            prev = hash;
        }
        self.ends.insert(tenant, (seq, prev));
    }
}

/// The ends of chains as this process read or wrote them last. Somebody else may have appended
/// since: then the next number is taken, and the database refuses what is to be put there.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Ends(Arc<Mutex<HashMap<TenantId, (u64, Hash)>>>);

impl Ends {
    fn get(&self, tenant: TenantId) -> Option<(u64, Hash)> {
        self.locked().get(&tenant).copied()
    }

    /// Keeps the ends of what was stored.
    pub(in crate::store) fn put(&self, links: &Links) {
        let mut ends = self.locked();
        if ends.len() >= ENDS_MAX {
            ends.clear();
        }
        ends.extend(&links.ends);
    }

    /// Forgets the ends of these tenants' chains.
    pub(in crate::store) fn forget(&self, tenants: impl Iterator<Item = TenantId>) {
        let mut ends = self.locked();
        for tenant in tenants {
            ends.remove(&tenant);
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<TenantId, (u64, Hash)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_tenant(entries: impl IntoIterator<Item = Entry>) -> BTreeMap<TenantId, Vec<Entry>> {
    let mut of_tenants: BTreeMap<TenantId, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        of_tenants.entry(entry.tenant).or_default().push(entry);
    }
    of_tenants
}

/// Appends entries to their tenants' chains. Whoever else appends to one of them waits until the
/// transaction ends.
pub(crate) async fn append(
    tx: &mut Tx,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<(), Error> {
    for (tenant, entries) in by_tenant(entries) {
        let mut links = Links::default();
        links.add(tenant, head(tx, tenant).await?, entries);
        for part in links.sealed.chunks(ROWS_MAX) {
            insert(tx, part).await?;
        }
        let (seq, hash) = links.ends[&tenant];
        let sql = AUDIT_HEAD_SET.on(tx);
        let changed = on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(signed(seq))
            .bind(hash.to_vec())
            .execute(db)
            .await?
            .rows_affected());
        if changed != 1 {
            return Err(corrupt("audit_heads", tenant, "the end of the chain is not there"));
        }
    }
    Ok(())
}

/// The end of a tenant's chain, which stays as it is until the transaction ends.
async fn head(tx: &mut Tx, tenant: TenantId) -> Result<(u64, Hash), Error> {
    for _ in 0..2 {
        let sql = AUDIT_HEAD.on(tx);
        let row: Option<(i64, Vec<u8>)> =
            on!(tx, |db| sqlx::query_as(sql).bind(tenant.0).fetch_optional(db).await?);
        if let Some((seq, hash)) = row {
            return Ok((unsigned(seq), digest(tenant, hash)?));
        }
        let sql = AUDIT_HEAD_INSERT.on(tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(0_i64)
            .bind(ORIGIN.to_vec())
            .execute(db)
            .await
            .map(drop)?);
    }
    Err(corrupt("audit_heads", tenant, "the end of the chain is not there"))
}

/// The rows of entries, as a part of a statement on either engine.
macro_rules! push_rows {
    ($query:expr, $part:expr) => {
        $query.push(
            "INSERT INTO audit (tenant_id, seq, at, action, denied, actor, credential, home, \
             object, before, after, reason, request_id, trace_id, prev_hash, hash) ",
        );
        $query.push_values($part, |mut values, sealed| {
            let entry = &sealed.entry;
            values
                .push_bind(entry.tenant.0)
                .push_bind(signed(sealed.seq))
                .push_bind(entry.at.0)
                .push_bind(entry.action.clone())
                .push_bind(i64::from(entry.denied))
                .push_bind(entry.actor.clone())
                .push_bind(entry.by.credential.clone())
                .push_bind(entry.by.home.map(|home| home.to_string()).unwrap_or_default())
                .push_bind(entry.object.clone())
                .push_bind(entry.before.clone())
                .push_bind(entry.after.clone())
                .push_bind(entry.reason.clone())
                .push_bind(entry.by.request_id.clone())
                .push_bind(entry.by.trace_id.clone())
                .push_bind(sealed.prev.to_vec())
                .push_bind(sealed.hash.to_vec());
        });
    };
}

async fn insert(tx: &mut Tx, part: &[Sealed]) -> Result<(), Error> {
    on!(tx, |db| {
        let mut query = QueryBuilder::new("");
        push_rows!(query, part);
        query.build().execute(db).await.map(drop)?;
    });
    Ok(())
}

/// Appends to chains as a part of a text of statements: it is refused as a whole if somebody else
/// was faster with one of them.
pub(in crate::store) fn put_links(query: &mut QueryBuilder<Sqlite>, links: &Links) {
    for part in links.sealed.chunks(ROWS_MAX) {
        push_rows!(query, part);
        query.push(";");
    }
    for (tenant, (seq, hash)) in &links.ends {
        query.push("UPDATE audit_heads SET seq = ").push_bind(signed(*seq));
        query.push(", hash = ").push_bind(hash.to_vec());
        query.push(" WHERE tenant_id = ").push_bind(tenant.0).push(";");
    }
}

impl Tables {
    /// Entries at the places that they have if nobody else appends meanwhile; `None` where a tenant
    /// has no chain yet.
    ///
    /// # Errors
    /// When the store fails.
    pub(in crate::store) async fn links(&self, entries: &[Entry]) -> Result<Option<Links>, Error> {
        let mut links = Links::default();
        for (tenant, entries) in by_tenant(entries.iter().cloned()) {
            let end = match self.ends.get(tenant) {
                Some(end) => Some(end),
                None => self.audit_head(tenant).await?,
            };
            let Some(end) = end else { return Ok(None) };
            links.add(tenant, end, entries);
        }
        Ok(Some(links))
    }

    /// Where a tenant's chain ends; `None` where it has none yet.
    pub(super) async fn audit_head(&self, tenant: TenantId) -> Result<Option<(u64, Hash)>, Error> {
        let read = self.read()?;
        let sql = AUDIT_HEAD_READ.on(&read);
        let row: Option<(i64, Vec<u8>)> =
            on!(read, |db| sqlx::query_as(sql).bind(tenant.0).fetch_optional(db).await?);
        row.map(|(seq, hash)| Ok((unsigned(seq), digest(tenant, hash)?))).transpose()
    }
}

/// A hash as it is kept.
pub(super) fn digest(tenant: TenantId, bytes: Vec<u8>) -> Result<Hash, Error> {
    bytes.try_into().map_err(|_| corrupt("audit", tenant, "a hash has not 32 bytes"))
}
