//! Opens databases. Owns no table: each service brings its migrations and its statements.
//!
//! Two engines, one body of code. The operator writes a [`DatabaseSetting`]: a path is a SQLite
//! file, a `postgres://` URL is a PostgreSQL database. [`Engine::open`] brings the service's
//! schema up to date and gives the [`Engine`]; reads go through [`Engine::read`], changes through
//! [`Engine::begin`]. [`statements!`] names a service's `.sql` files, one for both engines or one
//! for each; [`on!`] pastes a body into the arm of each engine, so that it is written once and
//! compiled for both:
//!
//! ```ignore
//! statements! {
//!     TASK_GET = "task_get";
//!     TASK_CLAIM = "task_claim.sqlite" | "task_claim.postgres";
//! }
//!
//! let mut tx = self.engine.begin().await?;
//! let sql = TASK_CLAIM.on(&tx);
//! let row: Option<TaskRow> = on!(tx, |db| sqlx::query_as(sql).bind(now).fetch_optional(db).await?);
//! tx.commit().await?;
//! ```
//!
//! What differs between the engines, and what a service does about it:
//!
//! - SQLite has one writer: a transaction is alone from its first statement on. PostgreSQL runs
//!   many at once (`READ COMMITTED`): a transaction that decides by what it read locks that row
//!   first (an `UPDATE .. RETURNING` or a `SELECT .. FOR UPDATE`), or its statement carries the
//!   condition. The loser of a conflict gets [`Error::Unreachable`]: it is tried again.
//! - Portable types: text, `BIGINT` (`i64`; times are milliseconds), `DOUBLE PRECISION`, `Uuid`
//!   (`BLOB`, `uuid`), `Json<T>` (`TEXT`, `jsonb`). Placeholders are `$1`.
//! - PostgreSQL refuses the character NUL in text ([`Error::Statement`]); SQLite keeps it. A
//!   service that takes text from outside refuses it at its edge.
//! - A statement that failed ends a PostgreSQL transaction: nothing more can be done in it.
//!
//! Both commit durably: SQLite with WAL and `synchronous = FULL`, PostgreSQL by the server's
//! settings. Each service has a database of its own, on either engine.
//!
//! The feature `testing`, off in what is shipped, brings a real PostgreSQL server and what the
//! tests of a service need to run on both engines.

mod engine;
mod error;
mod kept;
mod location;
mod postgres;
mod sqlite;
mod statement;
#[cfg(feature = "testing")]
pub mod testing;

pub use engine::{Engine, Migrations, Read, Side, Tx};
pub use error::Error;
pub use kept::Held;
pub use location::{DatabaseSetting, InvalidLocation, Location, PostgresUrl};
pub use postgres::Server;
pub use sqlite::Store;
pub use sqlx;
pub use statement::{Dialect, Speaks, Statement};
