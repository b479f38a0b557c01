//! Statements in files, and the macro that runs one body on either engine.

/// The SQL an engine speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// What statements run on: an engine, its reading side, a transaction.
pub trait Speaks {
    /// The SQL it speaks.
    fn dialect(&self) -> Dialect;
}

/// A statement with the text of each engine, made by [`statements!`](crate::statements).
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Statement {
    /// A statement from its name and the text of each engine.
    pub const fn new(name: &'static str, sqlite: &'static str, postgres: &'static str) -> Self {
        Self { name, sqlite, postgres }
    }

    /// The name of its constant.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The text for what the statement is about to run on.
    pub fn on(&self, target: &impl Speaks) -> &'static str {
        match target.dialect() {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// Names the statements of a service: `NAME = "file";` is `sql/file.sql` of the calling crate on
/// both engines, `NAME = "file.sqlite" | "file.postgres";` one file for each. Gives a
/// [`Statement`](crate::Statement) for each name and, in unit tests, `ALL` of them, for
/// `testing::prepare_all`. Once in a module.
#[macro_export]
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $sqlite:literal $(| $postgres:literal)?;)+) => {
        $(
            $(#[$meta])*
            pub(crate) const $name: $crate::Statement = $crate::statements!(
                @statement $name, $sqlite $(, $postgres)?
            );
        )+
        #[cfg(test)]
        pub(crate) const ALL: &[$crate::Statement] = &[$($name),+];
    };
    (@statement $name:ident, $both:literal) => {
        $crate::statements!(@statement $name, $both, $both)
    };
    (@statement $name:ident, $sqlite:literal, $postgres:literal) => {
        $crate::Statement::new(
            stringify!($name),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $sqlite, ".sql")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/", $postgres, ".sql")),
        )
    };
}

/// Runs one body on the engine at hand: `on!(tx, |db| sqlx::query(sql).execute(db).await?)`, and
/// the same with `engine.read()`. The body is compiled for both engines, `db` being the pool or
/// the connection of the one; it serves for one statement. `?` and `.await` are the caller's.
#[macro_export]
macro_rules! on {
    ($target:expr, |$db:ident| $body:expr) => {
        match ($target).side() {
            $crate::Side::Sqlite($db) => $body,
            $crate::Side::Postgres($db) => $body,
        }
    };
}
