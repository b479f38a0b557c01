//! What is remembered of fixers, by tenant, on either engine; the only SQL of the service.

use crate::core::learn::{FixOutcome, Healed, Memory, Record};
use crate::core::patch::sha256;
use meta_domain::failure::FailureType;
use meta_domain::id::TenantId;
use meta_domain::signal::Signal;
use meta_domain::time::Timestamp;
use meta_storage::{Engine, Error, Location, Migrations, Tx, on, statements};

statements! {
    OUTCOME_INSERT = "outcome_insert";
    OUTCOMES_LIKE = "outcomes_like";
    OUTCOMES_FORGET = "outcomes_forget";
    PATCH_PUT = "patch_put";
    PATCH_DROP = "patch_drop";
    PATCHES_OF = "patches_of";
    PATCHES_FORGET = "patches_forget";
}

/// Outcomes that one decision looks at.
const RECORDS_MAX: i64 = 500;
/// Patches of one failure that one decision looks at.
const HEALED_MAX: i64 = 8;
/// How long anything is remembered, in milliseconds.
const KEPT_MS: i64 = 180 * 24 * 3_600_000;
/// Largest patch that is kept for replay, in bytes.
const PATCH_BYTES_MAX: usize = 256 * 1024;

/// One thing that came of a fixer.
#[derive(Debug, Clone)]
pub(crate) struct Said<'a> {
    /// Unique for what is said.
    pub(crate) key: &'a str,
    pub(crate) signal: &'a Signal,
    pub(crate) fixer: &'a str,
    pub(crate) outcome: FixOutcome,
    /// The patch; empty where there was none.
    pub(crate) patch: &'a str,
    pub(crate) duration_ms: u64,
    pub(crate) tokens: u64,
    pub(crate) at: Timestamp,
}

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    engine: Engine,
}

type OutcomeRow = (String, String, String, String, String, i64);
type PatchRow = (String, String, String, i64);

impl Store {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(location: &Location) -> Result<Self, Error> {
        let migrations = Migrations {
            sqlite: &sqlx::migrate!("migrations/sqlite"),
            postgres: &sqlx::migrate!("migrations/postgres"),
        };
        Ok(Self { engine: Engine::open(location, migrations).await? })
    }

    /// Remembers an outcome, and the patch where it healed; forgets the patch where it did not
    /// hold, and what is too old. Returns whether it was news.
    pub(crate) async fn record(&self, tenant: TenantId, said: &Said<'_>) -> Result<bool, Error> {
        let tenant = tenant.to_string();
        let hash = if said.patch.is_empty() { String::new() } else { sha256(said.patch) };
        let mut tx = self.engine.begin().await?;
        let sql = OUTCOME_INSERT.on(&tx);
        let news = on!(tx, |db| sqlx::query(sql)
            .bind(&tenant)
            .bind(said.key)
            .bind(&said.signal.fingerprint)
            .bind(said.signal.failure_type.as_str())
            .bind(&said.signal.tool)
            .bind(said.fixer)
            .bind(said.outcome.as_str())
            .bind(&hash)
            .bind(number(said.duration_ms))
            .bind(number(said.tokens))
            .bind(said.at.0)
            .execute(db)
            .await?
            .rows_affected());
        if news == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        self.keep_patch(&mut tx, &tenant, said, &hash).await?;
        let before = said.at.0.saturating_sub(KEPT_MS);
        for statement in [OUTCOMES_FORGET, PATCHES_FORGET] {
            let sql = statement.on(&tx);
            on!(tx, |db| sqlx::query(sql)
                .bind(&tenant)
                .bind(before)
                .execute(db)
                .await
                .map(drop)?);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn keep_patch(
        &self,
        tx: &mut Tx,
        tenant: &str,
        said: &Said<'_>,
        hash: &str,
    ) -> Result<(), Error> {
        let fingerprint = &said.signal.fingerprint;
        let approved = match said.outcome {
            FixOutcome::Accepted => 0_i64,
            FixOutcome::Approved => 1,
            FixOutcome::Rejected | FixOutcome::Reverted | FixOutcome::VerifyFail => {
                let sql = PATCH_DROP.on(tx);
                on!(tx, |db| sqlx::query(sql)
                    .bind(tenant)
                    .bind(fingerprint)
                    .bind(hash)
                    .execute(db)
                    .await
                    .map(drop)?);
                return Ok(());
            }
            FixOutcome::GuardReject | FixOutcome::NoChange | FixOutcome::FixerError => {
                return Ok(());
            }
        };
        // A replay keeps the name of the fixer that made the patch first.
        let replayed = said.fixer.starts_with("replay");
        if said.patch.is_empty() || said.patch.len() > PATCH_BYTES_MAX || replayed {
            return Ok(());
        }
        let sql = PATCH_PUT.on(tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(tenant)
            .bind(fingerprint)
            .bind(hash)
            .bind(said.fixer)
            .bind(said.patch)
            .bind(approved)
            .bind(said.at.0)
            .execute(db)
            .await
            .map(drop)?);
        Ok(())
    }

    /// What is remembered of failures like this one.
    pub(crate) async fn recall(
        &self,
        tenant: TenantId,
        signal: &Signal,
        now: Timestamp,
    ) -> Result<Memory, Error> {
        let tenant = tenant.to_string();
        let read = self.engine.read();
        let sql = OUTCOMES_LIKE.on(&read);
        let rows: Vec<OutcomeRow> = on!(read, |db| sqlx::query_as(sql)
            .bind(&tenant)
            .bind(&signal.fingerprint)
            .bind(signal.failure_type.as_str())
            .bind(&signal.tool)
            .bind(RECORDS_MAX)
            .fetch_all(db)
            .await?);
        let sql = PATCHES_OF.on(&read);
        let patches: Vec<PatchRow> = on!(read, |db| sqlx::query_as(sql)
            .bind(&tenant)
            .bind(&signal.fingerprint)
            .bind(HEALED_MAX)
            .fetch_all(db)
            .await?);
        let healed = patches.into_iter().map(|(fixer, patch, sha256, approved)| Healed {
            fixer,
            patch,
            sha256,
            approved: approved != 0,
        });
        Ok(Memory {
            records: rows.into_iter().filter_map(record).collect(),
            healed: healed.collect(),
            now,
        })
    }
}

/// A row; one of a later version's words says nothing to this one.
fn record(row: OutcomeRow) -> Option<Record> {
    let (fingerprint, failure_type, tool, fixer, outcome, at) = row;
    Some(Record {
        fingerprint,
        failure_type: failure_type.parse::<FailureType>().ok()?,
        tool,
        fixer,
        outcome: outcome.parse().ok()?,
        at: Timestamp(at),
    })
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
