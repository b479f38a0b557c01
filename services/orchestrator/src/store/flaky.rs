//! The register of flaky steps.

use super::Tables;
use crate::core::run::Run;
use meta_domain::failure::FailureType;
use meta_domain::id::{RunId, TenantId};
use meta_domain::secrecy;
use meta_domain::source::Source;
use meta_domain::time::Timestamp;
use meta_storage::Error;
use sqlx::Row;
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

impl Tables {
    /// The tenant's flaky steps, last seen first.
    pub async fn flaky(&self, tenant: TenantId, limit: u32) -> Result<Vec<FlakyRow>, Error> {
        let sql = "SELECT step, source, fingerprint, failure_type, message, times, first_at, \
                   last_at, run_id FROM flaky WHERE tenant_id = $1 \
                   ORDER BY last_at DESC, step, fingerprint LIMIT $2";
        let rows = sqlx::query(sql).bind(tenant.0).bind(limit).fetch_all(self.store.read()).await?;
        rows.iter()
            .map(|row| {
                let word: String = row.try_get("failure_type")?;
                let times: i64 = row.try_get("times")?;
                let run: Uuid = row.try_get("run_id")?;
                Ok(FlakyRow {
                    step: row.try_get("step")?,
                    source: row.try_get("source")?,
                    fingerprint: row.try_get("fingerprint")?,
                    failure_type: word
                        .parse()
                        .map_err(|e: String| super::corrupt("flaky", tenant, e))?,
                    message: row.try_get("message")?,
                    times: u64::try_from(times).unwrap_or(0),
                    first_at: Timestamp(row.try_get("first_at")?),
                    last_at: Timestamp(row.try_get("last_at")?),
                    run: run.into(),
                })
            })
            .collect()
    }

    /// Names of a source's steps that were seen flaky since `since`.
    pub async fn flaky_steps(
        &self,
        tenant: TenantId,
        cache_key: &str,
        since: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let sql = "SELECT DISTINCT step FROM flaky \
                   WHERE tenant_id = $1 AND cache_key = $2 AND last_at >= $3 LIMIT 500";
        Ok(sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(cache_key)
            .bind(since.0)
            .fetch_all(self.store.read())
            .await?)
    }
}

/// Registers that a step passed on a plain retry.
pub(super) async fn put_flaky(
    tx: &mut sqlx::SqliteConnection,
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
    sqlx::query(include_str!("../../sql/flaky_put.sql"))
        .bind(run.tenant.0)
        .bind(&run.cache_key)
        .bind(step)
        .bind(&signal.fingerprint)
        .bind(source)
        .bind(signal.failure_type.as_str())
        .bind(&signal.message)
        .bind(at.0)
        .bind(run.id.0)
        .execute(tx)
        .await?;
    Ok(())
}
