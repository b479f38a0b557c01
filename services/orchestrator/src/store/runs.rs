//! Runs, their event log, gates and artifacts: one transaction a transition.

use super::builds::{PlanRow, next_version, put_plan};
use super::flaky::put_flaky;
use super::{Tables, corrupt, json};
use crate::core::event::RunEvent;
use crate::core::run::Run;
use crate::core::transition::{Effect, Sharing, TaskKind, Transition};
use meta_domain::failure::FailureType;
use meta_domain::gate::GateStatus;
use meta_domain::id::{GateId, RunId, SpecId, TaskId, TenantId};
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use meta_storage::Error;
use sqlx::{Row, Sqlite, Transaction};
use uuid::Uuid;

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is durable.
    Done,
    /// The run changed in between: load it again.
    Conflict,
    /// The task's lease is somebody else's by now; nothing was stored.
    LeaseLost,
}

/// The task that a commit finishes, with what it left behind.
#[derive(Debug, Clone, Default)]
pub struct Finish {
    /// The task and the epoch of its lease.
    pub task: Option<(TaskId, i64)>,
    /// A task whose lease has to hold, without being finished.
    pub lease: Option<(TaskId, i64)>,
    /// Artifacts to put, by name.
    pub artifacts: Vec<(String, Vec<u8>)>,
}

/// An event as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Dense, from 1.
    pub seq: u64,
    /// Its type word.
    pub event_type: String,
    /// Its step.
    pub step: String,
    /// When.
    pub at: Timestamp,
    /// The event as JSON.
    pub body: String,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListRuns {
    /// Only of this status.
    pub status: Option<RunStatus>,
    /// Only of this spec.
    pub spec: Option<SpecId>,
    /// Only created after this.
    pub created_after: i64,
    /// Only with such a failure.
    pub failure_type: Option<FailureType>,
    /// Only before this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
    /// After skipping so many.
    pub offset: u32,
}

impl Tables {
    /// Stores a new run with its first events and tasks. When the tenant used the request id
    /// before, nothing is stored and the first run's id is returned.
    pub async fn insert_run(
        &self,
        next: &Transition,
        request_id: Option<&str>,
        at: Timestamp,
        ids: impl FnMut() -> Uuid,
    ) -> Result<RunId, Error> {
        let run = &next.run;
        let mut tx = self.store.begin().await?;
        if let Some(request) = request_id {
            let sql = "SELECT id FROM runs WHERE tenant_id = $1 AND request_id = $2";
            let first: Option<Uuid> = sqlx::query_scalar(sql)
                .bind(run.tenant.0)
                .bind(request)
                .fetch_optional(&mut *tx)
                .await?;
            if let Some(first) = first {
                return Ok(first.into());
            }
        }
        let sql = "INSERT INTO runs (tenant_id, id, spec_id, status, seq, body, request_id, created_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(sql)
            .bind(run.tenant.0)
            .bind(run.id.0)
            .bind(run.spec.0)
            .bind(run.status.as_str())
            .bind(i64::try_from(run.seq).unwrap_or(i64::MAX))
            .bind(json("runs", run)?)
            .bind(request_id)
            .bind(run.created_at.0)
            .execute(&mut *tx)
            .await?;
        self.put_changes(&mut tx, next, at, ids).await?;
        tx.commit().await?;
        Ok(run.id)
    }

