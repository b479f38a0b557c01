//! The check that replaces queries checked at compile time.

use crate::{Dialect, Engine, Side, Speaks, Statement};
use sqlx::{Executor, SqlSafeStr};

/// Statements that an engine refuses to prepare.
#[derive(Debug, thiserror::Error)]
#[error("{dialect} does not prepare {}", problems.join("; "))]
pub struct Unprepared {
    dialect: Dialect,
    problems: Vec<String>,
}

/// Prepares every statement (`ALL` of [`statements!`](crate::statements)) on the engine, without
/// running it: a table or a column that is not there, or a slip of the pen, shows.
///
/// # Errors
/// Names each statement that does not prepare, with the engine's reason.
pub async fn prepare_all(engine: &Engine, all: &[Statement]) -> Result<(), Unprepared> {
    let mut problems = Vec::new();
    for statement in all {
        if let Err(error) = prepare(engine, statement).await {
            problems.push(format!("{}: {error}", statement.name()));
        }
    }
    let dialect = engine.dialect();
    if problems.is_empty() { Ok(()) } else { Err(Unprepared { dialect, problems }) }
}

async fn prepare(engine: &Engine, statement: &Statement) -> Result<(), sqlx::Error> {
    let sql = statement.on(engine).into_sql_str();
    match engine.read() {
        Side::Sqlite(pool) => pool.acquire().await?.prepare(sql).await.map(drop),
        Side::Postgres(pool) => pool.acquire().await?.prepare(sql).await.map(drop),
    }
}
