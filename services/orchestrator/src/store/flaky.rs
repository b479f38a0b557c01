//! The register of flaky steps.

use super::{FLAKY_LIST, FLAKY_PUT, FLAKY_STEPS, Tables, corrupt, unsigned};
use crate::core::run::Run;
use meta_domain::failure::FailureType;
use meta_domain::id::{RunId, TenantId};
use meta_domain::secrecy;
use meta_domain::source::Source;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use sqlx::FromRow;
use uuid::Uuid;

/// A failure that went away on the same commit without a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlakyRow {
    /// The step.
    pub step: String,
    /// The source's name for people; empty for inline files.
    pub source: String,
    /// Of the failure.
    pub fingerprint: String,
    /// Its type.
    pub failure_type: FailureType,
    /// Its message, when it was last seen.
    pub message: String,
    /// How often it was seen.
    pub times: u64,
    /// When first.
    pub first_at: Timestamp,
    /// When last.
    pub last_at: Timestamp,
    /// The run that saw it last.
    pub run: RunId,
}

#[derive(FromRow)]
struct Row {
    step: String,
    source: String,
    fingerprint: String,
    failure_type: String,
    message: String,
    times: i64,
    first_at: i64,
    last_at: i64,
    run_id: Uuid,
}

impl Tables {
    /// The tenant's flaky steps, last seen first.
    pub async fn flaky(&self, tenant: TenantId, limit: u32) -> Result<Vec<FlakyRow>, Error> {
        let read = self.read()?;
        let sql = FLAKY_LIST.on(&read);
        let rows: Vec<Row> = on!(read, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        let row = |row: Row| {
            let failure_type: Result<FailureType, String> = row.failure_type.parse();
            Ok(FlakyRow {
                failure_type: failure_type.map_err(|e| corrupt("flaky", tenant, e))?,
                step: row.step,
                source: row.source,
                fingerprint: row.fingerprint,
                message: row.message,
                times: unsigned(row.times),
                first_at: Timestamp(row.first_at),
                last_at: Timestamp(row.last_at),
                run: row.run_id.into(),
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Names of a source's steps that were seen flaky since `since`.
    pub async fn flaky_steps(
        &self,
        tenant: TenantId,
        cache_key: &str,
        since: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let read = self.read()?;
        let sql = FLAKY_STEPS.on(&read);
        Ok(on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(cache_key)
            .bind(since.0)
            .fetch_all(db)
            .await?))
    }
}

/// Registers that a step passed on a plain retry.
pub(super) async fn put_flaky(
    tx: &mut Tx,
    run: &Run,
    step: &str,
    at: Timestamp,
) -> Result<(), Error> {
    let Some(signal) = run.step(step).and_then(|s| s.signal.as_ref()) else { return Ok(()) };
    let source = match &run.source {
        Source::Git { url, .. } => secrecy::shown_address(url),
        Source::Path { path } => path.clone(),
        Source::Inline { .. } => String::new(),
    };
    let sql = FLAKY_PUT.on(tx);
    on!(tx, |db| sqlx::query(sql)
        .bind(run.tenant.0)
        .bind(&run.cache_key)
        .bind(step)
        .bind(&signal.fingerprint)
        .bind(&source)
        .bind(signal.failure_type.as_str())
        .bind(&signal.message)
        .bind(at.0)
        .bind(run.id.0)
        .execute(db)
        .await
        .map(drop)?);
    Ok(())
}