    /// Stores a transition of a run that stood at `before` events.
    pub async fn commit(
        &self,
        before: u64,
        next: &Transition,
        finish: &Finish,
        at: Timestamp,
        ids: impl FnMut() -> Uuid,
    ) -> Result<Stored, Error> {
        let run = &next.run;
        let mut tx = self.store.begin().await?;
        if let Some((task, epoch)) = finish.task {
            let sql = "DELETE FROM tasks WHERE id = $1 AND epoch = $2 AND state = 'leased'";
            let done = sqlx::query(sql).bind(task.0).bind(epoch).execute(&mut *tx).await?;
            if done.rows_affected() != 1 {
                return Ok(Stored::LeaseLost);
            }
        }
        if let Some((task, epoch)) = finish.lease {
            let sql = "SELECT 1 FROM tasks WHERE id = $1 AND epoch = $2 AND state = 'leased'";
            let held = sqlx::query(sql).bind(task.0).bind(epoch).fetch_optional(&mut *tx).await?;
            if held.is_none() {
                return Ok(Stored::LeaseLost);
            }
        }
        let done = sqlx::query(include_str!("../../sql/run_update.sql"))
            .bind(run.status.as_str())
            .bind(i64::try_from(run.seq).unwrap_or(i64::MAX))
            .bind(json("runs", run)?)
            .bind(run.id.0)
            .bind(i64::try_from(before).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() != 1 {
            return Ok(Stored::Conflict);
        }
        for (name, bytes) in &finish.artifacts {
            let sql = "INSERT INTO artifacts (run_id, name, body) VALUES ($1, $2, $3) \
                       ON CONFLICT (run_id, name) DO UPDATE SET body = excluded.body";
            sqlx::query(sql).bind(run.id.0).bind(name).bind(bytes).execute(&mut *tx).await?;
        }
        self.put_changes(&mut tx, next, at, ids).await?;
        tx.commit().await?;
        Ok(Stored::Done)
    }

    async fn put_changes(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        next: &Transition,
        at: Timestamp,
        mut ids: impl FnMut() -> Uuid,
    ) -> Result<(), Error> {
        let run = &next.run;
        let first = run.seq + 1 - next.events.len() as u64;
        for (seq, event) in (first..).zip(&next.events) {
            put_event(tx, run.id, seq, event, at).await?;
            put_index(tx, run, event, at).await?;
        }
        for effect in &next.effects {
            match effect {
                Effect::DropTasks => {
                    // What a runner holds keeps the workspace until the runner has ended it.
                    for sql in [
                        "DELETE FROM tasks WHERE run_id = $1 AND state <> 'leased'",
                        "UPDATE tasks SET state = 'dropped' WHERE run_id = $1",
                    ] {
                        sqlx::query(sql).bind(run.id.0).execute(&mut **tx).await?;
                    }
                }
                Effect::Enqueue { kind, step, due, sharing, avoid } => {
                    let task = super::NewTask {
                        id: ids().into(),
                        tenant: run.tenant,
                        run: Some(run.id),
                        kind: *kind,
                        step: step.clone(),
                        sharing: *sharing,
                        due: *due,
                        payload: String::new(),
                        avoid: avoid.clone(),
                    };
                    super::tasks::put_task(tx, &task).await?;
                }
                // It belongs to no run: it is told whatever becomes of this one.
                Effect::Tell(told) => {
                    let task = super::NewTask {
                        id: ids().into(),
                        tenant: run.tenant,
                        run: None,
                        kind: TaskKind::Record,
                        step: String::new(),
                        sharing: Sharing::None,
                        due: at,
                        payload: json("tasks", told)?,
                        avoid: String::new(),
                    };
                    super::tasks::put_task(tx, &task).await?;
                }
            }
        }
        Ok(())
    }

    /// A run by id, whoever it belongs to.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        let body: Option<String> = sqlx::query_scalar("SELECT body FROM runs WHERE id = $1")
            .bind(id.0)
            .fetch_optional(self.store.read())
            .await?;
        body.map(|b| serde_json::from_str(&b).map_err(|e| corrupt("runs", id, e))).transpose()
    }

    /// A tenant's runs, newest first, and how many there are without the page.
    pub async fn runs(&self, tenant: TenantId, list: &ListRuns) -> Result<(Vec<Run>, u64), Error> {
        let status = list.status.map(RunStatus::as_str).unwrap_or_default();
        let failure = list.failure_type.map(FailureType::as_str).unwrap_or_default();
        let spec = list.spec.map(|s| s.0);
        let total: i64 = sqlx::query_scalar(include_str!("../../sql/run_count.sql"))
            .bind(tenant.0)
            .bind(status)
            .bind(spec)
            .bind(list.created_after)
            .bind(failure)
            .fetch_one(self.store.read())
            .await?;
        let bodies: Vec<String> = sqlx::query_scalar(include_str!("../../sql/run_list.sql"))
            .bind(tenant.0)
            .bind(status)
            .bind(spec)
            .bind(list.created_after)
            .bind(failure)
            .bind(list.before.map(|b| b.0))
            .bind(list.limit)
            .bind(list.offset)
            .fetch_all(self.store.read())
            .await?;
        let runs = bodies
            .iter()
            .map(|b| serde_json::from_str(b).map_err(|e| corrupt("runs", tenant, e)))
            .collect::<Result<_, _>>()?;
        Ok((runs, u64::try_from(total).unwrap_or(0)))
    }

