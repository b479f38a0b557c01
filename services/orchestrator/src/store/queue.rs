//! The queue as it is stored.

use super::{
    INSPECTION_DELETE, INSPECTION_FINISH, INSPECTION_GET, QUEUE_CANDIDATES, QUEUE_HELD,
    QUEUE_LEASED_RUNS, QUEUE_OVERDUE, QUEUE_OVERDUE_LOOSE, TASK_DELETE, TASK_GET, TASK_HELD,
    TASK_LEASE, TASK_RELEASE, TASKS_OF_OWNER, TASKS_RENEW, Tables, Writes, corrupt,
};
use crate::core::queue::Task;
use crate::core::ready::Candidate;
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use meta_storage::{Error, Side, Tx, on};
use sqlx::{FromRow, QueryBuilder};
use std::collections::HashMap;
use uuid::Uuid;

const CLOCK: &str = include_str!("../../sql/clock.postgres.sql");

/// The columns of a task.
pub(super) const TASK_COLUMNS: &str = "id, tenant_id, run_id, kind, step, sharing, due_at, state, \
    owner, epoch, lease_until, tries, priority, labels, avoid, payload";

/// A task as stored.
#[derive(Debug, FromRow)]
pub(crate) struct TaskRow {
    id: Uuid,
    tenant_id: Uuid,
    run_id: Option<Uuid>,
    kind: String,
    step: String,
    sharing: String,
    due_at: i64,
    state: String,
    owner: String,
    epoch: i64,
    lease_until: i64,
    tries: i64,
    priority: i64,
    labels: String,
    avoid: String,
    payload: String,
}

impl TryFrom<TaskRow> for Task {
    type Error = Error;

    fn try_from(row: TaskRow) -> Result<Self, Error> {
        let bad = |e: String| corrupt("tasks", row.id, e);
        Ok(Self {
            id: row.id.into(),
            tenant: row.tenant_id.into(),
            run: row.run_id.map(Into::into),
            kind: row.kind.parse().map_err(bad)?,
            step: row.step,
            sharing: row.sharing.parse().map_err(bad)?,
            due: Timestamp(row.due_at),
            state: row.state.parse().map_err(bad)?,
            owner: row.owner,
            epoch: row.epoch,
            lease_until: Timestamp(row.lease_until),
            tries: row.tries,
            priority: i32::try_from(row.priority).unwrap_or_default(),
            labels: row.labels,
            avoid: row.avoid,
            payload: row.payload,
        })
    }
}

#[derive(FromRow)]
struct CandidateRow {
    id: Uuid,
    run_id: Option<Uuid>,
    tenant_id: Uuid,
    labels: String,
    avoid: String,
    tries: i64,
    priority: i64,
    due_at: i64,
}

impl Tables {
    /// Milliseconds since 1970 by the database's clock; SQLite's is this machine's.
    pub async fn clock(&self) -> Result<Timestamp, Error> {
        match self.read()? {
            Side::Sqlite(_) => Ok(meta_runtime::clock::now()),
            Side::Postgres(pool) => Ok(Timestamp(sqlx::query_scalar(CLOCK).fetch_one(pool).await?)),
        }
    }

