//! What several processes on one PostgreSQL tell each other.

use super::{Tables, Writes};
use meta_domain::id::RunId;
use meta_storage::sqlx::postgres::PgListener;
use meta_storage::{Engine, Error};
use std::time::Duration;

/// The channel.
pub(super) const CHANNEL: &str = "metabuilder_orchestrator";
/// Runs named in one message; of more, everybody looks for themselves.
const NAMED_MAX: usize = 100;
/// What a message says that names no runs.
const ANY: &str = "*";
/// What a message says that is about the queue alone.
const QUEUE: &str = "queue";
/// Wait before a lost connection is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// These runs changed, and perhaps the queue.
    Runs(Vec<RunId>),
    /// Something changed.
    Queue,
    /// The connection was lost and is back: whatever was said meanwhile was missed.
    Again,
}

/// A connection that hears.
pub struct Ear {
    listener: PgListener,
}

impl Ear {
    /// Waits for the next message, whatever it takes; nothing once the tables are closed, which
    /// waits for this connection.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            match self.listener.try_recv().await {
                Ok(Some(message)) => return Some(read(message.payload())),
                Ok(None) => return Some(Heard::Again),
                Err(meta_storage::sqlx::Error::PoolClosed) => return None,
                Err(error) => {
                    tracing::warn!(%error, "cannot hear other orchestrators; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn read(payload: &str) -> Heard {
    let ids: Result<Vec<RunId>, _> = payload.split(' ').map(str::parse).collect();
    match ids {
        Ok(ids) => Heard::Runs(ids),
        Err(_) if payload == ANY => Heard::Again,
        Err(_) => Heard::Queue,
    }
}

impl Tables {
    /// Hears what other processes change; nothing where there are none.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn listen(&self) -> Result<Option<Ear>, Error> {
        let Engine::Postgres(server) = &self.engine else { return Ok(None) };
        let mut listener = PgListener::connect_with(server.pool()).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(Ear { listener }))
    }
}

/// What the other processes are told of a batch.
pub(super) fn message(writes: &Writes) -> String {
    match writes.runs.len() {
        0 => QUEUE.to_owned(),
        1..=NAMED_MAX => {
            let ids: Vec<String> = writes.runs.iter().map(|r| r.run.id.to_string()).collect();
            ids.join(" ")
        }
        _ => ANY.to_owned(),
    }
}