    /// Events after `after`, at most `limit`.
    pub async fn events(
        &self,
        run: RunId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, Error> {
        let sql = "SELECT seq, type, step, at, body FROM events \
                   WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(run.0)
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(self.store.read())
            .await?;
        rows.iter()
            .map(|row| {
                let seq: i64 = row.try_get("seq")?;
                Ok(StoredEvent {
                    seq: u64::try_from(seq).unwrap_or(0),
                    event_type: row.try_get("type")?,
                    step: row.try_get("step")?,
                    at: Timestamp(row.try_get("at")?),
                    body: row.try_get("body")?,
                })
            })
            .collect()
    }

    /// An artifact of a run.
    pub async fn artifact(&self, run: RunId, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT body FROM artifacts WHERE run_id = $1 AND name = $2";
        Ok(sqlx::query_scalar(sql).bind(run.0).bind(name).fetch_optional(self.store.read()).await?)
    }

    /// The run that a tenant's gate belongs to.
    pub async fn run_of_gate(
        &self,
        tenant: TenantId,
        gate: GateId,
    ) -> Result<Option<RunId>, Error> {
        let sql = "SELECT run_id FROM gates WHERE tenant_id = $1 AND id = $2";
        let id: Option<Uuid> = sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(gate.0)
            .fetch_optional(self.store.read())
            .await?;
        Ok(id.map(Into::into))
    }

    /// Runs of a tenant with gates of a status, oldest gate first, at most 500 gates.
    pub async fn runs_with_gates(
        &self,
        tenant: TenantId,
        status: GateStatus,
    ) -> Result<Vec<(RunId, GateId)>, Error> {
        let sql = "SELECT run_id, id FROM gates WHERE tenant_id = $1 AND status = $2 \
                   ORDER BY created_at LIMIT 500";
        let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(status.as_str())
            .fetch_all(self.store.read())
            .await?;
        Ok(rows.into_iter().map(|(run, gate)| (run.into(), gate.into())).collect())
    }
}

async fn put_event(
    tx: &mut sqlx::SqliteConnection,
    run: RunId,
    seq: u64,
    event: &RunEvent,
    at: Timestamp,
) -> Result<(), Error> {
    let mut body = serde_json::to_value(event).map_err(|e| corrupt("events", run, e))?;
    let word = body.as_object_mut().and_then(|o| o.remove("type"));
    let word = word.as_ref().and_then(|w| w.as_str()).unwrap_or_default();
    let sql =
        "INSERT INTO events (run_id, seq, type, step, at, body) VALUES ($1, $2, $3, $4, $5, $6)";
    sqlx::query(sql)
        .bind(run.0)
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(word)
        .bind(event.step())
        .bind(at.0)
        .bind(body.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// The tables beside the run's own document that an event changes.
async fn put_index(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Run,
    event: &RunEvent,
    at: Timestamp,
) -> Result<(), Error> {
    match event {
        RunEvent::StepSucceeded { step, flaky: true, .. } => put_flaky(tx, run, step, at).await?,
        RunEvent::Classified { signal, .. } => {
            let sql = "INSERT INTO run_failure_types (run_id, failure_type) VALUES ($1, $2) \
                       ON CONFLICT DO NOTHING";
            let word = signal.failure_type.as_str();
            sqlx::query(sql).bind(run.id.0).bind(word).execute(&mut **tx).await?;
        }
        RunEvent::Escalated { gate, .. } | RunEvent::ApprovalRequested { gate } => {
            let sql = "INSERT INTO gates (tenant_id, id, run_id, status, created_at) \
                       VALUES ($1, $2, $3, $4, $5)";
            sqlx::query(sql)
                .bind(run.tenant.0)
                .bind(gate.id.0)
                .bind(run.id.0)
                .bind(gate.status.as_str())
                .bind(gate.created_at.0)
                .execute(&mut **tx)
                .await?;
        }
        RunEvent::ApprovalGranted { .. }
        | RunEvent::ApprovalRejected { .. }
        | RunEvent::GateExpired { .. }
        | RunEvent::GateSuperseded { .. } => {
            if let Some((gate, status)) = event.gate_status() {
                let sql = "UPDATE gates SET status = $1 WHERE id = $2";
                sqlx::query(sql).bind(status.as_str()).bind(gate.0).execute(&mut **tx).await?;
            }
        }
        RunEvent::Replanned { delta, graph, .. } => {
            let version = next_version(tx, run.tenant, run.spec).await?;
            let plan = PlanRow {
                id: delta.new_plan,
                spec: run.spec,
                version,
                graph: graph.clone(),
                created_at: delta.created_at,
            };
            put_plan(tx, run.tenant, &plan, true).await?;
        }
        RunEvent::Failed { .. } | RunEvent::Canceled { .. } => {
            let sql =
                "UPDATE gates SET status = 'expired' WHERE run_id = $1 AND status = 'pending'";
            sqlx::query(sql).bind(run.id.0).execute(&mut **tx).await?;
        }
        _ => {}
    }
    Ok(())
}
