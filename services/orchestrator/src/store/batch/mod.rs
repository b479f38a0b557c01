//! Many runs' changes in one transaction and one call of the store.

mod index;
mod opening;
mod postgres;
mod rows;
mod sqlite;

pub(crate) use opening::Opening;
pub use rows::stored_events;

use super::{ARTIFACT_PUT, Tables, append};
use crate::core::audit::{Entry, of_event};
use crate::core::event::RunEvent;
use crate::core::queue::Task;
use crate::core::run::Run;
use crate::core::work::Work;
use index::IndexEntry;
use meta_domain::id::{RunId, TaskId};
use meta_domain::time::Timestamp;
use meta_storage::{Error, Side, Tx, on};
use rows::Rows;
use sqlx::QueryBuilder;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// Rows that one statement takes: below the engines' limit of parameters.
const ROWS_MAX: usize = 128;

/// A run's row.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// As it is now.
    pub run: Arc<Run>,
    /// The revision that it was read at; 0 for a new one.
    pub rev: i64,
    /// The caller's id of the request that made it.
    pub request_id: Option<String>,
    /// Keep the run as it is now, so that its events need not be read from the start.
    pub keep: bool,
}

/// An event's row.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Whose.
    pub run: Arc<Run>,
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub event: RunEvent,
}

/// What a batch stores.
#[derive(Debug, Default)]
pub struct Writes {
    /// Each run once.
    pub runs: Vec<RunRow>,
    /// In the order of their numbers.
    pub events: Vec<EventRow>,
    /// Tasks that are new or changed.
    pub tasks: Vec<Task>,
    /// Tasks that are over.
    pub gone: Vec<TaskId>,
    /// Artifacts to put: whose, name and content.
    pub artifacts: Vec<(RunId, String, Vec<u8>)>,
    /// What goes on record.
    pub audit: Vec<Entry>,
}

impl Writes {
    /// Whether there is nothing to store.
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.tasks.is_empty() && self.gone.is_empty()
    }

    /// Adds what storing a run takes that was changed.
    pub fn add(&mut self, work: &Work) {
        self.runs.push(RunRow {
            run: Arc::clone(&work.run),
            rev: work.rev,
            request_id: work.request_id.clone(),
            keep: work.is_milestone(),
        });
        let first = work.run.seq + 1 - work.events.len() as u64;
        for (n, (at, event)) in work.events.iter().enumerate() {
            self.audit.extend(of_event(&work.run, *at, event, work.asked_by(n)));
        }
        for (seq, (at, event)) in (first..).zip(&work.events) {
            let run = Arc::clone(&work.run);
            self.events.push(EventRow { run, seq, at: *at, event: event.clone() });
        }
        self.tasks.extend(work.put().cloned());
        self.gone.extend(work.gone());
        let of_run = |(name, body): &(String, Vec<u8>)| (work.run.id, name.clone(), body.clone());
        self.artifacts.extend(work.artifacts.iter().map(of_run));
    }
}

/// The revisions of runs, which stay as they are until the transaction ends. Runs that do not exist
/// are missing.
pub(crate) async fn lock(tx: &mut Tx, ids: &[RunId]) -> Result<HashMap<RunId, i64>, Error> {
    let shared = matches!(tx, Tx::Postgres(_));
    let mut revs = HashMap::with_capacity(ids.len());
    for part in ids.chunks(ROWS_MAX) {
        let rows: Vec<(Uuid, i64)> = on!(tx, |db| {
            let mut query = QueryBuilder::new("SELECT id, rev FROM runs WHERE id IN (");
            let mut list = query.separated(", ");
            for id in padded(part) {
                list.push_bind(id.0);
            }
            query.push(")");
            if shared {
                query.push(" ORDER BY id FOR UPDATE");
            }
            query.build_query_as().fetch_all(db).await?
        });
        revs.extend(rows.into_iter().map(|(id, rev)| (RunId(id), rev)));
    }
    Ok(revs)
}

/// The same ids, the last one again and again up to a power of two: few different statements, all
/// of them prepared once.
fn padded(part: &[RunId]) -> impl Iterator<Item = &RunId> {
    let size = part.len().next_power_of_two();
    part.iter().chain(part.last().into_iter().cycle()).take(size)
}

