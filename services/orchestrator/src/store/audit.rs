//! The audit's tables: entries are appended in the transaction of what they tell of.

use super::{
    AUDIT_AFTER, AUDIT_BEFORE, AUDIT_HEAD, AUDIT_HEAD_INSERT, AUDIT_HEAD_READ, AUDIT_HEAD_SET,
    AUDIT_SOURCE, AUDIT_SOURCE_SET, Tables, corrupt, signed, unsigned,
};
use crate::core::audit::{By, Entry, Hash, ORIGIN, Sealed, Verifier};
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use sqlx::{FromRow, QueryBuilder, Sqlite};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows that one statement takes: below the engines' limit of parameters.
const ROWS_MAX: usize = 64;
/// Rows that a verification reads at once.
const VERIFY_ROWS: i64 = 1_000;

/// Chains whose ends are kept in memory; with more, all of them are read again.
const ENDS_MAX: usize = 1_000;

/// The settings, as a source of what goes on record.
const SETTINGS: &str = "settings";

/// A row as it is kept.
#[derive(FromRow)]
struct AuditRow {
    seq: i64,
    at: i64,
    action: String,
    denied: i64,
    actor: String,
    credential: String,
    home: String,
    object: String,
    before: String,
    after: String,
    reason: String,
    request_id: String,
    trace_id: String,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
}

/// What a verification came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerified {
    /// The number of the last entry.
    pub entries: u64,
    /// Its hash.
    pub head: Hash,
    /// What does not fit.
    pub problems: Vec<String>,
}

/// Entries at their places, and where their tenants' chains end then.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) sealed: Vec<Sealed>,
    pub(super) ends: BTreeMap<TenantId, (u64, Hash)>,
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
pub(super) struct Ends(Arc<Mutex<HashMap<TenantId, (u64, Hash)>>>);

impl Ends {
    fn get(&self, tenant: TenantId) -> Option<(u64, Hash)> {
        self.locked().get(&tenant).copied()
    }

    /// Keeps the ends of what was stored.
    pub(super) fn put(&self, links: &Links) {
        let mut ends = self.locked();
        if ends.len() >= ENDS_MAX {
            ends.clear();
        }
        ends.extend(&links.ends);
    }

    /// Forgets the ends of these tenants' chains.
    pub(super) fn forget(&self, tenants: impl Iterator<Item = TenantId>) {
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
pub(super) fn put_links(query: &mut QueryBuilder<Sqlite>, links: &Links) {
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
    pub(super) async fn links(&self, entries: &[Entry]) -> Result<Option<Links>, Error> {
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

    /// Puts on record what changes nothing else, such as what was refused.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_on_record(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        append(&mut tx, entries).await?;
        self.commit(tx).await
    }

    /// Up to which of its changes the settings are on record.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settings_on_record(&self) -> Result<u64, Error> {
        let read = self.read()?;
        let sql = AUDIT_SOURCE.on(&read);
        let row: Option<(i64,)> =
            on!(read, |db| sqlx::query_as(sql).bind(SETTINGS).fetch_optional(db).await?);
        row.map(|(seq,)| unsigned(seq))
            .ok_or_else(|| corrupt("audit_sources", SETTINGS, "it is not there"))
    }

    /// Puts changes of settings on record, once: those after `from` up to `to`. False when somebody
    /// else has done it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_settings_on_record(
        &self,
        (from, to): (u64, u64),
        entries: Vec<Entry>,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = AUDIT_SOURCE_SET.on(&tx);
        let moved = on!(tx, |db| sqlx::query(sql)
            .bind(SETTINGS)
            .bind(signed(from))
            .bind(signed(to))
            .execute(db)
            .await?
            .rows_affected());
        if moved != 1 {
            tx.rollback().await?;
            return Ok(false);
        }
        append(&mut tx, entries).await?;
        self.commit(tx).await?;
        Ok(true)
    }

