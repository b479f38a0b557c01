//! Why a call came to nothing.

use crate::secrets::Secrets;
use std::time::Duration;

/// What a caller can do about it tells the variants apart. No text holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such object.
    #[error("{key} is not in the object store")]
    Missing {
        /// Its key.
        key: String,
    },
    /// The object is larger than its reader allows.
    #[error("{key} is too large: {bytes} bytes (expected at most {bytes_max})")]
    TooLarge {
        /// Its key.
        key: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The key is not one.
    #[error("key: {key:?} is not a key ({problem}; expected names between slashes)")]
    Key {
        /// What was given.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The store refuses the credentials, or does not know the operation: another try is useless
    /// until somebody changes something.
    #[error("the object store {store} refuses {key}: {why}")]
    Refused {
        /// The store as it may be shown.
        store: String,
        /// The key.
        key: String,
        /// Its reason.
        why: String,
    },
    /// The store could not be reached, or failed; another try may help.
    #[error("the object store {store} could not be reached for {key}: {why}")]
    Unreachable {
        /// The store as it may be shown.
        store: String,
        /// The key.
        key: String,
        /// The reason.
        why: String,
    },
    /// A file of this machine could not be read or written.
    #[error("{path}: {why}")]
    File {
        /// Where it is.
        path: String,
        /// The reason.
        why: String,
    },
}

impl Error {
    /// Whether the same call can go well later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Missing { .. } | Self::File { .. } => true,
            Self::TooLarge { .. } | Self::Key { .. } | Self::Refused { .. } => false,
        }
    }

    /// What the store answered about `key`.
    pub(crate) fn of(
        error: object_store::Error,
        store: &str,
        key: &str,
        secrets: &Secrets,
    ) -> Self {
        use object_store::Error as Cause;
        let (store, key) = (store.to_owned(), key.to_owned());
        match error {
            Cause::NotFound { .. } => Self::Missing { key },
            Cause::InvalidPath { source } => Self::Key { key, problem: source.to_string() },
            Cause::PermissionDenied { .. }
            | Cause::Unauthenticated { .. }
            | Cause::NotSupported { .. }
            | Cause::NotImplemented { .. }
            | Cause::UnknownConfigurationKey { .. } => {
                let why = secrets.hidden(&chain(&error));
                Self::Refused { store, key, why }
            }
            other => {
                let why = secrets.hidden(&chain(&other));
                Self::Unreachable { store, key, why }
            }
        }
    }

    pub(crate) fn late(store: &str, key: &str, limit: Duration) -> Self {
        let why = format!("no answer within {} s", limit.as_secs());
        Self::Unreachable { store: store.to_owned(), key: key.to_owned(), why }
    }

    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), why: error.to_string() }
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}
