//! Specs and plans.

use super::{Tables, corrupt, json};
use meta_domain::id::{PlanId, SpecId, TenantId};
use meta_domain::plan::{PlanGraph, PlannedStep};
use meta_domain::source::Source;
use meta_domain::time::Timestamp;
use meta_storage::Error;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

/// What to build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpecRow {
    /// Its id.
    pub id: SpecId,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// `guided` or `freeform`, as the number on the wire.
    pub mode: i32,
    /// Where the files come from.
    pub source: Option<Source>,
    /// Explicit steps.
    pub steps: Vec<PlannedStep>,
    /// The guided form, as JSON text.
    pub guided_input_json: String,
    /// Attachments, as JSON text.
    pub attachments_json: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// One version of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// Its id.
    pub id: PlanId,
    /// Of which spec.
    pub spec: SpecId,
    /// From 1.
    pub version: u32,
    /// Its content.
    pub graph: PlanGraph,
    /// When.
    pub created_at: Timestamp,
}

impl Tables {
    /// Stores a spec.
    pub async fn insert_spec(&self, tenant: TenantId, spec: &SpecRow) -> Result<(), Error> {
        let body = json("specs", spec)?;
        let mut tx = self.store.begin().await?;
        sqlx::query("INSERT INTO specs (tenant_id, id, body, created_at) VALUES ($1, $2, $3, $4)")
            .bind(tenant.0)
            .bind(spec.id.0)
            .bind(body)
            .bind(spec.created_at.0)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// A tenant's spec.
    pub async fn spec(&self, tenant: TenantId, id: SpecId) -> Result<Option<SpecRow>, Error> {
        let row = sqlx::query("SELECT body FROM specs WHERE tenant_id = $1 AND id = $2")
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(self.store.read())
            .await?;
        row.map(|r| body("specs", &r)).transpose()
    }

    /// A tenant's specs, newest first, before `before`.
    pub async fn specs(
        &self,
        tenant: TenantId,
        before: Option<SpecId>,
        limit: u32,
    ) -> Result<Vec<SpecRow>, Error> {
        let sql = "SELECT body FROM specs WHERE tenant_id = $1 AND ($2 IS NULL OR id < $2) \
                   ORDER BY id DESC LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(tenant.0)
            .bind(before.map(|b| b.0))
            .bind(limit)
            .fetch_all(self.store.read())
            .await?;
        rows.iter().map(|r| body("specs", r)).collect()
    }

    /// Stores a plan as the next version of its spec and returns it with that version.
    pub async fn insert_plan(&self, tenant: TenantId, mut plan: PlanRow) -> Result<PlanRow, Error> {
        let mut tx = self.store.begin().await?;
        plan.version = next_version(&mut tx, tenant, plan.spec).await?;
        put_plan(&mut tx, tenant, &plan, false).await?;
        tx.commit().await?;
        Ok(plan)
    }

    /// A tenant's plan.
    pub async fn plan(&self, tenant: TenantId, id: PlanId) -> Result<Option<PlanRow>, Error> {
        let row = sqlx::query("SELECT body FROM plans WHERE tenant_id = $1 AND id = $2")
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(self.store.read())
            .await?;
        row.map(|r| body("plans", &r)).transpose()
    }

    /// The newest plan of a spec that was asked for; re-plans belong to their runs.
    pub async fn latest_plan(
        &self,
        tenant: TenantId,
        spec: SpecId,
    ) -> Result<Option<PlanRow>, Error> {
        let sql = "SELECT body FROM plans WHERE tenant_id = $1 AND spec_id = $2 \
                   AND replanned = 0 ORDER BY version DESC LIMIT 1";
        let row =
            sqlx::query(sql).bind(tenant.0).bind(spec.0).fetch_optional(self.store.read()).await?;
        row.map(|r| body("plans", &r)).transpose()
    }
}

pub(super) async fn next_version(
    tx: &mut sqlx::SqliteConnection,
    tenant: TenantId,
    spec: SpecId,
) -> Result<u32, Error> {
    let sql =
        "SELECT coalesce(max(version), 0) + 1 FROM plans WHERE tenant_id = $1 AND spec_id = $2";
    let version: i64 = sqlx::query_scalar(sql).bind(tenant.0).bind(spec.0).fetch_one(tx).await?;
    u32::try_from(version).map_err(|e| corrupt("plans", spec, e))
}

pub(super) async fn put_plan(
    tx: &mut sqlx::SqliteConnection,
    tenant: TenantId,
    plan: &PlanRow,
    replanned: bool,
) -> Result<(), Error> {
    let sql = "INSERT INTO plans (tenant_id, id, spec_id, version, replanned, body, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(sql)
        .bind(tenant.0)
        .bind(plan.id.0)
        .bind(plan.spec.0)
        .bind(plan.version)
        .bind(replanned)
        .bind(json("plans", plan)?)
        .bind(plan.created_at.0)
        .execute(tx)
        .await?;
    Ok(())
}

fn body<T: serde::de::DeserializeOwned>(table: &'static str, row: &SqliteRow) -> Result<T, Error> {
    let text: String = row.try_get("body")?;
    serde_json::from_str(&text).map_err(|e| corrupt(table, Uuid::nil(), e))
}
