//! The audit's tables: entries are appended in the transaction of what they tell of.

use super::{
    AUDIT_AFTER, AUDIT_BEFORE, AUDIT_HEAD, AUDIT_HEAD_INSERT, AUDIT_HEAD_READ, AUDIT_HEAD_SET,
    AUDIT_SOURCE, AUDIT_SOURCE_SET, Tables, corrupt, signed, unsigned,
};
use crate::core::audit::{By, Entry, Hash, ORIGIN, Sealed, Verifier};
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use sqlx::{FromRow, QueryBuilder};
use std::collections::BTreeMap;

/// Rows that one statement takes: below the engines' limit of parameters.
const ROWS_MAX: usize = 64;
/// Rows that a verification reads at once.
const VERIFY_ROWS: i64 = 1_000;

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

/// Appends entries to their tenants' chains. Whoever else appends to one of them waits until the
/// transaction ends.
pub(crate) async fn append(
    tx: &mut Tx,
    entries: impl IntoIterator<Item = Entry>,
) -> Result<(), Error> {
    let mut of_tenants: BTreeMap<TenantId, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        of_tenants.entry(entry.tenant).or_default().push(entry);
    }
    for (tenant, entries) in of_tenants {
        let (mut seq, mut prev) = head(tx, tenant).await?;
        let mut sealed = Vec::with_capacity(entries.len());
        for entry in entries {
            seq += 1;
            let hash = entry.hash(seq, &prev);
            sealed.push(Sealed { seq, entry, prev, hash });
            prev = hash;
        }
        for part in sealed.chunks(ROWS_MAX) {
            insert(tx, part).await?;
        }
        let sql = AUDIT_HEAD_SET.on(tx);
        let changed = on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(signed(seq))
            .bind(prev.to_vec())
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

async fn insert(tx: &mut Tx, part: &[Sealed]) -> Result<(), Error> {
    on!(tx, |db| {
        let mut query = QueryBuilder::new(
            "INSERT INTO audit (tenant_id, seq, at, action, denied, actor, credential, home, \
             object, before, after, reason, request_id, trace_id, prev_hash, hash) ",
        );
        query.push_values(part, |mut values, sealed| {
            let entry = &sealed.entry;
            values
                .push_bind(entry.tenant.0)
                .push_bind(signed(sealed.seq))
                .push_bind(entry.at.0)
                .push_bind(&entry.action)
                .push_bind(i64::from(entry.denied))
                .push_bind(&entry.actor)
                .push_bind(&entry.by.credential)
                .push_bind(entry.by.home.map(|home| home.to_string()).unwrap_or_default())
                .push_bind(&entry.object)
                .push_bind(&entry.before)
                .push_bind(&entry.after)
                .push_bind(&entry.reason)
                .push_bind(&entry.by.request_id)
                .push_bind(&entry.by.trace_id)
                .push_bind(sealed.prev.to_vec())
                .push_bind(sealed.hash.to_vec());
        });
        query.build().execute(db).await.map(drop)?;
    });
    Ok(())
}

impl Tables {
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
