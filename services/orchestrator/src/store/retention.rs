//! Removes runs that ended long ago.

use super::{
    PRUNE_ARTIFACTS, PRUNE_EVENTS, PRUNE_FAILURE_TYPES, PRUNE_GATES, PRUNE_PLAN, PRUNE_RUN,
    PRUNE_TASKS, PRUNING_BEGIN, PRUNING_END, RUNS_ENDED_BEFORE, Tables,
};
use crate::core::run::Run;
use meta_domain::id::RunId;
use meta_domain::time::Timestamp;
use meta_storage::{Error, on};
use uuid::Uuid;

impl Tables {
    /// Runs that ended before `before`, the oldest first.
    pub async fn ended_before(&self, before: Timestamp, limit: u32) -> Result<Vec<RunId>, Error> {
        let read = self.read()?;
        let sql = RUNS_ENDED_BEFORE.on(&read);
        let ids: Vec<Uuid> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(before.0)
            .bind(i64::from(limit))
            .fetch_all(db)
            .await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// Removes a run with everything that hangs on it, unless it goes on again since then.
    pub async fn prune(&self, run: &Run, before: Timestamp) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        let sql = PRUNE_RUN.on(&tx);
        let gone = on!(tx, |db| sqlx::query(sql)
            .bind(run.id.0)
            .bind(before.0)
            .execute(db)
            .await?
            .rows_affected());
        if gone == 0 {
            tx.rollback().await?;
            return Ok(false);
        }
        let of_run = [
            PRUNING_BEGIN,
            PRUNE_EVENTS,
            PRUNE_ARTIFACTS,
            PRUNE_GATES,
            PRUNE_FAILURE_TYPES,
            PRUNE_TASKS,
            PRUNING_END,
        ];
        for statement in of_run {
            let sql = statement.on(&tx);
            on!(tx, |db| sqlx::query(sql).bind(run.id.0).execute(db).await.map(drop)?);
        }
        for delta in &run.deltas {
            let sql = PRUNE_PLAN.on(&tx);
            on!(tx, |db| sqlx::query(sql)
                .bind(run.tenant.0)
                .bind(delta.new_plan.0)
                .execute(db)
                .await
                .map(drop)?);
        }
        self.commit(tx).await.map(|()| true)
    }
}
