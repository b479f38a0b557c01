//! A batch on SQLite: statements joined into one text, since each call wakes the connection's
//! thread and waits for it.

use super::ROWS_MAX;
use super::rows::{EventColumns, Rows, RunColumns};
use crate::core::queue::Task;
use crate::store::audit::{Links, put_links};
use crate::store::signed;
use meta_domain::id::TaskId;
use meta_storage::{Error, Held};
use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};

/// Rows of a batch whose statements are kept prepared: small ones come again and again in the same
/// shape, large ones hardly ever.
const KEPT_ROWS_MAX: usize = 8;

/// Stores a batch in a transaction.
pub(super) async fn put(db: &mut SqliteConnection, rows: &Rows<'_>) -> Result<(), Error> {
    let mut query = QueryBuilder::new("");
    put_all(&mut query, rows);
    execute(db, query, rows.count()).await
}

/// Stores a batch, and what goes on record of it, as a transaction of its own.
pub(super) async fn put_alone(
    mut held: Held<Sqlite>,
    rows: &Rows<'_>,
    links: &Links,
) -> Result<(), Error> {
    let mut query = QueryBuilder::new("BEGIN IMMEDIATE;");
    put_all(&mut query, rows);
    put_links(&mut query, links);
    query.push("COMMIT");
    let done = execute(&mut held, query, rows.count() + links.sealed.len()).await;
    if done.is_ok() || sqlx::query("ROLLBACK").execute(&mut *held).await.is_ok() {
        held.keep();
    }
    done
}

async fn execute(
    db: &mut SqliteConnection,
    mut query: QueryBuilder<Sqlite>,
    rows: usize,
) -> Result<(), Error> {
    let query = query.build().persistent(rows <= KEPT_ROWS_MAX);
    Ok(query.execute(db).await.map(drop)?)
}

fn put_all(query: &mut QueryBuilder<Sqlite>, rows: &Rows<'_>) {
    rows.runs.chunks(ROWS_MAX).for_each(|part| put_runs(query, part));
    rows.events.chunks(ROWS_MAX).for_each(|part| put_events(query, part));
    rows.gone.chunks(ROWS_MAX).for_each(|part| delete_tasks(query, part));
    rows.tasks.chunks(ROWS_MAX).for_each(|part| put_tasks(query, part));
}

fn put_runs(query: &mut QueryBuilder<Sqlite>, part: &[RunColumns<'_>]) {
    query.push(
        "INSERT INTO runs (id, tenant_id, spec_id, status, seq, rev, body, body_seq, \
         request_id, created_at, finished_at) ",
    );
    query.push_values(part, |mut values, columns| {
        let run = &columns.row.run;
        values
            .push_bind(run.id.0)
            .push_bind(run.tenant.0)
            .push_bind(run.spec.0)
            .push_bind(run.status.as_str())
            .push_bind(signed(run.seq))
            .push_bind(columns.row.rev + 1)
            .push_bind(columns.body.clone())
            .push_bind(columns.body_seq)
            .push_bind(columns.row.request_id.clone())
            .push_bind(run.created_at.0)
            .push_bind(run.finished_at.map(|t| t.0));
    });
    query.push(
        " ON CONFLICT (id) DO UPDATE SET status = excluded.status, seq = excluded.seq, \
         rev = CASE WHEN runs.rev = excluded.rev - 1 THEN excluded.rev END, finished_at = excluded.finished_at, \
         body = CASE WHEN excluded.body_seq > 0 THEN excluded.body ELSE runs.body END, \
         body_seq = CASE WHEN excluded.body_seq > 0 THEN excluded.body_seq \
         ELSE runs.body_seq END;",
    );
}

fn put_events(query: &mut QueryBuilder<Sqlite>, part: &[EventColumns<'_>]) {
    query.push("INSERT INTO events (run_id, seq, type, step, at, body) ");
    query.push_values(part, |mut values, columns| {
        let row = columns.row;
        values
            .push_bind(row.run.id.0)
            .push_bind(signed(row.seq))
            .push_bind(columns.word.clone())
            .push_bind(row.event.step().to_owned())
            .push_bind(row.at.0)
            .push_bind(columns.body.clone());
    });
    query.push(";");
}

fn delete_tasks(query: &mut QueryBuilder<Sqlite>, part: &[TaskId]) {
    query.push("DELETE FROM tasks WHERE id IN (");
    let mut list = query.separated(", ");
    for id in part {
        list.push_bind(id.0);
    }
    query.push(");");
}

fn put_tasks(query: &mut QueryBuilder<Sqlite>, part: &[Task]) {
    query.push(
        "INSERT INTO tasks (id, tenant_id, run_id, kind, step, internal, sharing, due_at, \
         state, owner, epoch, lease_until, tries, priority, labels, avoid, payload, result) ",
    );
    query.push_values(part, |mut values, task| {
        values
            .push_bind(task.id.0)
            .push_bind(task.tenant.0)
            .push_bind(task.run.map(|r| r.0))
            .push_bind(task.kind.as_str())
            .push_bind(task.step.clone())
            .push_bind(i64::from(task.kind.is_internal()))
            .push_bind(task.sharing.as_str())
            .push_bind(task.due.0)
            .push_bind(task.state.as_str())
            .push_bind(task.owner.clone())
            .push_bind(task.epoch)
            .push_bind(task.lease_until.0)
            .push_bind(task.tries)
            .push_bind(i64::from(task.priority))
            .push_bind(task.labels.clone())
            .push_bind(task.avoid.clone())
            .push_bind(task.payload.clone())
            .push_bind("");
    });
    query.push(
        " ON CONFLICT (id) DO UPDATE SET sharing = excluded.sharing, \
         due_at = excluded.due_at, state = excluded.state, owner = excluded.owner, \
         epoch = excluded.epoch, tries = excluded.tries, priority = excluded.priority, \
         lease_until = CASE WHEN excluded.epoch = tasks.epoch \
         AND excluded.state IN ('leased', 'dropped') \
         AND tasks.lease_until > excluded.lease_until \
         THEN tasks.lease_until ELSE excluded.lease_until END;",
    );
}
