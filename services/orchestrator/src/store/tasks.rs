//! The queue: leases with fencing epochs, by this store's clock.

use super::{Tables, corrupt};
use crate::core::transition::{Sharing, TaskKind};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use meta_storage::Error;
use sqlx::Row;
use uuid::Uuid;

/// A task to put into the queue.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// Whom it belongs to.
    pub tenant: TenantId,
    /// Its run; an inspection has none.
    pub run: Option<RunId>,
    /// What it does.
    pub kind: TaskKind,
    /// For which step.
    pub step: String,
    /// How it uses the workspace.
    pub sharing: Sharing,
    /// Not before.
    pub due: Timestamp,
    /// What an inspection reads or a record says, as JSON.
    pub payload: String,
    /// Rather not on this runner; empty means on any.
    pub avoid: String,
}

/// A leased task.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Its id.
    pub id: TaskId,
    /// Whom it belongs to.
    pub tenant: TenantId,
    /// Its run.
    pub run: Option<RunId>,
    /// What it does.
    pub kind: TaskKind,
    /// For which step.
    pub step: String,
    /// Epoch of this lease.
    pub epoch: i64,
    /// How often it was leased, this time included.
    pub tries: i64,
    /// What an inspection reads or a record says.
    pub payload: String,
}

/// Who leases, and what they may lease.
#[derive(Debug, Clone, Copy)]
pub struct Claimer<'a> {
    /// The lease's owner.
    pub owner: &'a str,
    /// The orchestrator's own tasks, or a runner's.
    pub internal: bool,
    /// Only this run's (and what belongs to no run).
    pub only: Option<RunId>,
    /// Other runners are there, for tasks that rather not go to this one.
    pub others: bool,
}

impl Tables {
    /// Puts a task that belongs to no transition.
    pub async fn insert_task(&self, task: &NewTask) -> Result<(), Error> {
        let mut tx = self.store.begin().await?;
        put_task(&mut tx, task).await?;
        Ok(tx.commit().await?)
    }

    /// Leases the next task, if one is due.
    pub async fn claim(
        &self,
        claimer: Claimer<'_>,
        now: Timestamp,
        lease_ms: i64,
    ) -> Result<Option<Claimed>, Error> {
        let mut tx = self.store.begin().await?;
        let row = sqlx::query(include_str!("../../sql/task_claim.sql"))
            .bind(claimer.owner)
            .bind(now.plus_ms(lease_ms).0)
            .bind(claimer.internal)
            .bind(now.0)
            .bind(claimer.only.map(|r| r.0))
            .bind(claimer.others)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let over = "DELETE FROM tasks WHERE state = 'dropped' AND lease_until < $1";
        sqlx::query(over).bind(now.0).execute(&mut *tx).await?;
        tx.commit().await?;
        let id: Uuid = row.try_get("id")?;
        let tenant: Uuid = row.try_get("tenant_id")?;
        let run: Option<Uuid> = row.try_get("run_id")?;
        let kind: String = row.try_get("kind")?;
        Ok(Some(Claimed {
            id: id.into(),
            tenant: tenant.into(),
            run: run.map(Into::into),
            kind: kind.parse().map_err(|e: String| corrupt("tasks", id, e))?,
            step: row.try_get("step")?,
            epoch: row.try_get("epoch")?,
            tries: row.try_get("tries")?,
            payload: row.try_get("payload")?,
        }))
    }

