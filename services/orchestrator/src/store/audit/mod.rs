//! The audit's tables: entries are appended in the transaction of what they tell of.

mod chain;

pub(crate) use chain::append;
pub(super) use chain::{Ends, Links, put_links};

use super::{
    AUDIT_AFTER, AUDIT_BEFORE, AUDIT_SOURCE, AUDIT_SOURCE_SET, Tables, corrupt, signed, unsigned,
};
use crate::core::audit::{By, Entry, Hash, Sealed, Verifier};
use chain::digest;
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, on};
use sqlx::FromRow;

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
mod tests;
