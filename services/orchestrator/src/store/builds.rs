//! Specs and plans.

use super::{
    PLAN_GET, PLAN_INSERT, PLAN_LATEST, PLAN_NEXT_VERSION, SPEC_GET, SPEC_INSERT, SPECS_BEFORE,
    Tables, append, corrupt, json,
};
use crate::core::audit::Entry;
use meta_domain::id::{PlanId, SpecId, TenantId};
use meta_domain::plan::{PlanGraph, PlannedStep};
use meta_domain::source::Source;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use serde::{Deserialize, Serialize};
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
    /// Stores a spec and puts that on record.
    pub async fn insert_spec(
        &self,
        tenant: TenantId,
        spec: &SpecRow,
        entry: Entry,
    ) -> Result<(), Error> {
        let body = json("specs", spec)?;
        let mut tx = self.begin().await?;
        let sql = SPEC_INSERT.on(&tx);
        on!(tx, |db| sqlx::query(sql)
            .bind(tenant.0)
            .bind(spec.id.0)
            .bind(body)
            .bind(spec.created_at.0)
            .execute(db)
            .await
            .map(drop)?);
        append(&mut tx, [entry]).await?;
        self.commit(tx).await
    }

    /// A tenant's spec.
    pub async fn spec(&self, tenant: TenantId, id: SpecId) -> Result<Option<SpecRow>, Error> {
        let read = self.read()?;
        let sql = SPEC_GET.on(&read);
        let row: Option<String> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(db)
            .await?);
        row.map(|r| body("specs", &r)).transpose()
    }

    /// A tenant's specs, newest first, before `before`.
    pub async fn specs(
        &self,
        tenant: TenantId,
        before: Option<SpecId>,
        limit: u32,
    ) -> Result<Vec<SpecRow>, Error> {
        let read = self.read()?;
        let sql = SPECS_BEFORE.on(&read);
        let rows: Vec<String> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(before.map(|b| b.0))
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        rows.iter().map(|r| body("specs", r)).collect()
    }

    /// Stores a plan as the next version of its spec and returns it with that version. Of two at
    /// once, one is told to try again. What `entry` makes of it is put on record.
    pub async fn insert_plan(
        &self,
        tenant: TenantId,
        mut plan: PlanRow,
        entry: impl FnOnce(&PlanRow) -> Entry,
    ) -> Result<PlanRow, Error> {
        let mut tx = self.begin().await?;
        plan.version = next_version(&mut tx, tenant, plan.spec).await?;
        put_plan(&mut tx, tenant, &plan, false).await?;
        append(&mut tx, [entry(&plan)]).await?;
        self.commit(tx).await?;
        Ok(plan)
    }

    /// A tenant's plan.
    pub async fn plan(&self, tenant: TenantId, id: PlanId) -> Result<Option<PlanRow>, Error> {
        let read = self.read()?;
        let sql = PLAN_GET.on(&read);
        let row: Option<String> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(db)
            .await?);
        row.map(|r| body("plans", &r)).transpose()
    }

    /// The newest plan of a spec that was asked for; re-plans belong to their runs.
    pub async fn latest_plan(
        &self,
        tenant: TenantId,
        spec: SpecId,
    ) -> Result<Option<PlanRow>, Error> {
        let read = self.read()?;
        let sql = PLAN_LATEST.on(&read);
        let row: Option<String> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(spec.0)
            .fetch_optional(db)
            .await?);
        row.map(|r| body("plans", &r)).transpose()
    }
}

pub(super) async fn next_version(
    tx: &mut Tx,
    tenant: TenantId,
    spec: SpecId,
) -> Result<u32, Error> {
    let sql = PLAN_NEXT_VERSION.on(tx);
    let version: i64 =
        on!(tx, |db| sqlx::query_scalar(sql).bind(tenant.0).bind(spec.0).fetch_one(db).await?);
    u32::try_from(version).map_err(|e| corrupt("plans", spec, e))
}

pub(super) async fn put_plan(
    tx: &mut Tx,
    tenant: TenantId,
    plan: &PlanRow,
    replanned: bool,
) -> Result<(), Error> {
    let (sql, body) = (PLAN_INSERT.on(tx), json("plans", plan)?);
    on!(tx, |db| sqlx::query(sql)
        .bind(tenant.0)
        .bind(plan.id.0)
        .bind(plan.spec.0)
        .bind(i64::from(plan.version))
        .bind(i64::from(replanned))
        .bind(body)
        .bind(plan.created_at.0)
        .execute(db)
        .await
        .map(drop)?);
    Ok(())
}

fn body<T: serde::de::DeserializeOwned>(table: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| corrupt(table, Uuid::nil(), e))
}
