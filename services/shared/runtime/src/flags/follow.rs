//! Following the flag-resolver's stream, and writing down what it said.

use super::{Flags, Keeper, Kept};
use crate::clock::{jitter, now};
use crate::transport::Transport;
use meta_domain::fault::InvalidField;
use meta_domain::settings::SnapshotChange;
use meta_domain::time::Timestamp;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::flags::{WatchSnapshotRequest, WatchSnapshotResponse};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the stream may be silent before it counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The first pause before following again, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Flags {
    /// Keeps the memory up to date until told to stop. With a file, what it holds serves until the
    /// flag-resolver is heard, and what is heard is written there.
    pub async fn follow(self, peer: Transport, file: Option<PathBuf>, stop: CancellationToken) {
        let mut keeper = Keeper::new(file);
        if let Some(Kept { heard_at, snapshot }) = keeper.recall().await {
            tracing::info!(version = snapshot.version, %heard_at, "recalled the settings");
            self.take(snapshot, heard_at);
        }
        let mut client = FlagsServiceClient::new(peer)
            .max_decoding_message_size(meta_domain::limits::MESSAGE_BYTES_MAX);
        let mut pause = PAUSE;
        loop {
            let heard = tokio::select! {
                heard = self.listen(&mut client, &mut keeper) => heard,
                () = stop.cancelled() => break,
            };
            if heard.said_something {
                pause = PAUSE;
            }
            tracing::warn!(problem = heard.problem, "the flag-resolver is not heard");
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(1.0 + jitter())) => {}
                () = stop.cancelled() => break,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        keeper.keep(self.version(), || self.known()).await;
    }

    fn version(&self) -> u64 {
        self.snapshot().version
    }

    /// What is worth being kept, once anything is known.
    fn known(&self) -> Option<Kept> {
        self.is_ready().then(|| self.kept())
    }

    /// Follows one stream to its end.
    async fn listen(
        &self,
        client: &mut FlagsServiceClient<Transport>,
        keeper: &mut Keeper,
    ) -> Heard {
        let mut heard = Heard { said_something: false, problem: String::new() };
        let opening = client.watch_snapshot(tonic::Request::new(WatchSnapshotRequest {}));
        let mut stream = match timeout(SILENCE_MAX, opening).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return heard.because(status.to_string()),
            Err(_) => return heard.because("it does not answer".to_owned()),
        };
        let mut parts: Option<SnapshotChange> = None;
        loop {
            let part = match timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(part))) => part,
                Ok(Ok(None)) => return heard.because("its stream ended".to_owned()),
                Ok(Err(status)) => return heard.because(status.to_string()),
                Err(_) => return heard.because("it fell silent".to_owned()),
            };
            let more = part.more;
            let at = heard_at(&part);
            match joined(parts.take(), part) {
                Ok(change) if more => parts = Some(change),
                Ok(change) => {
                    heard.said_something = true;
                    self.say(change, at);
                    keeper.keep_when_due(self.version(), || self.known()).await;
                }
                Err(fault) => return heard.because(format!("what it says is not valid: {fault}")),
            }
        }
    }

    /// Takes in what was said; a mere sign of life changes only the time.
    fn say(&self, change: SnapshotChange, at: Timestamp) {
        if change.reset || change.version != *self.0.versions.borrow() {
            self.take(change, at);
        } else {
            self.hear(at);
        }
    }
}

/// How a stream ended.
struct Heard {
    said_something: bool,
    problem: String,
}

impl Heard {
    fn because(self, problem: String) -> Self {
        Self { problem, ..self }
    }
}

/// When the store was heard by whoever says this.
fn heard_at(part: &WatchSnapshotResponse) -> Timestamp {
    now().plus_ms(i64::try_from(part.stale_ms).unwrap_or(i64::MAX).saturating_neg())
}

fn joined(
    before: Option<SnapshotChange>,
    part: WatchSnapshotResponse,
) -> Result<SnapshotChange, InvalidField> {
    let part = SnapshotChange::try_from(part)?;
    Ok(match before {
        None => part,
        Some(mut before) => {
            before.overrides.extend(part.overrides);
            before
        }
    })
}
