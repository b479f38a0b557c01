//! Where a database is, as an operator writes it.

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What is expected of a setting.
const EXPECTED: &str = "the path of a SQLite file, or postgres://user:password@host:5432/database";
/// The parameters a URL may carry, besides `options[name]`.
const PARAMETERS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// A setting that names no database. The text never holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; expected {EXPECTED}")]
pub struct InvalidLocation {
    problem: String,
}

fn invalid(problem: impl Into<String>) -> InvalidLocation {
    InvalidLocation { problem: problem.into() }
}

/// Where a database is. `Display` and `Debug` show no password.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

impl Location {
    /// Reads a setting: a `postgres://` or `postgresql://` URL, or else a path, absolute or under
    /// `data_dir`.
    ///
    /// What a URL leaves out (user, password) is taken as every PostgreSQL client takes it: from
    /// the `PG..` variables, then from the password file. Host and database have to be there.
    ///
    /// # Errors
    /// Says what is wrong and what was expected.
    pub fn parse(text: &str, data_dir: &Path) -> Result<Self, InvalidLocation> {
        if !is_of_a_server(text) {
            return sqlite_path(text, data_dir).map(Self::Sqlite);
        }
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        match scheme.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" => PostgresUrl::parse(text).map(Self::Postgres),
            known if known.chars().all(|c| c.is_ascii_alphanumeric()) && !known.is_empty() => {
                Err(invalid(format!("databases of {known:?} are not known")))
            }
            _ => Err(invalid("the database's URL does not begin with postgres://")),
        }
    }

    /// The setting that leads here from any folder, **password included**: for the configuration
    /// of another process, never for a log.
    pub fn to_setting(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => url.text.clone(),
        }
    }
}

/// Whether a text is meant for a server, well formed or not; it may hold a password then.
fn is_of_a_server(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let begins = ["postgres:", "postgresql:"].iter().any(|scheme| lower.starts_with(scheme));
    begins || ["://", "host=", "password="].iter().any(|mark| lower.contains(mark))
}

fn sqlite_path(text: &str, data_dir: &Path) -> Result<PathBuf, InvalidLocation> {
    if text.trim().is_empty() {
        return Err(invalid("the database is empty"));
    }
    if text.contains(":memory:") || text.contains('\0') || text.ends_with('/') {
        return Err(invalid(format!("{text:?} is no file")));
    }
    Ok(data_dir.join(text))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A PostgreSQL URL that was read.
#[derive(Clone)]
pub struct PostgresUrl {
    text: String,
    options: PgConnectOptions,
}

impl PostgresUrl {
    fn parse(text: &str) -> Result<Self, InvalidLocation> {
        let rest = text.split_once("://").map_or("", |(_, rest)| rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        // A password with one of these characters would be cut there, and its rest shown.
        if tail.contains(['@', '#']) {
            return Err(invalid(
                "the database's URL holds an `@` or a `#` behind its host: such characters of a \
                 password have to be percent-encoded, and so have `/` (%2F), `?` (%3F), `:` (%3A)",
            ));
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let names = query.split('&').filter(|pair| !pair.is_empty());
        let names: Vec<_> = names.map(|pair| pair.split('=').next().unwrap_or(pair)).collect();
        if let Some(name) = names.iter().find(|n| !is_parameter(n)) {
            // Behind an unquoted `&` the name is the rest of a password.
            let name = if names.contains(&"password") { "(not shown)" } else { name };
            let known = PARAMETERS.join(", ");
            return Err(invalid(format!(
                "the database's URL has the parameter {name:?}; known are options[..], {known}"
            )));
        }
        let host = authority.rsplit('@').next().unwrap_or_default();
        if host.is_empty() && !names.iter().any(|n| n.starts_with("host")) {
            return Err(invalid("the database's URL names no host"));
        }
        if path.trim_matches('/').is_empty() && !names.contains(&"dbname") {
            return Err(invalid("the database's URL names no database"));
        }
        let options = PgConnectOptions::from_str(text).map_err(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            invalid(format!("the database's URL: {}", source.unwrap_or(error.to_string())))
        })?;
        Ok(Self { text: text.to_owned(), options })
    }

    /// What the driver connects with.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

fn is_parameter(name: &str) -> bool {
    PARAMETERS.contains(&name)
        || name == "options"
        || name.starts_with("options[")
        || name.starts_with("options%5B")
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PostgresUrl {}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let (user, database) = (options.get_username(), options.get_database().unwrap_or_default());
        if let Some(folder) = options.get_socket() {
            return write!(f, "postgres:///{database}?host={}&user={user}", folder.display());
        }
        let (host, port) = (options.get_host(), options.get_port());
        write!(f, "postgres://{user}@{host}:{port}/{database}")
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The setting `database` of a service's configuration, unread: reads as plain text, shows and
/// prints itself without a password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseSetting(String);

impl DatabaseSetting {
    /// Where that is; a relative path is one under `data_dir`.
    ///
    /// # Errors
    /// Says what is wrong and what was expected.
    pub fn locate(&self, data_dir: &Path) -> Result<Location, InvalidLocation> {
        Location::parse(&self.0, data_dir)
    }
}

impl From<&str> for DatabaseSetting {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&Location> for DatabaseSetting {
    fn from(location: &Location) -> Self {
        Self(location.to_setting())
    }
}

impl fmt::Display for DatabaseSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !is_of_a_server(&self.0) {
            return f.write_str(&self.0);
        }
        match Location::parse(&self.0, Path::new("")) {
            Ok(location) => location.fmt(f),
            Err(_) => f.write_str("(a URL that cannot be read)"),
        }
    }
}

impl fmt::Debug for DatabaseSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DatabaseSetting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
