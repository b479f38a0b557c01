//! Opens databases. Owns no table: each service brings its migrations and its statements.
//!
//! One engine so far, SQLite: a single writer connection (every write transaction is
//! `BEGIN IMMEDIATE`, so it never fails half-way for a lock) and a pool of readers. WAL with
//! `synchronous = FULL`: what was committed survives the loss of the process and of power.

use meta_domain::fault::{ErrorKind, Fault};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use std::path::Path;
use std::time::Duration;

pub use sqlx;

/// Connections that read.
const READERS_MAX: u32 = 4;
/// How often migrations are tried again.
const MIGRATION_TRIES_MAX: u32 = 4;
/// Pause before that.
const MIGRATION_PAUSE: Duration = Duration::from_millis(150);
/// How long a connection waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be opened, or does not answer.
    #[error("the store cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// A migration does not apply.
    #[error("the store's schema cannot be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// A row does not hold what it should.
    #[error("{table} row {id} is corrupt: {problem}")]
    CorruptRow {
        /// The table.
        table: &'static str,
        /// The row's key.
        id: String,
        /// What is wrong.
        problem: String,
    },
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            e @ (sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_)) => {
                Self::Unreachable(e)
            }
            e if is_passing(&e) => Self::Unreachable(e),
            e => Self::Statement(e),
        }
    }
}

/// SQLite's primary result codes of what passes: busy (5), locked (6), disk full (13).
fn is_passing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let code = code.and_then(|c| c.parse::<u32>().ok());
    code.is_some_and(|c| matches!(c & 0xff, 5 | 6 | 13))
}

impl From<Error> for Fault {
    /// Logs the whole chain once and keeps the detail inside.
    fn from(error: Error) -> Self {
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        tracing::error!(error = chain, "store");
        match error {
            Error::Unreachable(_) => Self::new(
                ErrorKind::Unavailable,
                "STORE_UNREACHABLE",
                "the store cannot be reached",
            )
            .retry_after(Duration::from_secs(1)),
            Error::Migration(_) | Error::Statement(_) | Error::CorruptRow { .. } => Self::new(
                ErrorKind::Internal,
                "INTERNAL",
                "the store failed; see the service's log",
            ),
        }
    }
}

/// An open database.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens (or creates) the SQLite file and brings its schema up to date.
    ///
    /// `migrator` is the service's own; each service has its own file.
    ///
    /// # Errors
    /// When the file cannot be opened or a migration does not apply.
    pub async fn open(path: &Path, migrator: &Migrator) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await
            .map_err(Error::Unreachable)?;
        migrate(&writer, migrator).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_with(options.read_only(true))
            .await
            .map_err(Error::Unreachable)?;
        Ok(Self { writer, readers })
    }

    /// A write transaction; it holds the write lock from its start.
    ///
    /// # Errors
    /// When the lock cannot be had in time.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Connections for reading.
    pub fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Brings the schema up to date. Another process that opens the same new file at the same time may
/// be faster with one migration; then the next try finds it applied.
async fn migrate(writer: &SqlitePool, migrator: &Migrator) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        match migrator.run(writer).await {
            Ok(()) => return Ok(()),
            Err(error) if tries >= MIGRATION_TRIES_MAX => return Err(Error::Migration(error)),
            Err(error) => {
                tracing::info!(%error, "trying the migrations again");
                tries += 1;
                tokio::time::sleep(MIGRATION_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_committed_write_is_read_and_a_dropped_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Store::open(&dir.path().join("t.db"), &sqlx::migrate::Migrator::DEFAULT).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        sqlx::query("CREATE TABLE t (a INTEGER)").execute(&mut *tx).await.unwrap();
        sqlx::query("INSERT INTO t VALUES ($1)").bind(1_i64).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        sqlx::query("INSERT INTO t VALUES ($1)").bind(2_i64).execute(&mut *tx).await.unwrap();
        drop(tx);
        let n: i64 =
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(store.read()).await.unwrap();
        assert_eq!(n, 1);
        store.ping().await.unwrap();
    }

    #[tokio::test]
    async fn a_path_that_is_no_file_is_unreachable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no/such/t.db");
        let got = Store::open(&path, &sqlx::migrate::Migrator::DEFAULT).await;
        assert!(matches!(got, Err(Error::Unreachable(_))));
    }
}
