//! Many runs' changes in one transaction, a handful of statements for all of them.

use super::builds::{PlanRow, next_version, put_plan};
use super::flaky::put_flaky;
use super::{
    ARTIFACT_PUT, FAILURE_TYPE_INSERT, GATE_DECIDE, GATE_INSERT, GATES_END, Tables, append,
    corrupt, json, signed,
};
use crate::core::audit::{Entry, of_event};
use crate::core::event::RunEvent;
use crate::core::queue::Task;
use crate::core::run::Run;
use crate::core::work::Work;
use crate::webhooks::WebhookStore;
use meta_domain::id::{RunId, TaskId};
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
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
/// are missing, and with `skip` those that another process is changing.
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
    /// Stores a batch. False when a run changed since it was read: then nothing may be committed.
    pub(crate) async fn write(&self, tx: &mut Tx, writes: &Writes) -> Result<bool, Error> {
        #[cfg(feature = "faults")]
        self.faults.statement()?;
        if !put_runs(tx, &writes.runs).await? {
            return Ok(false);
        }
        put_events(tx, &writes.events, self.webhooks()).await?;
        delete_tasks(tx, &writes.gone).await?;
        put_tasks(tx, &writes.tasks).await?;
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
            put_index(tx, &row.run, &row.event, row.at).await?;
        }
        // last, so that others wait for the end of a chain as shortly as can be
        append(tx, writes.audit.iter().cloned()).await?;
        Ok(true)
    }
}

