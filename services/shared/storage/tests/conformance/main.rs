//! What a service may rely on, on either engine: the same bodies run on SQLite and PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod abandoned;
mod broken;
mod changes;
mod keeper;
mod limits;
mod opening;
mod outage;
mod values;

use meta_storage::sqlx::migrate::Migrator;
use meta_storage::{Engine, Error, Location, Migrations, Speaks, Statement, on, statements};
use std::time::Duration;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_mins(1);

static SQLITE: Migrator = sqlx::migrate!("tests/migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("tests/migrations/postgres");
const MIGRATIONS: Migrations<'static> = Migrations { sqlite: &SQLITE, postgres: &POSTGRES };

statements! {
    /// Shared by both engines.
    COUNTER_NEXT = "conformance/counter_next";
    COUNTER_GET = "conformance/counter_get";
    COUNTER_INSERT = "conformance/counter_insert";
    COUNTER_PUT = "conformance/counter_put";
    THING_INSERT = "conformance/thing_insert";
    THING_GET = "conformance/thing_get";
    JOB_INSERT = "conformance/job_insert";
    /// Differs by `FOR UPDATE SKIP LOCKED`.
    JOB_CLAIM = "conformance/job_claim.sqlite" | "conformance/job_claim.postgres";
}

/// Statements that are wrong on purpose.
mod wrong {
    meta_storage::statements! { WRONG_COLUMN = "conformance/wrong_column"; }
}

async fn open(location: &Location) -> Engine {
    Engine::open(location, MIGRATIONS).await.unwrap()
}

/// Adds one to a counter in a transaction of its own.
async fn count(engine: &Engine, name: &str) -> Result<i64, Error> {
    let mut tx = engine.begin().await?;
    let sql = COUNTER_NEXT.on(&tx);
    let n = on!(tx, |db| sqlx::query_scalar(sql).bind(name).fetch_one(db).await?);
    tx.commit().await?;
    Ok(n)
}

/// Reads a counter.
async fn counter(engine: &Engine, name: &str) -> Result<Option<i64>, Error> {
    let sql = COUNTER_GET.on(engine);
    Ok(on!(engine.read(), |db| sqlx::query_scalar(sql).bind(name).fetch_optional(db).await?))
}

/// Writes a new counter within a transaction.
async fn insert(tx: &mut meta_storage::Tx, name: &str, n: i64) -> Result<u64, Error> {
    let sql = COUNTER_INSERT.on(tx);
    let done = on!(tx, |db| sqlx::query(sql).bind(name).bind(n).execute(db).await?.rows_affected());
    Ok(done)
}

fn is_postgres(target: &impl Speaks) -> bool {
    target.dialect() == meta_storage::Dialect::Postgres
}

/// Runs a raw statement that only one test needs.
async fn run(engine: &Engine, sql: &'static str) -> Result<(), Error> {
    let mut tx = engine.begin().await?;
    on!(tx, |db| sqlx::query(sql).execute(db).await.map(drop)?);
    tx.commit().await
}

fn names(all: &[Statement]) -> Vec<&'static str> {
    all.iter().map(Statement::name).collect()
}
