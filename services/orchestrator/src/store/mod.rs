//! The orchestrator's tables: the only place with SQL.

mod builds;
mod flaky;
mod runs;
mod tasks;
mod tenants;

pub use builds::{PlanRow, SpecRow};
pub use flaky::FlakyRow;
pub use runs::{Finish, ListRuns, Stored, StoredEvent};
pub use tasks::{Claimed, Claimer, NewTask};
pub use tenants::TenantRow;

use meta_storage::sqlx::migrate::Migrator;
use meta_storage::{Error, Store};
use std::path::Path;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Everything durable of the orchestrator.
#[derive(Debug, Clone)]
pub struct Tables {
    store: Store,
}

impl Tables {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { store: Store::open(path, &MIGRATIONS).await? })
    }

    /// Closes it.
    pub async fn close(&self) {
        self.store.close().await;
    }
}

fn corrupt(table: &'static str, id: impl std::fmt::Display, e: impl std::fmt::Display) -> Error {
    Error::CorruptRow { table, id: id.to_string(), problem: e.to_string() }
}

fn json<T: serde::Serialize>(table: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| corrupt(table, "new", e))
}