    /// Whether a lease still holds; when it does, it is renewed.
    pub async fn renew(&self, task: TaskId, epoch: i64, until: Timestamp) -> Result<bool, Error> {
        let sql =
            "UPDATE tasks SET lease_until = $1 WHERE id = $2 AND epoch = $3 AND state = 'leased'";
        let mut tx = self.store.begin().await?;
        let done =
            sqlx::query(sql).bind(until.0).bind(task.0).bind(epoch).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Reads a leased task.
    pub async fn leased(&self, task: TaskId, epoch: i64) -> Result<Option<Claimed>, Error> {
        let sql = "SELECT id, tenant_id, run_id, kind, step, epoch, tries, payload FROM tasks \
                   WHERE id = $1 AND epoch = $2 AND state = 'leased'";
        let row =
            sqlx::query(sql).bind(task.0).bind(epoch).fetch_optional(self.store.read()).await?;
        let Some(row) = row else { return Ok(None) };
        let tenant: Uuid = row.try_get("tenant_id")?;
        let run: Option<Uuid> = row.try_get("run_id")?;
        let kind: String = row.try_get("kind")?;
        Ok(Some(Claimed {
            id: task,
            tenant: tenant.into(),
            run: run.map(Into::into),
            kind: kind.parse().map_err(|e: String| corrupt("tasks", task, e))?,
            step: row.try_get("step")?,
            epoch,
            tries: row.try_get("tries")?,
            payload: row.try_get("payload")?,
        }))
    }

    /// Gives a leased task back, to be leased again from `due` on.
    pub async fn release(&self, task: TaskId, epoch: i64, due: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE tasks SET state = 'ready', owner = '', due_at = $1 \
                   WHERE id = $2 AND epoch = $3 AND state = 'leased'";
        let mut tx = self.store.begin().await?;
        let done = sqlx::query(sql).bind(due.0).bind(task.0).bind(epoch).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives back every lease (of a run, or of all): their holders are known to be dead, and it was
    /// not the task's fault. A step among them is executed again, alone.
    pub async fn release_all(&self, only: Option<RunId>) -> Result<u64, Error> {
        let sql = "UPDATE tasks SET state = 'ready', owner = '', lease_until = 0, \
                   tries = max(tries - 1, 0), \
                   sharing = CASE kind WHEN 'step' THEN 'exclusive' ELSE sharing END \
                   WHERE state = 'leased' AND ($1 IS NULL OR run_id = $1)";
        let mut tx = self.store.begin().await?;
        let gone = "DELETE FROM tasks WHERE state = 'dropped' AND ($1 IS NULL OR run_id = $1)";
        sqlx::query(gone).bind(only.map(|r| r.0)).execute(&mut *tx).await?;
        let done = sqlx::query(sql).bind(only.map(|r| r.0)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }

    /// Keeps the result of a task that belongs to no run, for the caller that waits.
    pub async fn finish_inspection(
        &self,
        task: TaskId,
        epoch: i64,
        result: &str,
    ) -> Result<bool, Error> {
        let sql = "UPDATE tasks SET state = 'done', result = $1 \
                   WHERE id = $2 AND epoch = $3 AND state = 'leased'";
        let mut tx = self.store.begin().await?;
        let done = sqlx::query(sql).bind(result).bind(task.0).bind(epoch).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// The result of an inspection, once it is there.
    pub async fn inspection(&self, task: TaskId) -> Result<Option<String>, Error> {
        let sql = "SELECT result FROM tasks WHERE id = $1 AND state = 'done'";
        Ok(sqlx::query_scalar(sql).bind(task.0).fetch_optional(self.store.read()).await?)
    }

    /// Forgets a leased (or dropped) task, unless somebody else holds it by now.
    pub async fn forget(&self, task: TaskId, epoch: i64) -> Result<(), Error> {
        let sql =
            "DELETE FROM tasks WHERE id = $1 AND epoch = $2 AND state IN ('leased', 'dropped')";
        let mut tx = self.store.begin().await?;
        sqlx::query(sql).bind(task.0).bind(epoch).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Forgets an inspection whose caller waits no longer.
    pub async fn delete_inspection(&self, task: TaskId) -> Result<(), Error> {
        let mut tx = self.store.begin().await?;
        sqlx::query("DELETE FROM tasks WHERE id = $1").bind(task.0).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// When the next task becomes due or its lease runs out, if any waits.
    pub async fn next_due(
        &self,
        internal: bool,
        only: Option<RunId>,
    ) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT min(CASE state WHEN 'ready' THEN due_at ELSE lease_until + 1 END) \
                   FROM tasks WHERE state IN ('ready', 'leased') AND internal = $1 \
                   AND ($2 IS NULL OR run_id = $2 OR run_id IS NULL)";
        let due: Option<i64> = sqlx::query_scalar(sql)
            .bind(internal)
            .bind(only.map(|r| r.0))
            .fetch_one(self.store.read())
            .await?;
        Ok(due.map(Timestamp))
    }
}

pub(super) async fn put_task(tx: &mut sqlx::SqliteConnection, task: &NewTask) -> Result<(), Error> {
    sqlx::query(include_str!("../../sql/task_insert.sql"))
        .bind(task.id.0)
        .bind(task.tenant.0)
        .bind(task.run.map(|r| r.0))
        .bind(task.kind.as_str())
        .bind(&task.step)
        .bind(task.kind.is_internal())
        .bind(task.sharing.as_str())
        .bind(task.due.0)
        .bind(&task.payload)
        .bind(&task.avoid)
        .execute(tx)
        .await?;
    Ok(())
}
