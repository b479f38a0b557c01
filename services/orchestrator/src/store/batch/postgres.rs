//! A batch on PostgreSQL: one statement whatever it holds, columns as arrays, so that it is one
//! round trip and prepared once. It tells the other processes too, once it is committed.

use super::Writes;
use super::rows::Rows;
use crate::store::hear::{CHANNEL, message};
use crate::store::signed;
use meta_storage::{Error, Held};
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;

const PUT: &str = include_str!("../../../sql/batch_put.postgres.sql");

type Put = Query<'static, Postgres, PgArguments>;

/// Stores a batch in a transaction.
pub(super) async fn put(
    db: &mut PgConnection,
    rows: &Rows<'_>,
    writes: &Writes,
) -> Result<(), Error> {
    let put = of_tasks(of_events(of_runs(sqlx::query(PUT), rows), rows), rows);
    Ok(put.bind(CHANNEL).bind(message(writes)).execute(db).await.map(drop)?)
}

/// Stores a batch as a transaction of its own.
pub(super) async fn put_alone(
    mut held: Held<Postgres>,
    rows: &Rows<'_>,
    writes: &Writes,
) -> Result<(), Error> {
    let done = put(&mut held, rows, writes).await;
    if !matches!(done, Err(Error::Unreachable(_))) {
        held.keep();
    }
    done
}

/// One column of all rows.
fn column<R, T>(rows: &[R], of: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

fn of_runs(put: Put, rows: &Rows<'_>) -> Put {
    let runs = &rows.runs;
    put.bind(column(runs, |c| c.row.run.id.0))
        .bind(column(runs, |c| c.row.run.tenant.0))
        .bind(column(runs, |c| c.row.run.spec.0))
        .bind(column(runs, |c| c.row.run.status.as_str()))
        .bind(column(runs, |c| signed(c.row.run.seq)))
        .bind(column(runs, |c| c.row.rev + 1))
        .bind(column(runs, |c| c.body.clone()))
        .bind(column(runs, |c| c.body_seq))
        .bind(column(runs, |c| c.row.request_id.clone()))
        .bind(column(runs, |c| c.row.run.created_at.0))
        .bind(column(runs, |c| c.row.run.finished_at.map(|t| t.0)))
}

fn of_events(put: Put, rows: &Rows<'_>) -> Put {
    let events = &rows.events;
    put.bind(column(events, |c| c.row.run.id.0))
        .bind(column(events, |c| signed(c.row.seq)))
        .bind(column(events, |c| c.word.clone()))
        .bind(column(events, |c| c.row.event.step().to_owned()))
        .bind(column(events, |c| c.row.at.0))
        .bind(column(events, |c| c.body.clone()))
}

fn of_tasks(put: Put, rows: &Rows<'_>) -> Put {
    let tasks = rows.tasks;
    put.bind(column(rows.gone, |id| id.0))
        .bind(column(tasks, |t| t.id.0))
        .bind(column(tasks, |t| t.tenant.0))
        .bind(column(tasks, |t| t.run.map(|r| r.0)))
        .bind(column(tasks, |t| t.kind.as_str()))
        .bind(column(tasks, |t| t.step.clone()))
        .bind(column(tasks, |t| i64::from(t.kind.is_internal())))
        .bind(column(tasks, |t| t.sharing.as_str()))
        .bind(column(tasks, |t| t.due.0))
        .bind(column(tasks, |t| t.state.as_str()))
        .bind(column(tasks, |t| t.owner.clone()))
        .bind(column(tasks, |t| t.epoch))
        .bind(column(tasks, |t| t.lease_until.0))
        .bind(column(tasks, |t| t.tries))
        .bind(column(tasks, |t| i64::from(t.priority)))
        .bind(column(tasks, |t| t.labels.clone()))
        .bind(column(tasks, |t| t.avoid.clone()))
        .bind(column(tasks, |t| t.payload.clone()))
}
