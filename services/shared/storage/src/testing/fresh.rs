//! An empty place for a database, on either engine.

use super::Postgres;
use crate::Location;
use std::path::PathBuf;

/// An empty place for a database, for one test; a file goes with the value.
#[derive(Debug)]
pub struct Fresh {
    location: Location,
    _folder: Option<tempfile::TempDir>,
}

impl Fresh {
    /// A SQLite file that does not exist yet.
    ///
    /// # Panics
    /// When there can be no temporary folder.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path: PathBuf = folder.path().join("test.db");
        Self { location: Location::Sqlite(path), _folder: Some(folder) }
    }

    /// An empty database on the server that all tests of this process share.
    ///
    /// # Panics
    /// As [`Postgres::database`].
    pub async fn postgres() -> Self {
        Self { location: Postgres::database().await, _folder: None }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }
}

/// Writes each test body for both engines: `on_both_engines! { name_of_the_body; .. }` makes
/// `sqlite::name_of_the_body` and `postgres::name_of_the_body` of an
/// `async fn name_of_the_body(fresh: Fresh)` in the same module.
#[macro_export]
macro_rules! on_both_engines {
    ($($body:ident;)+) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $body() {
                    super::$body($crate::testing::Fresh::sqlite()).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test]
                async fn $body() {
                    super::$body($crate::testing::Fresh::postgres().await).await;
                }
            )+
        }
    };
}
