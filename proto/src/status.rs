//! Faults as gRPC statuses with google.rpc details, and back.

use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every ErrorInfo.
pub const ERROR_DOMAIN: &str = "metabuilder.dev";

/// The gRPC code of a kind of error.
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::Aborted => ErrorKind::Conflict,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => ErrorKind::DeadlineExceeded,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss | Code::Unimplemented => {
            ErrorKind::Internal
        }
    }
}

/// The status that carries a fault: ErrorInfo always, and what else fits its kind.
pub fn to_status(fault: &Fault) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(fault.reason, ERROR_DOMAIN, std::collections::HashMap::new());
    for field in &fault.fields {
        details.add_bad_request_violation(&field.path, &field.problem);
    }
    if let Some(wait) = fault.retry_after {
        details.set_retry_info(Some(wait));
    }
    match fault.kind {
        ErrorKind::NotFound => {
            details.set_resource_info(fault.reason, "", "", &fault.message);
        }
        ErrorKind::FailedPrecondition => {
            details.add_precondition_failure_violation(fault.reason, "", &fault.message);
        }
        ErrorKind::ResourceExhausted => {
            details.add_quota_failure_violation(fault.reason, &fault.message);
        }
        ErrorKind::InvalidArgument
        | ErrorKind::Unauthenticated
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::Conflict
        | ErrorKind::Unavailable
        | ErrorKind::DeadlineExceeded
        | ErrorKind::Internal => {}
    }
    Status::with_error_details(code(fault.kind), fault.message.clone(), details)
}

/// What a status says, for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What sort of error.
    pub kind: ErrorKind,
    /// The stable reason; empty when the status carried none.
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// The fields at fault.
    pub fields: Vec<InvalidField>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
}

/// Reads a status and its details.
pub fn from_status(status: &Status) -> Received {
    let details = status.get_error_details();
    Received {
        kind: kind(status.code()),
        reason: details.error_info().map(|i| i.reason.clone()).unwrap_or_default(),
        message: status.message().to_owned(),
        fields: details
            .bad_request()
            .map(|b| {
                b.field_violations
                    .iter()
                    .map(|v| InvalidField::new(&v.field, &v.description))
                    .collect()
            })
            .unwrap_or_default(),
        retry_after: details.retry_info().and_then(|r| r.retry_delay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault::invalid(vec![InvalidField::new("a.b", "7 is out of range")])
            .retry_after(Duration::from_secs(3));
        let got = from_status(&to_status(&fault));
        assert_eq!(got.kind, ErrorKind::InvalidArgument);
        assert_eq!(got.reason, "INVALID_FIELD");
        assert_eq!(got.fields, fault.fields);
        assert_eq!(got.retry_after, Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_conflict_is_aborted() {
        let fault = Fault::new(ErrorKind::Conflict, "GATE_ALREADY_DECIDED", "decided before");
        assert_eq!(to_status(&fault).code(), Code::Aborted);
        assert_eq!(from_status(&to_status(&fault)).reason, "GATE_ALREADY_DECIDED");
    }
}
