//! Why a task could not be carried out.

use std::io;

/// What a caller can do about it tells the variants apart.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task asks for something that does not exist or is not allowed; another try is useless.
    #[error("{0}")]
    Refused(String),
    /// This machine failed; another try, perhaps elsewhere, can help.
    #[error("{0}")]
    Failed(String),
    /// The task was stopped on request; nobody waits for its result.
    #[error("the task was stopped")]
    Stopped,
}

impl Error {
    /// A refusal with its reason.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// A failure with its reason.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// Says what was attempted when an operation on files fails.
pub fn doing(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::Failed(format!("{what}: {error}"))
}

/// The same for the system calls of `nix`.
pub fn calling(what: impl std::fmt::Display) -> impl FnOnce(nix::errno::Errno) -> Error {
    move |error| Error::Failed(format!("{what}: {error}"))
}
