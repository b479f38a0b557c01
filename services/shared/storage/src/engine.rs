//! The two engines behind one type.

use crate::statement::{Dialect, Speaks};
use crate::{Error, Held, Location, Server, Store};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{Postgres, Sqlite, Transaction};

/// A service's migrations, the same numbers for both engines.
#[derive(Debug, Clone, Copy)]
pub struct Migrations<'a> {
    /// `sqlx::migrate!("migrations/sqlite")`.
    pub sqlite: &'a Migrator,
    /// `sqlx::migrate!("migrations/postgres")`.
    pub postgres: &'a Migrator,
}

/// An open database; clones share its connections.
#[derive(Debug, Clone)]
pub enum Engine {
    /// A file.
    Sqlite(Store),
    /// A server.
    Postgres(Server),
}

/// A value for each engine: what [`on!`](crate::on) takes apart.
#[derive(Debug, Clone, Copy)]
pub enum Side<S, P> {
    /// SQLite's.
    Sqlite(S),
    /// PostgreSQL's.
    Postgres(P),
}

/// The connections for reading.
pub type Read<'a> = Side<&'a SqlitePool, &'a PgPool>;

impl Engine {
    /// Opens the database and brings its schema up to date. A SQLite file is made where it is
    /// missing, its folder included. Several processes may do so at once.
    ///
    /// # Errors
    /// When the database cannot be reached (within 10 s) or a migration does not apply.
    pub async fn open(location: &Location, migrations: Migrations<'_>) -> Result<Self, Error> {
        match location {
            Location::Sqlite(path) => {
                if let Some(folder) = path.parent() {
                    tokio::fs::create_dir_all(folder)
                        .await
                        .map_err(|e| Error::Unreachable(sqlx::Error::Io(e)))?;
                }
                Store::open(path, migrations.sqlite).await.map(Self::Sqlite)
            }
            Location::Postgres(url) => {
                Server::open(url, migrations.postgres).await.map(Self::Postgres)
            }
        }
    }

    /// A write transaction. On SQLite it holds the write lock from its start; on PostgreSQL it
    /// locks what it changes. Dropped without [`Tx::commit`] it leaves nothing.
    ///
    /// # Errors
    /// When the lock or a connection cannot be had in time.
    pub async fn begin(&self) -> Result<Tx, Error> {
        match self {
            Self::Sqlite(store) => store.begin().await.map(Tx::Sqlite),
            Self::Postgres(server) => server.begin().await.map(Tx::Postgres),
        }
    }

    /// The connections for reading, each statement on its own; for [`on!`](crate::on).
    pub fn read(&self) -> Read<'_> {
        match self {
            Self::Sqlite(store) => Side::Sqlite(store.read()),
            Self::Postgres(server) => Side::Postgres(server.pool()),
        }
    }

    /// A connection for a transaction of one call: faster than [`Engine::begin`], which is several.
    ///
    /// # Errors
    /// When it cannot be had in time.
    pub async fn hold(&self) -> Result<Side<Held<Sqlite>, Held<Postgres>>, Error> {
        Ok(match self {
            Self::Sqlite(store) => Side::Sqlite(store.hold().await?),
            Self::Postgres(server) => Side::Postgres(server.hold().await?),
        })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.ping().await,
            Self::Postgres(server) => {
                sqlx::query("SELECT 1").execute(server.pool()).await?;
                Ok(())
            }
        }
    }

    /// Closes all connections, after the calls that use them.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(server) => server.close().await,
        }
    }
}

/// A write transaction; dropped, it is rolled back.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub enum Tx {
    /// SQLite's.
    Sqlite(Transaction<'static, Sqlite>),
    /// PostgreSQL's.
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// The transaction's connection, for one statement; for [`on!`](crate::on).
    pub fn side(&mut self) -> Side<&mut SqliteConnection, &mut PgConnection> {
        match self {
            Self::Sqlite(tx) => Side::Sqlite(&mut **tx),
            Self::Postgres(tx) => Side::Postgres(&mut **tx),
        }
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// When it cannot. After [`Error::Unreachable`] the changes may be there or not: the
    /// connection was lost before the answer.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => Ok(tx.commit().await?),
            Self::Postgres(tx) => Ok(tx.commit().await?),
        }
    }

    /// Gives the changes up, and waits until that is done.
    ///
    /// # Errors
    /// When the connection was lost; the changes are given up all the same.
    pub async fn rollback(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => Ok(tx.rollback().await?),
            Self::Postgres(tx) => Ok(tx.rollback().await?),
        }
    }
}

impl<S, P> Side<S, P> {
    /// Itself, so that [`on!`](crate::on) takes the reading side as it takes a transaction.
    #[must_use]
    pub fn side(self) -> Self {
        self
    }
}

impl Speaks for Engine {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

impl Speaks for Tx {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

impl<S, P> Speaks for Side<S, P> {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}
