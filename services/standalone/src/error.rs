//! How a command ends: with an exit code, or with an error that says what happened, why, and what
//! to do next.

use meta_domain::fault::ErrorKind;
use meta_proto::status::{Received, from_status};
use meta_runtime::StartError;
use std::fmt;
use std::process::ExitCode;

/// How a command that did its work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Built, or simply done.
    Done = 0,
    /// The build failed, or something does not work.
    Failed = 1,
    /// Wrong usage or bad input.
    Usage = 2,
    /// A gate waits for a person.
    Waiting = 3,
    /// Stopped by ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What happened.
    pub what: String,
    /// Why, a line each.
    pub why: Vec<String>,
    /// What to do next; empty when that is plain.
    pub next: String,
    /// Bad input is told apart from what does not work.
    pub exit: Exit,
    /// Whether the same may work in a moment.
    pub may_pass: bool,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Something does not work.
    pub fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self {
            what: what.into(),
            why: vec![why.to_string()],
            next: String::new(),
            exit: Exit::Failed,
            may_pass: false,
        }
    }

    /// The user gave something wrong.
    pub fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, ..Self::failed(what, why) }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// The user gave several things wrong.
    pub fn several(what: &str, why: Vec<String>) -> Self {
        Self { why, ..Self::usage(what, "") }
    }

    /// What a service answered to an attempt to do `what`.
    pub fn status(what: &str, status: &tonic::Status) -> Self {
        Self::received(what, &from_status(status))
    }

    fn received(what: &str, received: &Received) -> Self {
        let why = if received.fields.is_empty() {
            vec![received.message.clone()]
        } else {
            received.fields.iter().map(ToString::to_string).collect()
        };
        let may_pass =
            matches!(received.kind, ErrorKind::Unavailable | ErrorKind::DeadlineExceeded);
        let (exit, next) = match received.kind {
            ErrorKind::InvalidArgument | ErrorKind::NotFound | ErrorKind::AlreadyExists => {
                (Exit::Usage, "")
            }
            ErrorKind::Unauthenticated => (Exit::Failed, "check METABUILDER_TOKEN"),
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => {
                (Exit::Failed, "try again in a moment")
            }
            ErrorKind::PermissionDenied
            | ErrorKind::FailedPrecondition
            | ErrorKind::Conflict
            | ErrorKind::ResourceExhausted
            | ErrorKind::Internal => (Exit::Failed, ""),
        };
        Self { what: format!("cannot {what}"), why, next: next.to_owned(), exit, may_pass }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why.as_slice() {
            [] => f.write_str(&self.what)?,
            [only] => write!(f, "{}: {only}", self.what)?,
            many => {
                write!(f, "{}:", self.what)?;
                for why in many {
                    write!(f, "\n  {why}")?;
                }
            }
        }
        if self.next.is_empty() { Ok(()) } else { write!(f, "\n  next: {}", self.next) }
    }
}

impl std::error::Error for Error {}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(faults) => Self {
                what: "the configuration is not valid".to_owned(),
                why: faults.iter().map(ToString::to_string).collect(),
                next: String::new(),
                exit: Exit::Usage,
                may_pass: false,
            },
            StartError::Failed(why) => Self::failed("cannot start", why),
        }
    }
}

impl From<std::io::Error> for Error {
    /// Standard output that is gone. A reader that has seen enough is told nothing.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { why: Vec::new(), ..Self::failed("", "") };
        }
        Self::failed("cannot print", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::fault::{Fault, InvalidField};
    use meta_proto::status::to_status;

    #[test]
    fn every_bad_field_is_printed_and_the_exit_is_two() {
        let fault = Fault::invalid(vec![
            InvalidField::new("step[0].timeout", "\"soon\" is not a duration"),
            InvalidField::new("step[1].name", "\"\" is not a step name"),
        ]);
        let error = Error::status("make a plan", &to_status(&fault));
        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(
            error.to_string(),
            "cannot make a plan:\n  step[0].timeout: \"soon\" is not a duration\n  \
             step[1].name: \"\" is not a step name"
        );
    }

    #[test]
    fn a_decided_gate_is_a_failure_not_bad_input() {
        let fault = Fault::new(ErrorKind::Conflict, "GATE_ALREADY_DECIDED", "it was approved");
        let error = Error::status("approve", &to_status(&fault));
        assert_eq!(
            (error.exit, error.to_string().as_str()),
            (Exit::Failed, "cannot approve: it was approved")
        );
    }

    #[test]
    fn an_error_says_what_to_do_next() {
        let error = Error::usage("no such folder", "x").next("give the path of a project");
        assert_eq!(error.to_string(), "no such folder: x\n  next: give the path of a project");
    }
}
