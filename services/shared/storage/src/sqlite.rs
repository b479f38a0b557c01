//! SQLite: a single writer connection (every write transaction is `BEGIN IMMEDIATE`, so it never
//! fails half-way for a lock) and a pool of readers. WAL with `synchronous = FULL`: what was
//! committed survives the loss of the process and of power.

use crate::Error;
use crate::kept::{Held, Kept};
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite, Transaction};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Connections that read.
const READERS_MAX: u32 = 4;
/// How often a migration that failed is tried again; while the file is locked does not count.
const MIGRATION_TRIES_MAX: u32 = 4;
/// Pause before a start tries again what another process was in the way of.
const START_PAUSE: Duration = Duration::from_millis(150);
/// How long a connection waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// An open SQLite database.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    kept: Kept<Sqlite>,
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
            // what a statement may have to take back is not put into a file outside the data folder
            .pragma("temp_store", "MEMORY")
            .busy_timeout(BUSY_TIMEOUT);
        let writer = connect(1, options.clone()).await?;
        migrate(&writer, migrator).await?;
        let readers = connect(READERS_MAX, options.read_only(true)).await?;
        Ok(Self { kept: Kept::new(writer.clone()), writer, readers })
    }

    /// A write transaction; it holds the write lock from its start.
    ///
    /// # Errors
    /// When the lock cannot be had in time.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        let _given_back = self.kept.give_back().await;
        let since = Instant::now();
        while since.elapsed() < BUSY_TIMEOUT {
            match self.writer.begin_with("BEGIN IMMEDIATE").await {
                // The rollback of an earlier transaction failed too. Others may be here for the same
                // reason, and break the next connection meanwhile.
                Err(sqlx::Error::InvalidSavePointStatement) => self.replace_broken().await?,
                other => return Ok(other?),
            }
        }
        Err(Error::Unreachable(sqlx::Error::InvalidSavePointStatement))
    }

    /// Closes the connection that writes if it is of no use.
    async fn replace_broken(&self) -> Result<(), Error> {
        let connection = self.writer.acquire().await?;
        if connection.is_in_transaction() {
            tracing::warn!("replacing a connection whose transaction could not be ended");
            if let Err(error) = connection.detach().close_hard().await {
                tracing::warn!(%error, "a connection could not be closed");
            }
        }
        Ok(())
    }

    /// The connection that writes, for a transaction in one call.
    ///
    /// # Errors
    /// When it cannot be had in time.
    pub async fn hold(&self) -> Result<Held<Sqlite>, Error> {
        self.kept.take().await
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
        drop(self.kept.give_back().await);
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Opens a pool. The switch of a new file to WAL does not wait for another process's lock by
/// itself, so it is tried again.
async fn connect(connections: u32, options: SqliteConnectOptions) -> Result<SqlitePool, Error> {
    let since = Instant::now();
    loop {
        let pool = SqlitePoolOptions::new().max_connections(connections).test_before_acquire(false);
        match pool.connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if is_locked(&error) && since.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(START_PAUSE).await;
            }
            Err(error) => return Err(Error::Unreachable(error)),
        }
    }
}

/// SQLite's primary result codes of another process's lock: busy (5), locked (6).
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.and_then(|c| c.parse::<u32>().ok()).is_some_and(|c| matches!(c & 0xff, 5 | 6))
}

/// Brings the schema up to date. Another process that opens the same new file at the same time may
/// be faster with one migration; then the next try finds it applied.
async fn migrate(writer: &SqlitePool, migrator: &Migrator) -> Result<(), Error> {
    let since = Instant::now();
    let mut tries = 0;
    while let Err(error) = migrator.run(writer).await.map_err(Error::migrating) {
        match &error {
            Error::Unreachable(_) if since.elapsed() < BUSY_TIMEOUT => {}
            Error::Migration(_) if tries < MIGRATION_TRIES_MAX => tries += 1,
            _ => return Err(error),
        }
        tracing::info!(%error, "trying the migrations again");
        tokio::time::sleep(START_PAUSE).await;
    }
    Ok(())
}
