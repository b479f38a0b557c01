//! What can go wrong with a store, by what the caller can do about it.

use meta_domain::fault::{ErrorKind, Fault};
use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be opened, does not answer, or was too busy; trying again may help.
    #[error("the store cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// There is no room on the store's disk.
    #[error("the store is full")]
    Full(#[source] sqlx::Error),
    /// A migration does not apply.
    #[error("the store's schema cannot be brought up to date")]
    Migration(#[source] MigrateError),
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

impl Error {
    /// Whether a row with the same unique key is there already.
    pub fn is_unique_violation(&self) -> bool {
        let Self::Statement(error) = self else { return false };
        error.as_database_error().is_some_and(DatabaseError::is_unique_violation)
    }

    /// Whether a column would be empty that must not be: what a statement makes of a condition
    /// that does not hold, to end its transaction.
    pub fn is_not_null_violation(&self) -> bool {
        let Self::Statement(error) = self else { return false };
        let kind = error.as_database_error().map(DatabaseError::kind);
        matches!(kind, Some(sqlx::error::ErrorKind::NotNullViolation))
    }

    /// What a failed migration means: a connection that broke is no fault of the migration.
    pub(crate) fn migrating(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) if is_passing(&e) => {
                Self::Unreachable(e)
            }
            other => Self::Migration(other),
        }
    }

    /// The store did not answer in time.
    pub(crate) fn timed_out(what: &str, limit: Duration) -> Self {
        let text = format!("{what}: no answer within {} s", limit.as_secs());
        Self::Unreachable(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_full(&error) {
            Self::Full(error)
        } else if is_passing(&error) {
            Self::Unreachable(error)
        } else {
            Self::Statement(error)
        }
    }
}

/// Whether the same call may succeed later, unchanged.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                is_passing_in_postgres(&code)
            } else {
                is_passing_in_sqlite(&code)
            }
        }
        _ => false,
    }
}

/// Whether there is no room left: SQLite's primary code 13, PostgreSQL's SQLSTATE 53100.
fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        code == "53100"
    } else {
        code.parse::<u32>().is_ok_and(|c| c & 0xff == 13)
    }
}

/// Whether an outage is to be logged: of many refused calls one a second is enough.
fn is_news() -> bool {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let news = last.is_none_or(|at| at.elapsed() >= Duration::from_secs(1));
    if news {
        *last = Some(Instant::now());
    }
    news
}

/// SQLite's primary result codes of what passes: busy (5), locked (6), disk full (13).
fn is_passing_in_sqlite(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|c| matches!(c & 0xff, 5 | 6 | 13))
}

/// PostgreSQL's SQLSTATEs of what passes.
fn is_passing_in_postgres(code: &str) -> bool {
    // Connection lost, resources short (connections, memory, disk).
    code.starts_with("08")
        || code.starts_with("53")
        || matches!(
            code,
            "57P01" | "57P02" | "57P03" // the server stops, crashed, starts
                | "57P05" | "25P03" // a session sat idle for too long
                | "57014" | "55P03" // a statement, a lock took too long
                | "40001" | "40P01" // lost against another transaction, or a deadlock
                | "25006" // the server is a standby for now
        )
}

impl From<Error> for Fault {
    /// Logs the whole chain once and keeps the detail inside.
    fn from(error: Error) -> Self {
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        match &error {
            Error::Unreachable(_) | Error::Full(_) if !is_news() => {}
            Error::Unreachable(_) | Error::Full(_) => tracing::warn!(error = chain, "store"),
            _ => tracing::error!(error = chain, "store"),
        }
        match error {
            Error::Full(_) => Self::new(
                ErrorKind::ResourceExhausted,
                "STORE_FULL",
                "there is no room on the store's disk; nothing was changed",
            )
            .retry_after(Duration::from_secs(5)),
            Error::Unreachable(_) => Self::new(
                ErrorKind::Unavailable,
                "STORE_UNREACHABLE",
                "the store cannot be reached",
            )
            .retry_after(Duration::from_secs(1)),
            Error::Migration(_) => Self::new(
                ErrorKind::FailedPrecondition,
                "STORE_OF_ANOTHER_VERSION",
                "the store was made by another version and cannot be brought up to date; move it \
                 aside to start with an empty one (the log says which migration)",
            ),
            Error::Statement(_) | Error::CorruptRow { .. } => Self::new(
                ErrorKind::Internal,
                "INTERNAL",
                "the store failed; see the service's log",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_reached_is_unavailable_and_says_when_to_come_back() {
        let fault = Fault::from(Error::from(sqlx::Error::PoolTimedOut));
        assert_eq!(fault.kind, ErrorKind::Unavailable);
        assert_eq!(fault.reason, "STORE_UNREACHABLE");
        assert_eq!(fault.retry_after, Some(Duration::from_secs(1)));
        let fault = Fault::from(Error::from(sqlx::Error::RowNotFound));
        assert_eq!(fault.kind, ErrorKind::Internal);
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in ["08006", "53300", "57P01", "57P03", "40001", "40P01", "55P03", "57014"] {
            assert!(is_passing_in_postgres(code), "{code}");
        }
        for code in ["23505", "42P01", "22021", "42703", "28P01", "3D000", ""] {
            assert!(!is_passing_in_postgres(code), "{code}");
        }
        assert!(is_passing_in_sqlite("517"));
        assert!(!is_passing_in_sqlite("2067"));
    }
}
