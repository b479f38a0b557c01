//! Pulling work from the orchestrator and reporting what came of it.

mod awake;
mod leases;
mod log;
mod pull;
mod report;
mod sweep;
mod traced;

pub use leases::{Hold, Leases, Stopped};
pub use log::LogWriter;
pub use pull::Puller;
pub use sweep::Sweeper;

use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_proto::runner::work_service_client::WorkServiceClient;
use meta_proto::status::from_status;
use meta_runtime::Transport;
use std::time::Duration;
use tonic::{Code, Status};

/// The orchestrator, as a runner sees it.
pub type Orchestrator = WorkServiceClient<Transport>;

/// How long a call may take, beside what it waits for.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// First wait before a call is tried again; each further one is twice as long.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries: an orchestrator that is back is found at once.
const RETRY_MAX: Duration = Duration::from_millis(250);

/// A client for large messages.
pub fn orchestrator(transport: Transport) -> Orchestrator {
    WorkServiceClient::new(transport)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// What a refused message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The lease is somebody else's now, or the task has ended.
    Lost,
    /// The same message can be accepted later.
    Later,
    /// A fault of the orchestrator: perhaps later.
    Perhaps,
    /// It is never accepted.
    Never,
}

impl Refusal {
    fn of(status: &Status) -> Self {
        // It was made here: nobody answered, or the connection broke before the answer.
        if std::error::Error::source(status).is_some() {
            return Self::Later;
        }
        match status.code() {
            Code::FailedPrecondition => Self::Lost,
            // Credentials that are not taken say nothing of the result: a clock may be off.
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Unauthenticated => {
                Self::Later
            }
            // A full disk says when to come back; a message that is too large does not.
            Code::ResourceExhausted if from_status(status).retry_after.is_some() => Self::Later,
            Code::Unknown | Code::Internal | Code::Cancelled => Self::Perhaps,
            _ => Self::Never,
        }
    }
}

/// Waits between tries.
#[derive(Debug)]
struct Retry(Duration);

impl Retry {
    fn new() -> Self {
        Self(RETRY_FIRST)
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::fault::{ErrorKind, Fault};
    use meta_proto::status::to_status;

    #[test]
    fn a_full_store_is_asked_again_and_a_message_too_large_is_not() {
        let full = Fault::new(ErrorKind::ResourceExhausted, "STORE_FULL", "no room")
            .retry_after(Duration::from_secs(5));
        assert_eq!(Refusal::of(&to_status(&full)), Refusal::Later);
        assert_eq!(Refusal::of(&Status::resource_exhausted("too large")), Refusal::Never);
        assert_eq!(Refusal::of(&Status::unauthenticated("not yet")), Refusal::Later);
        assert_eq!(Refusal::of(&Status::unknown("a panic")), Refusal::Perhaps);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let nobody = Status::from_error(Box::new(refused));
        assert_eq!(Refusal::of(&nobody), Refusal::Later, "a result outlives any broken line");
    }
}