async fn put_runs(tx: &mut Tx, runs: &[RunRow]) -> Result<bool, Error> {
    for part in runs.chunks(ROWS_MAX) {
        let mut rows = Vec::with_capacity(part.len());
        for row in part {
            let body = if row.keep { json("runs", &*row.run)? } else { String::new() };
            rows.push((row, body));
        }
        let changed = on!(tx, |db| {
            let mut query = QueryBuilder::new(
                "INSERT INTO runs (id, tenant_id, spec_id, status, seq, rev, body, body_seq, \
                 request_id, created_at, finished_at) ",
            );
            query.push_values(&rows, |mut values, (row, body)| {
                let run = &row.run;
                values
                    .push_bind(run.id.0)
                    .push_bind(run.tenant.0)
                    .push_bind(run.spec.0)
                    .push_bind(run.status.as_str())
                    .push_bind(signed(run.seq))
                    .push_bind(row.rev + 1)
                    .push_bind(body)
                    .push_bind(if row.keep { signed(run.seq) } else { 0 })
                    .push_bind(&row.request_id)
                    .push_bind(run.created_at.0)
                    .push_bind(run.finished_at.map(|t| t.0));
            });
            query.push(
                " ON CONFLICT (id) DO UPDATE SET status = excluded.status, seq = excluded.seq, \
                 rev = excluded.rev, finished_at = excluded.finished_at, \
                 body = CASE WHEN excluded.body_seq > 0 THEN excluded.body ELSE runs.body END, \
                 body_seq = CASE WHEN excluded.body_seq > 0 THEN excluded.body_seq \
                 ELSE runs.body_seq END WHERE runs.rev = excluded.rev - 1",
            );
            query.build().execute(db).await?.rows_affected()
        });
        if changed != part.len() as u64 {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn put_events(
    tx: &mut Tx,
    events: &[EventRow],
    webhooks: &WebhookStore,
) -> Result<(), Error> {
    for part in events.chunks(ROWS_MAX) {
        let mut rows = Vec::with_capacity(part.len());
        for row in part {
            rows.push((row, encoded(&row.event, row.run.id)?));
        }
        on!(tx, |db| {
            let mut query =
                QueryBuilder::new("INSERT INTO events (run_id, seq, type, step, at, body) ");
            query.push_values(&rows, |mut values, (row, (word, body))| {
                values
                    .push_bind(row.run.id.0)
                    .push_bind(signed(row.seq))
                    .push_bind(word)
                    .push_bind(row.event.step())
                    .push_bind(row.at.0)
                    .push_bind(body);
            });
            query.build().execute(db).await.map(drop)?;
        });
        if let Some((first, _)) = rows.first().filter(|_| webhooks.anybody()) {
            let written = rows
                .iter()
                .map(|(row, (word, _))| (row.run.tenant, row.run.id, row.seq, word.as_str()));
            webhooks.tell(tx, written, first.at).await?;
        }
    }
    Ok(())
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

async fn delete_tasks(tx: &mut Tx, gone: &[TaskId]) -> Result<(), Error> {
    for part in gone.chunks(ROWS_MAX) {
        on!(tx, |db| {
            let mut query = QueryBuilder::new("DELETE FROM tasks WHERE id IN (");
            let mut list = query.separated(", ");
            let size = part.len().next_power_of_two();
            for id in part.iter().chain(part.last().into_iter().cycle()).take(size) {
                list.push_bind(id.0);
            }
            query.push(")");
            query.build().execute(db).await.map(drop)?;
        });
    }
    Ok(())
}

pub(super) async fn put_tasks(tx: &mut Tx, tasks: &[Task]) -> Result<(), Error> {
    for part in tasks.chunks(ROWS_MAX) {
        on!(tx, |db| {
            let mut query = QueryBuilder::new(
                "INSERT INTO tasks (id, tenant_id, run_id, kind, step, internal, sharing, due_at, \
                 state, owner, epoch, lease_until, tries, priority, labels, avoid, payload, result) ",
            );
            query.push_values(part, |mut values, task| {
                values
                    .push_bind(task.id.0)
                    .push_bind(task.tenant.0)
                    .push_bind(task.run.map(|r| r.0))
                    .push_bind(task.kind.as_str())
                    .push_bind(&task.step)
                    .push_bind(i64::from(task.kind.is_internal()))
                    .push_bind(task.sharing.as_str())
                    .push_bind(task.due.0)
                    .push_bind(task.state.as_str())
                    .push_bind(&task.owner)
                    .push_bind(task.epoch)
                    .push_bind(task.lease_until.0)
                    .push_bind(task.tries)
                    .push_bind(i64::from(task.priority))
                    .push_bind(&task.labels)
                    .push_bind(&task.avoid)
                    .push_bind(&task.payload)
                    .push_bind("");
            });
            query.push(
                " ON CONFLICT (id) DO UPDATE SET sharing = excluded.sharing, \
                 due_at = excluded.due_at, state = excluded.state, owner = excluded.owner, \
                 epoch = excluded.epoch, tries = excluded.tries, priority = excluded.priority, \
                 lease_until = CASE WHEN excluded.epoch = tasks.epoch \
                 AND excluded.state IN ('leased', 'dropped') \
                 AND tasks.lease_until > excluded.lease_until \
                 THEN tasks.lease_until ELSE excluded.lease_until END",
            );
            query.build().execute(db).await.map(drop)?;
        });
    }
    Ok(())
}

/// The tables beside the log that an event changes.
async fn put_index(tx: &mut Tx, run: &Run, event: &RunEvent, at: Timestamp) -> Result<(), Error> {
    match event {
        RunEvent::StepSucceeded { step, flaky: true, .. } => put_flaky(tx, run, step, at).await?,
        RunEvent::Classified { signal, .. } => {
            let (sql, word) = (FAILURE_TYPE_INSERT.on(tx), signal.failure_type.as_str());
            on!(tx, |db| sqlx::query(sql).bind(run.id.0).bind(word).execute(db).await.map(drop)?);
        }
        RunEvent::Escalated { gate, .. } | RunEvent::ApprovalRequested { gate } => {
            let sql = GATE_INSERT.on(tx);
            on!(tx, |db| sqlx::query(sql)
                .bind(run.tenant.0)
                .bind(gate.id.0)
                .bind(run.id.0)
                .bind(gate.status.as_str())
                .bind(gate.created_at.0)
                .execute(db)
                .await
                .map(drop)?);
        }
        RunEvent::ApprovalGranted { .. }
        | RunEvent::ApprovalRejected { .. }
        | RunEvent::GateExpired { .. }
        | RunEvent::GateSuperseded { .. } => {
            if let Some((gate, status)) = event.gate_status() {
                let sql = GATE_DECIDE.on(tx);
                on!(tx, |db| sqlx::query(sql)
                    .bind(status.as_str())
                    .bind(gate.0)
                    .execute(db)
                    .await
                    .map(drop)?);
            }
        }
        RunEvent::Replanned { delta, graph, .. } => {
            let version = next_version(tx, run.tenant, run.spec).await?;
            let plan = PlanRow {
                id: delta.new_plan,
                spec: run.spec,
                version,
                graph: graph.clone(),
                created_at: delta.created_at,
            };
            put_plan(tx, run.tenant, &plan, true).await?;
        }
        RunEvent::Failed { .. } | RunEvent::Canceled { .. } => {
            let sql = GATES_END.on(tx);
            on!(tx, |db| sqlx::query(sql).bind(run.id.0).execute(db).await.map(drop)?);
        }
        _ => {}
    }
    Ok(())
}
