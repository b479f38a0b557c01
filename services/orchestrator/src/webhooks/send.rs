//! Sends what the outbox holds.

use super::http::{self, Http, SEND_LIMIT};
use super::store::{Claimed, WebhookStore};
use crate::core::webhook::envelope::{CONTENT_TYPE, message_id};
use crate::core::webhook::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::core::webhook::{Happened, Next, SigningKey, envelope, next, sign};
use crate::store::Tables;
use futures::future::BoxFuture;
use meta_domain::fault::Fault;
use meta_domain::id::{RunId, TenantId};
use meta_domain::time::Timestamp;
use meta_runtime::{jitter, now};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Messages on their way at once.
const SENT_AT_ONCE: usize = 64;
/// Of these, messages to one receiver.
const SENT_TO_ONE: i64 = 4;
/// How long a message is in hand before its sender is taken for dead, in milliseconds.
const LEASE_MS: i64 = 30_000;
/// How long to wait at most before the outbox and the webhooks are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a message that was given up is kept, in milliseconds.
const DEAD_KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// How often it is looked for messages that were given up long ago.
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 200;

const _: () = assert!(LEASE_MS as u128 > SEND_LIMIT.as_millis());

/// Reads an event of a run: the log is the only copy.
pub type Events = Arc<
    dyn Fn(TenantId, RunId, u64) -> BoxFuture<'static, Result<Option<Happened>, Fault>>
        + Send
        + Sync,
>;

/// Reads events from the log.
pub fn events_of(tables: Tables) -> Events {
    Arc::new(move |tenant, run, seq| {
        let tables = tables.clone();
        Box::pin(async move {
            let found = tables.events(run, seq.saturating_sub(1), 1).await?;
            let found = found.into_iter().find(|event| event.seq == seq);
            Ok(found.map(|event| Happened {
                tenant,
                run,
                seq,
                event_type: event.event_type,
                step: event.step,
                at: event.at,
                body: event.body,
            }))
        })
    })
}

/// The task that sends.
#[derive(Clone)]
pub struct Sender {
    /// The outbox.
    pub store: WebhookStore,
    /// What happened.
    pub events: Events,
    /// The way out.
    pub http: Http,
    /// What signs.
    pub key: SigningKey,
}

impl Sender {
    /// Sends until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut sending = JoinSet::new();
        let mut forget = tokio::time::interval(FORGET_EVERY);
        let mut refresh = tokio::time::interval(LOOK_AGAIN);
        loop {
            let wait = match self.start(&mut sending).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "cannot read the outbox");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = sending.join_next() => told(ended),
                () = tokio::time::sleep(wait) => {}
                _ = refresh.tick() => {
                    if let Err(error) = self.store.refresh().await {
                        tracing::warn!(%error, "cannot read the webhooks");
                    }
                }
                _ = forget.tick() => self.forget(now()).await,
            }
        }
        // Each ends in its own time limit; whoever is killed before is sent again.
        while let Some(ended) = sending.join_next().await {
            told(ended);
        }
    }

    /// Starts what is due, as far as there is room; answers how long nothing else is.
    async fn start(&self, sending: &mut JoinSet<()>) -> Result<Duration, meta_storage::Error> {
        let at = now();
        let due = match self.store.next_due().await? {
            Some(due) if due <= at => due,
            Some(due) => return Ok(Duration::from_millis(due.since_ms(at)).min(LOOK_AGAIN)),
            None => return Ok(LOOK_AGAIN),
        };
        let room = i64::try_from(SENT_AT_ONCE.saturating_sub(sending.len())).unwrap_or(0);
        if room == 0 {
            return Ok(LOOK_AGAIN);
        }
        let lease = (at, at.plus_ms(LEASE_MS));
        let claimed = self.store.claim(lease, room, SENT_TO_ONE).await?;
        tracing::debug!(%due, messages = claimed.len(), "sending");
        let full = claimed.is_empty();
        for message in claimed {
            let sender = self.clone();
            sending.spawn(async move { sender.deliver(message).await });
        }
        // What is left is due to a receiver that has enough on its way: its answers wake us.
        Ok(if full { LOOK_AGAIN } else { Duration::ZERO })
    }

    async fn deliver(&self, message: Claimed) {
        let done = match self.send(&message).await {
            Ok(Some(next)) => self.record(&message, next).await,
            Ok(None) => self.store.done(&message).await.map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        if let Err(error) = done {
            // It is due again when its lease is over.
            let (webhook, run) = (message.webhook, message.run);
            tracing::warn!(%error, %webhook, %run, seq = message.seq, "a delivery is not recorded");
        }
    }

    /// Sends a message; `None` when there is nobody or nothing left to tell.
    async fn send(&self, message: &Claimed) -> Result<Option<Next>, Fault> {
        let Some(url) = self.store.url(message.webhook).await? else { return Ok(None) };
        let happened = (self.events)(message.tenant, message.run, message.seq).await?;
        let Some(happened) = happened else { return Ok(None) };
        let body = envelope(&happened).to_string().into_bytes();
        let id = message_id(message.run, message.seq);
        let at = now().0.div_euclid(1000);
        let signature = sign(&self.key.secret_of(message.webhook), &id, at, &body);
        let at = at.to_string();
        let pairs =
            [(ID_HEADER, id.as_str()), (TIMESTAMP_HEADER, &at), (SIGNATURE_HEADER, &signature)];
        let headers = http::headers(CONTENT_TYPE, pairs).map_err(|e| {
            let kind = meta_domain::fault::ErrorKind::Internal;
            Fault::new(kind, "INTERNAL", e.to_string())
        })?;
        let answer = self.http.post(&url, headers, body).await;
        Ok(Some(next(&answer, message.tries, jitter())))
    }

    async fn record(&self, message: &Claimed, next: Next) -> Result<(), Fault> {
        let (webhook, at) = (message.webhook, now());
        let short = |why: String| why.chars().take(REASON_CHARS_MAX).collect::<String>();
        match next {
            Next::Delivered => self.store.done(message).await?,
            Next::Again { after_ms, why } => {
                let (why, due) = (short(why), at.plus_ms(after_ms));
                tracing::info!(%webhook, tries = message.tries, why, "a delivery failed");
                self.store.put_back(message, Some(due), at, &why).await?;
            }
            Next::Dead { why } => {
                let why = short(why);
                tracing::warn!(%webhook, tries = message.tries, why, "a message is given up");
                self.store.put_back(message, None, at, &why).await?;
            }
            Next::Disable { why } => {
                tracing::warn!(%webhook, why, "a webhook is disabled");
                self.store.disable(webhook, at, &why).await?;
            }
        }
        Ok(())
    }

    async fn forget(&self, at: Timestamp) {
        match self.store.forget(at.plus_ms(-DEAD_KEPT_MS)).await {
            Ok(0) => {}
            Ok(messages) => tracing::info!(messages, "removed messages that were given up"),
            Err(error) => tracing::warn!(%error, "cannot remove old messages"),
        }
    }
}

fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a delivery panicked");
    }
}
