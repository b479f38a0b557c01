//! SQLite: a single writer connection (every write transaction is `BEGIN IMMEDIATE`, so it never
//! fails half-way for a lock) and a pool of readers. WAL with `synchronous = FULL`: what was
//! committed survives the loss of the process and of power.

use crate::Error;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use std::path::Path;
use std::time::Duration;

/// Connections that read.
const READERS_MAX: u32 = 4;
/// How often migrations are tried again.
const MIGRATION_TRIES_MAX: u32 = 4;
/// Pause before that.
const MIGRATION_PAUSE: Duration = Duration::from_millis(150);
/// How long a connection waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// An open SQLite database.
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