    /// Tasks that nobody holds, whether they are due or not: of each tenant and each set of labels
    /// at most `limit`, in the order in which they go.
    pub async fn candidates(
        &self,
        internal: bool,
        only: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<Candidate>, Error> {
        let read = self.read()?;
        let sql = QUEUE_CANDIDATES.on(&read);
        let rows: Vec<CandidateRow> = on!(read, |db| sqlx::query_as(sql)
            .bind(i64::from(internal))
            .bind(only.map(|r| r.0))
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        let candidate = |row: CandidateRow| Candidate {
            task: row.id.into(),
            run: row.run_id.map(Into::into),
            tenant: row.tenant_id.into(),
            internal,
            labels: row.labels,
            avoid: row.avoid,
            tries: row.tries,
            priority: i32::try_from(row.priority).unwrap_or_default(),
            due: Timestamp(row.due_at),
        };
        Ok(rows.into_iter().map(candidate).collect())
    }

    /// How many tasks of each tenant runners hold.
    pub async fn held(&self) -> Result<HashMap<TenantId, u32>, Error> {
        let read = self.read()?;
        let sql = QUEUE_HELD.on(&read);
        let rows: Vec<(Uuid, i64)> = on!(read, |db| sqlx::query_as(sql).fetch_all(db).await?);
        let held = |(id, n): (Uuid, i64)| (id.into(), u32::try_from(n).unwrap_or(u32::MAX));
        Ok(rows.into_iter().map(held).collect())
    }

    /// Runs with a lease that is over, at most 200.
    pub async fn overdue(&self, now: Timestamp) -> Result<Vec<RunId>, Error> {
        let read = self.read()?;
        let sql = QUEUE_OVERDUE.on(&read);
        let ids: Vec<Uuid> =
            on!(read, |db| sqlx::query_scalar(sql).bind(now.0).fetch_all(db).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// Gives back what belongs to no run and is leased for too long; answers the kinds of the tasks.
    pub async fn release_overdue_loose(&self, now: Timestamp) -> Result<Vec<String>, Error> {
        let mut tx = self.begin().await?;
        let sql = QUEUE_OVERDUE_LOOSE.on(&tx);
        let kinds = on!(tx, |db| sqlx::query_scalar(sql).bind(now.0).fetch_all(db).await?);
        self.commit(tx).await?;
        Ok(kinds)
    }

    /// Runs of which somebody holds a task (all, or that one).
    pub async fn leased_runs(&self, only: Option<RunId>) -> Result<Vec<RunId>, Error> {
        let read = self.read()?;
        let sql = QUEUE_LEASED_RUNS.on(&read);
        let ids: Vec<Uuid> =
            on!(read, |db| sqlx::query_scalar(sql).bind(only.map(|r| r.0)).fetch_all(db).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// A task by id.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        let read = self.read()?;
        let sql = TASK_GET.on(&read);
        let row: Option<TaskRow> =
            on!(read, |db| sqlx::query_as(sql).bind(id.0).fetch_optional(db).await?);
        row.map(TryInto::try_into).transpose()
    }

    /// Tasks that somebody holds.
    pub async fn held_by(&self, owner: &str) -> Result<Vec<Task>, Error> {
        let read = self.read()?;
        let sql = TASKS_OF_OWNER.on(&read);
        let rows: Vec<TaskRow> =
            on!(read, |db| sqlx::query_as(sql).bind(owner).fetch_all(db).await?);
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Renews leases, and answers which of them do not hold any longer.
    pub async fn renew(
        &self,
        leases: &[(TaskId, i64)],
        until: Timestamp,
    ) -> Result<Vec<(TaskId, i64)>, Error> {
        let mut lost = Vec::new();
        let mut tx = self.begin().await?;
        for (task, epoch) in leases {
            let sql = TASKS_RENEW.on(&tx);
            let renewed = on!(tx, |db| sqlx::query(sql)
                .bind(until.0)
                .bind(task.0)
                .bind(epoch)
                .execute(db)
                .await?
                .rows_affected());
            if renewed == 0 && !is_held(&mut tx, *task, *epoch).await? {
                lost.push((*task, *epoch));
            }
        }
        self.commit(tx).await?;
        Ok(lost)
    }

    /// Puts tasks that belong to no run.
    pub async fn insert_loose(&self, task: &Task) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let writes = Writes { tasks: vec![task.clone()], ..Writes::default() };
        self.write(&mut tx, &writes).await?;
        self.commit(tx).await
    }

    /// Leases a task that belongs to no run; nothing when somebody else was first.
    pub async fn lease_loose(
        &self,
        id: TaskId,
        owner: &str,
        until: Timestamp,
    ) -> Result<Option<Task>, Error> {
        let mut tx = self.begin().await?;
        let sql = TASK_LEASE.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(owner)
            .bind(until.0)
            .bind(id.0)
            .execute(db)
            .await?
            .rows_affected());
        if rows == 0 {
            tx.rollback().await?;
            return Ok(None);
        }
        let sql = TASK_GET.on(&tx);
        let row: TaskRow = on!(tx, |db| sqlx::query_as(sql).bind(id.0).fetch_one(db).await?);
        self.commit(tx).await?;
        row.try_into().map(Some)
    }

    /// Gives a task that belongs to no run back, to be leased again from `due` on.
    pub async fn release_loose(
        &self,
        id: TaskId,
        epoch: i64,
        due: Timestamp,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = TASK_RELEASE.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(due.0)
            .bind(id.0)
            .bind(epoch)
            .execute(db)
            .await?
            .rows_affected());
        self.commit(tx).await?;
        Ok(rows == 1)
    }

    /// Forgets a task that belongs to no run, unless somebody else holds it by now.
    pub async fn forget_loose(&self, id: TaskId, epoch: i64) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let sql = TASK_DELETE.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(id.0).bind(epoch).execute(db).await.map(drop)?);
        self.commit(tx).await
    }

    /// Keeps the result of an inspection, for the caller that waits.
    pub async fn finish_inspection(
        &self,
        id: TaskId,
        epoch: i64,
        result: &str,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = INSPECTION_FINISH.on(&tx);
        let rows = on!(tx, |db| sqlx::query(sql)
            .bind(result)
            .bind(id.0)
            .bind(epoch)
            .execute(db)
            .await?
            .rows_affected());
        self.commit(tx).await?;
        Ok(rows == 1)
    }

    /// The result of an inspection, once it is there.
    pub async fn inspection(&self, id: TaskId) -> Result<Option<String>, Error> {
        let read = self.read()?;
        let sql = INSPECTION_GET.on(&read);
        Ok(on!(read, |db| sqlx::query_scalar(sql).bind(id.0).fetch_optional(db).await?))
    }

    /// Forgets an inspection whose caller waits no longer.
    pub async fn delete_inspection(&self, id: TaskId) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let sql = INSPECTION_DELETE.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(id.0).execute(db).await.map(drop)?);
        self.commit(tx).await
    }
}

async fn is_held(tx: &mut Tx, task: TaskId, epoch: i64) -> Result<bool, Error> {
    let sql = TASK_HELD.on(tx);
    Ok(on!(tx, |db| sqlx::query(sql).bind(task.0).bind(epoch).fetch_optional(db).await?.is_some()))
}

/// The tasks of a run.
pub(crate) async fn tasks_of(tx: &mut Tx, run: RunId) -> Result<Vec<TaskRow>, Error> {
    Ok(on!(tx, |db| {
        let mut query =
            QueryBuilder::new(format!("SELECT {TASK_COLUMNS} FROM tasks WHERE run_id = "));
        query.push_bind(run.0).push(" ORDER BY id");
        query.build_query_as().fetch_all(db).await?
    }))
}