    /// A tenant's entries, newest first, from before `before` on; of that action, or of the group
    /// of actions where it ends with a dot.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audit(
        &self,
        tenant: TenantId,
        before: Option<u64>,
        action: &str,
        limit: u32,
    ) -> Result<Vec<Sealed>, Error> {
        let group = if action.ends_with('.') { action } else { "" };
        let read = self.read()?;
        let sql = AUDIT_BEFORE.on(&read);
        let rows: Vec<AuditRow> = on!(read, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(before.map_or(i64::MAX, signed))
            .bind(action)
            .bind(group)
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        rows.into_iter().map(|row| sealed(tenant, row)).collect()
    }

    /// Reads a tenant's whole chain and says what does not fit.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify_audit(
        &self,
        tenant: TenantId,
        known: Option<(u64, Hash)>,
    ) -> Result<AuditVerified, Error> {
        // The end is read first: what is appended meanwhile lies behind it.
        let head = self.audit_head(tenant).await?;
        let last = head.map_or(0, |(seq, _)| seq);
        let mut verifier = Verifier::new(known);
        loop {
            let read = self.read()?;
            let sql = AUDIT_AFTER.on(&read);
            let rows: Vec<AuditRow> = on!(read, |db| sqlx::query_as(sql)
                .bind(tenant.0)
                .bind(signed(verifier.seq()))
                .bind(VERIFY_ROWS)
                .fetch_all(db)
                .await?);
            let all = rows.len() < usize::try_from(VERIFY_ROWS).unwrap_or(usize::MAX);
            let mut beyond = false;
            for row in rows {
                if head.is_some() && unsigned(row.seq) > last {
                    beyond = true;
                    break;
                }
                let seq = unsigned(row.seq);
                match sealed(tenant, row) {
                    Ok(next) => verifier.read(&next),
                    Err(Error::CorruptRow { problem, .. }) => verifier.unreadable(seq, &problem),
                    Err(error) => return Err(error),
                }
            }
            if all || beyond {
                break;
            }
        }
        let entries = verifier.seq();
        let (head, problems) = verifier.end(head);
        Ok(AuditVerified { entries, head, problems })
    }

    async fn audit_head(&self, tenant: TenantId) -> Result<Option<(u64, Hash)>, Error> {
        let read = self.read()?;
        let sql = AUDIT_HEAD_READ.on(&read);
        let row: Option<(i64, Vec<u8>)> =
            on!(read, |db| sqlx::query_as(sql).bind(tenant.0).fetch_optional(db).await?);
        row.map(|(seq, hash)| Ok((unsigned(seq), digest(tenant, hash)?))).transpose()
    }
}

fn digest(tenant: TenantId, bytes: Vec<u8>) -> Result<Hash, Error> {
    bytes.try_into().map_err(|_| corrupt("audit", tenant, "a hash has not 32 bytes"))
}