impl Tables {
    /// Stores a batch and ends the transaction, in one call of the store where it can be. False when
    /// a run changed since it was read, or another process made one for the same request: then
    /// nothing is changed.
    ///
    /// # Errors
    /// When the store fails; nothing is changed then, or after [`Error::Unreachable`] all of it may be.
    pub(crate) async fn store(&self, opening: Opening, writes: &Writes) -> Result<bool, Error> {
        if writes.is_empty() {
            // nobody is told of nothing
            if let Some(tx) = opening.begun() {
                tx.rollback().await?;
            }
            return Ok(true);
        }
        let done = match opening.begun() {
            None if self.is_of_one_call(writes) => self.write_at_once(writes).await,
            None => self.write_in(self.begin().await?, writes).await,
            Some(tx) => self.write_in(tx, writes).await,
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_null_violation() || error.is_unique_violation() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write_in(&self, mut tx: Tx, writes: &Writes) -> Result<(), Error> {
        match self.write(&mut tx, writes).await {
            Ok(()) => self.commit(tx).await,
            Err(error) => {
                tx.rollback().await?;
                Err(error)
            }
        }
    }

    /// Stores a batch, and on PostgreSQL tells the other processes of it once it is committed. A
    /// run that changed since it was read violates that its revision is not null.
    pub(super) async fn write(&self, tx: &mut Tx, writes: &Writes) -> Result<(), Error> {
        #[cfg(feature = "faults")]
        self.faults.statement()?;
        let rows = Rows::of(writes)?;
        match tx.side() {
            Side::Sqlite(db) => sqlite::put(db, &rows).await?,
            Side::Postgres(db) => postgres::put(db, &rows, writes).await?,
        }
        self.tell_webhooks(tx, &rows).await?;
        for (run, name, body) in &writes.artifacts {
            let sql = ARTIFACT_PUT.on(tx);
            on!(tx, |db| sqlx::query(sql)
                .bind(run.0)
                .bind(name)
                .bind(body)
                .execute(db)
                .await
                .map(drop)?);
        }
        for row in &writes.events {
            if let Some(entry) = IndexEntry::of(&row.event) {
                entry.put(tx, &row.run, row.at).await?;
            }
        }
        self.ends.forget(writes.audit.iter().map(|entry| entry.tenant));
        // last, so that others wait for the end of a chain as shortly as can be
        append(tx, writes.audit.iter().cloned()).await
    }

    /// Whether a batch changes only what one call stores.
    fn is_of_one_call(&self, writes: &Writes) -> bool {
        writes.artifacts.is_empty()
            && (writes.audit.is_empty() || !self.is_shared())
            && (writes.events.is_empty() || !self.webhooks().anybody())
            && writes.events.iter().all(|row| IndexEntry::of(&row.event).is_none())
    }

    async fn write_at_once(&self, writes: &Writes) -> Result<(), Error> {
        #[cfg(feature = "faults")]
        self.faults.statement().and_then(|()| self.faults.call())?;
        let rows = Rows::of(writes)?;
        let Some(links) = self.links(&writes.audit).await? else {
            return self.write_in(self.begin().await?, writes).await;
        };
        let done = match self.engine.hold().await? {
            Side::Sqlite(held) => sqlite::put_alone(held, &rows, &links).await,
            Side::Postgres(held) => postgres::put_alone(held, &rows, writes).await,
        };
        match &done {
            Ok(()) => self.ends.put(&links),
            Err(_) => self.ends.forget(links.ends.keys().copied()),
        }
        done?;
        #[cfg(feature = "faults")]
        self.faults.committed()?;
        Ok(())
    }

    async fn tell_webhooks(&self, tx: &mut Tx, rows: &Rows<'_>) -> Result<(), Error> {
        if !self.webhooks().anybody() {
            return Ok(());
        }
        for part in rows.events.chunks(ROWS_MAX) {
            let written = part.iter().map(|c| {
                let run = &c.row.run;
                (run.tenant, run.id, c.row.seq, c.word.as_str())
            });
            let at = part[0].row.at;
            self.webhooks().tell(tx, written, at).await?;
        }
        Ok(())
    }
}
