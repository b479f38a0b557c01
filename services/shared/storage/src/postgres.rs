//! PostgreSQL: a pool whose connections are tried before use when they rested, so that those a restart of the
//! server left dead are replaced unseen; the limits below hold for each of them unless the URL's
//! `options[..]` say otherwise.

use crate::Error;
use crate::kept::{Held, Kept, PING_AFTER};
use crate::location::PostgresUrl;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres, Transaction};
use std::time::Duration;

/// Connections of one process.
const CONNECTIONS_MAX: u32 = 16;
/// How long a call waits for a connection, a new one's set-up included.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a start waits for the server to take connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the schema's migrations may take, the wait for another replica's included.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);
/// Limits that the server keeps for each connection: how long one statement may take, one wait
/// for a lock, and the pause of an open transaction (whose client is lost: it holds locks).
const SERVER_LIMITS: [(&str, Duration); 3] = [
    ("statement_timeout", Duration::from_secs(30)),
    ("lock_timeout", Duration::from_secs(15)),
    ("idle_in_transaction_session_timeout", Duration::from_mins(1)),
];
/// The name in the server's list of sessions, unless the URL gives one.
const APPLICATION_NAME: &str = "metabuilder";

/// An open PostgreSQL database; clones share its connections.
#[derive(Debug, Clone)]
pub struct Server {
    pool: PgPool,
    kept: Kept<Postgres>,
}

impl Server {
    /// Connects and brings the schema up to date.
    pub(crate) async fn open(url: &PostgresUrl, migrator: &Migrator) -> Result<Self, Error> {
        let pool = open(url, migrator).await?;
        Ok(Self { kept: Kept::new(pool.clone()), pool })
    }

    /// The connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A write transaction. It begins in a task of its own: when the wait for that is given up, sqlx
    /// leaves it open on the server, and whoever got the connection next would store nothing.
    ///
    /// # Errors
    /// When a connection cannot be had in time.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let pool = self.pool.clone();
        let beginning = tokio::spawn(async move { pool.begin().await });
        Ok(beginning.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
    }

    /// A connection that is kept at hand, for a transaction in one call.
    ///
    /// # Errors
    /// When it cannot be had in time.
    pub async fn hold(&self) -> Result<Held<Postgres>, Error> {
        self.kept.take().await
    }

    /// Closes all connections, after the calls that use them.
    pub(crate) async fn close(&self) {
        drop(self.kept.give_back().await);
        self.pool.close().await;
    }
}

async fn open(url: &PostgresUrl, migrator: &Migrator) -> Result<PgPool, Error> {
    let mut options = url.options().clone();
    if options.get_application_name().is_none() {
        options = options.application_name(APPLICATION_NAME);
    }
    migrate(&options, migrator).await?;
    let connecting = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, unused| {
            Box::pin(async move {
                if unused.idle_for > PING_AFTER {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(limited(options));
    within("connecting", CONNECT_TIMEOUT, connecting).await?.map_err(Error::Unreachable)
}

/// Puts the server's limits into the session's options; the operator's own win.
fn limited(options: PgConnectOptions) -> PgConnectOptions {
    let given = options.get_options().unwrap_or_default().to_owned();
    let ours = SERVER_LIMITS.iter().filter(|(name, _)| !is_given(&given, name));
    options.options(ours.map(|(name, limit)| (name, limit.as_millis())))
}

/// Whether session options (`-c name=value`, `--name=value`) set one of a name.
fn is_given(options: &str, name: &str) -> bool {
    let words = options.split_whitespace();
    words.map(|w| w.trim_start_matches("--").trim_start_matches("-c")).any(|word| {
        let given = word.split('=').next().unwrap_or_default();
        given.replace('-', "_").eq_ignore_ascii_case(name)
    })
}

/// Runs the migrations on a connection of their own, without the limits of a statement. Of several
/// replicas that start at once one migrates; the others wait for its lock and find the work done.
async fn migrate(options: &PgConnectOptions, migrator: &Migrator) -> Result<(), Error> {
    let connecting = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options.clone());
    let pool = within("connecting", CONNECT_TIMEOUT, connecting).await?;
    let pool = pool.map_err(Error::Unreachable)?;
    within("migrating", MIGRATION_TIMEOUT, migrator.run(&pool)).await?.map_err(Error::migrating)?;
    pool.close().await;
    Ok(())
}

async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(limit, work).await.map_err(|_| Error::timed_out(what, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_however_it_is_written() {
        for options in ["-c lock_timeout=5", "-clock_timeout=5", "-c x=1 --lock-timeout=5"] {
            assert!(is_given(options, "lock_timeout"), "{options}");
        }
        for options in ["", "-c deadlock_timeout=5", "-c lock_timeout_x=5", "-c x=lock_timeout"] {
            assert!(!is_given(options, "lock_timeout"), "{options}");
        }
    }
}