fn sealed(tenant: TenantId, row: AuditRow) -> Result<Sealed, Error> {
    let home = (!row.home.is_empty()).then(|| row.home.parse()).transpose();
    let home = home.map_err(|e: meta_domain::id::MalformedId| corrupt("audit", tenant, e))?;
    let by =
        By { credential: row.credential, home, request_id: row.request_id, trace_id: row.trace_id };
    let entry = Entry {
        tenant,
        at: Timestamp(row.at),
        action: row.action,
        denied: row.denied != 0,
        actor: row.actor,
        by,
        object: row.object,
        before: row.before,
        after: row.after,
        reason: row.reason,
    };
    let (prev, hash) = (digest(tenant, row.prev_hash)?, digest(tenant, row.hash)?);
    Ok(Sealed { seq: unsigned(row.seq), entry, prev, hash })
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_storage::on_both_engines;
    use meta_storage::testing::Fresh;
    use uuid::Uuid;

    const TENANT: TenantId = TenantId(Uuid::from_u128(7));

    on_both_engines! {
        h27_the_database_refuses_to_change_the_record_and_a_change_by_force_is_found;
        many_writers_make_one_chain;
        changes_of_settings_go_on_record_once;
    }

    fn entry(n: u64) -> Entry {
        let object = format!("run/{n}");
        Entry::new(TENANT, Timestamp(signed(n)), "run.retry", "ann", object).because("why")
    }

    async fn open(fresh: &Fresh) -> Tables {
        Tables::open(fresh.location()).await.unwrap()
    }

    async fn by_force(tables: &Tables, sql: &'static str) -> Result<u64, Error> {
        let mut tx = tables.begin().await?;
        let rows = on!(tx, |db| sqlx::query(sql).execute(db).await?.rows_affected());
        tables.commit(tx).await?;
        Ok(rows)
    }

    /// What an administrator of the database can do, whom nothing stops.
    async fn without_triggers(tables: &Tables) {
        for (trigger, table) in [
            ("audit_is_not_changed", "audit"),
            ("audit_is_not_deleted", "audit"),
            ("audit_is_not_emptied", "audit"),
            ("audit_heads_only_grow", "audit_heads"),
            ("audit_heads_are_not_deleted", "audit_heads"),
        ] {
            let plain = format!("DROP TRIGGER IF EXISTS {trigger}");
            let named = format!("DROP TRIGGER IF EXISTS {trigger} ON {table}");
            let mut tx = tables.begin().await.unwrap();
            let sql = match &tx {
                Tx::Sqlite(_) => plain,
                Tx::Postgres(_) => named,
            };
            let sql = sqlx::AssertSqlSafe(sql);
            on!(tx, |db| sqlx::query(sql).execute(db).await.map(drop).unwrap());
            tables.commit(tx).await.unwrap();
        }
    }

    async fn h27_the_database_refuses_to_change_the_record_and_a_change_by_force_is_found(
        fresh: Fresh,
    ) {
        let tables = open(&fresh).await;
        tables.put_on_record((1..=9).map(entry).collect()).await.unwrap();
        let whole = tables.verify_audit(TENANT, None).await.unwrap();
        assert_eq!((whole.entries, whole.problems.len()), (9, 0), "{whole:?}");
        for sql in [
            "UPDATE audit SET actor = 'eve' WHERE seq = 3",
            "UPDATE audit SET seq = 20 WHERE seq = 9",
            "DELETE FROM audit WHERE seq = 9",
            "DELETE FROM audit",
            "UPDATE audit_heads SET seq = 8",
            "DELETE FROM audit_heads",
        ] {
            assert!(by_force(&tables, sql).await.is_err(), "{sql}");
        }
        assert_eq!(tables.verify_audit(TENANT, None).await.unwrap(), whole);

        without_triggers(&tables).await;
        assert_eq!(
            by_force(&tables, "UPDATE audit SET actor = 'eve' WHERE seq = 3").await.unwrap(),
            1
        );
        let edited = tables.verify_audit(TENANT, None).await.unwrap();
        assert!(edited.problems.iter().any(|p| p.contains("entry 3")), "{edited:?}");
        assert_eq!(by_force(&tables, "DELETE FROM audit WHERE seq = 9").await.unwrap(), 1);
        let cut = tables.verify_audit(TENANT, None).await.unwrap();
        assert!(cut.problems.iter().any(|p| p.contains("9 to 9 are missing")), "{cut:?}");
        let noted = tables.verify_audit(TENANT, Some((9, whole.head))).await.unwrap();
        assert!(noted.problems.len() > cut.problems.len(), "{noted:?}");
    }

    async fn many_writers_make_one_chain(fresh: Fresh) {
        let tables = open(&fresh).await;
        let writers = (0..8).map(|n| {
            let tables = tables.clone();
            tokio::spawn(async move {
                for i in 0..5 {
                    tables.put_on_record(vec![entry(n * 5 + i)]).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let whole = tables.verify_audit(TENANT, None).await.unwrap();
        assert_eq!((whole.entries, whole.problems.len()), (40, 0), "{whole:?}");
    }

    async fn changes_of_settings_go_on_record_once(fresh: Fresh) {
        let tables = open(&fresh).await;
        assert_eq!(tables.settings_on_record().await.unwrap(), 0);
        assert!(tables.put_settings_on_record((0, 4), vec![entry(1), entry(2)]).await.unwrap());
        assert!(!tables.put_settings_on_record((0, 4), vec![entry(1), entry(2)]).await.unwrap());
        assert_eq!(tables.settings_on_record().await.unwrap(), 4);
        assert_eq!(tables.verify_audit(TENANT, None).await.unwrap().entries, 2);
    }
}
