//! For tests, also of other crates (feature `testing`): empty databases on both engines, a
//! PostgreSQL server of the tests' own, and the check of every statement.

mod fresh;
mod migrations;
mod prepare;
mod server;

pub use fresh::Fresh;
pub use migrations::unpaired;
pub use prepare::{Unprepared, prepare_all};
pub use server::Postgres;
