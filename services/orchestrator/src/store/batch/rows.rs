//! What both engines store of a batch, encoded once.

use super::super::{StoredEvent, corrupt, json, signed};
use super::{EventRow, RunRow, Writes};
use crate::core::event::RunEvent;
use crate::core::queue::Task;
use crate::core::work::Work;
use meta_domain::id::{RunId, TaskId};
use meta_domain::time::Timestamp;
use meta_storage::Error;

/// A batch in columns.
pub(super) struct Rows<'a> {
    pub(super) runs: Vec<RunColumns<'a>>,
    pub(super) events: Vec<EventColumns<'a>>,
    pub(super) tasks: &'a [Task],
    pub(super) gone: &'a [TaskId],
}

/// A run, with its body where it is to be kept; else with none, of the number 0.
pub(super) struct RunColumns<'a> {
    pub(super) row: &'a RunRow,
    pub(super) body: String,
    pub(super) body_seq: i64,
}

/// An event, its type apart from the rest of it as JSON.
pub(super) struct EventColumns<'a> {
    pub(super) row: &'a EventRow,
    pub(super) word: String,
    pub(super) body: String,
}

impl<'a> Rows<'a> {
    /// Encodes a batch.
    ///
    /// # Errors
    /// When something of it cannot be encoded.
    pub(super) fn of(writes: &'a Writes) -> Result<Self, Error> {
        let run = |row: &'a RunRow| {
            let body = if row.keep { json("runs", &*row.run)? } else { String::new() };
            let body_seq = if row.keep { signed(row.run.seq) } else { 0 };
            Ok(RunColumns { row, body, body_seq })
        };
        let event = |row: &'a EventRow| {
            let (word, body) = encoded(&row.event, row.run.id)?;
            Ok(EventColumns { row, word, body })
        };
        Ok(Self {
            runs: writes.runs.iter().map(run).collect::<Result<_, Error>>()?,
            events: writes.events.iter().map(event).collect::<Result<_, Error>>()?,
            tasks: &writes.tasks,
            gone: &writes.gone,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.runs.len() + self.events.len() + self.tasks.len() + self.gone.len()
    }
}

/// A change's events as they are read again.
pub fn stored_events(work: &Work) -> Vec<StoredEvent> {
    let first = work.run.seq + 1 - work.events.len() as u64;
    let stored = |(seq, (at, event)): (u64, &(Timestamp, RunEvent))| {
        // it was stored, so it can be encoded; a watcher would read what is left out from the tables
        let (event_type, body) = encoded(event, work.run.id).ok()?;
        Some(StoredEvent { seq, event_type, step: event.step().to_owned(), at: *at, body })
    };
    (first..).zip(&work.events).filter_map(stored).collect()
}

/// An event's type, and the rest of it as JSON. The type is always written first.
fn encoded(event: &RunEvent, run: RunId) -> Result<(String, String), Error> {
    let text = serde_json::to_string(event).map_err(|e| corrupt("events", run, e))?;
    let parts = text.strip_prefix("{\"type\":\"").and_then(|rest| rest.split_once('"'));
    let Some((word, rest)) = parts else {
        return Err(corrupt("events", run, "an event has no type"));
    };
    Ok((word.to_owned(), format!("{{{}", rest.strip_prefix(',').unwrap_or(rest))))
}
