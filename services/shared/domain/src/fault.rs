//! One table of what can go wrong at a boundary, from which every wire derives its code.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The kinds of error a caller can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it will not help.
    InvalidArgument,
    /// No credential, or one that is not known.
    Unauthenticated,
    /// Known, but not allowed to do this.
    PermissionDenied,
    /// Does not exist, or belongs to another tenant.
    NotFound,
    /// The id or name is taken.
    AlreadyExists,
    /// The resource is not in a state in which this can be done.
    FailedPrecondition,
    /// Somebody else was first: re-read, then decide again.
    Conflict,
    /// A limit or quota is used up.
    ResourceExhausted,
    /// A backend cannot be reached for the moment.
    Unavailable,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// A bug or a broken store; the detail is only in the log.
    Internal,
}

impl ErrorKind {
    /// The HTTP status of this kind.
    pub fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::FailedPrecondition | Self::Conflict => 409,
            Self::ResourceExhausted => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// The JSON:API error code of this kind when no finer reason is known.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::FailedPrecondition => "failed_precondition",
            Self::Conflict => "conflict",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
        }
    }

    /// Whether a caller may send the same request again and hope.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Unavailable => true,
            Self::InvalidArgument
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::NotFound
            | Self::AlreadyExists
            | Self::FailedPrecondition
            | Self::Conflict
            | Self::ResourceExhausted
            | Self::DeadlineExceeded
            | Self::Internal => false,
        }
    }
}

/// A field that does not hold what it should: where, what was given, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidField {
    /// Path of the field, such as `step[2].timeout`.
    pub path: String,
    /// What is wrong, with the value and what was expected.
    pub problem: String,
}

impl InvalidField {
    /// A fault of the field at `path`.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    /// The same fault, seen from the message that contains the field.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.path = if self.path.is_empty() {
            parent.to_owned()
        } else {
            format!("{parent}.{}", self.path)
        };
        self
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

impl std::error::Error for InvalidField {}

/// An error that is fit to leave a service.
///
/// `kind` picks the wire code, `reason` is a stable `UPPER_SNAKE` word for machines, and `message`
/// is safe to show: it never holds a secret or an internal detail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What sort of error.
    pub kind: ErrorKind,
    /// Stable reason such as `RUN_NOT_FOUND`.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// The fields at fault, for `InvalidArgument`.
    pub fields: Vec<InvalidField>,
    /// How long to wait before trying again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault without field details.
    pub fn new(kind: ErrorKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into(), fields: Vec::new(), retry_after: None }
    }

    /// Bad input, naming every bad field.
    pub fn invalid(fields: Vec<InvalidField>) -> Self {
        let message = match fields.as_slice() {
            [] => "the request is not valid".to_owned(),
            [only] => only.to_string(),
            many => many.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        };
        Self {
            kind: ErrorKind::InvalidArgument,
            reason: "INVALID_FIELD",
            message,
            fields,
            retry_after: None,
        }
    }

    /// Nothing of that id exists for this tenant.
    pub fn not_found(reason: &'static str, what: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, reason, format!("{what} {id} was not found"))
    }

    /// Adds how long to wait before the next try.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<InvalidField> for Fault {
    fn from(field: InvalidField) -> Self {
        Self::invalid(vec![field])
    }
}
