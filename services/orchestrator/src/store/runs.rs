//! Runs as they are read: a row, and the events after what its body holds.

use super::queue::{TaskRow, tasks_of};
use super::{
    ARTIFACT_GET, EVENTS_AFTER, GATE_RUN, GATES_OF_STATUS, RUN_COUNT, RUN_GET, RUN_LIST,
    RUN_OF_REQUEST, RUN_OF_TENANT, RUN_REV, RUN_STANDING, Tables, corrupt, signed, unsigned,
};
use crate::core::apply::apply;
use crate::core::event::RunEvent;
use crate::core::queue::Task;
use crate::core::run::Run;
use crate::core::workspace::Standing;
use meta_domain::failure::FailureType;
use meta_domain::gate::GateStatus;
use meta_domain::id::{GateId, RunId, SpecId, TenantId};
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};
use sqlx::FromRow;
use uuid::Uuid;

/// Events read at once to bring a run up to date.
const REPLAY_MAX: i64 = 1_000_000;

/// A run with its tasks, as of one revision.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The run.
    pub run: Run,
    /// Counts every change of it or its tasks.
    pub rev: i64,
    /// Its tasks.
    pub tasks: Vec<Task>,
}

/// An event as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Dense, from 1.
    pub seq: u64,
    /// Its type word.
    pub event_type: String,
    /// Its step.
    pub step: String,
    /// When.
    pub at: Timestamp,
    /// The event as JSON, without its type.
    pub body: String,
}

impl StoredEvent {
    /// What happened.
    ///
    /// # Errors
    /// When the body is not that of such an event.
    pub fn event(&self) -> Result<RunEvent, serde_json::Error> {
        let rest = self.body.strip_prefix('{').unwrap_or_default();
        let comma = if rest == "}" { "" } else { "," };
        serde_json::from_str(&format!("{{\"type\":\"{}\"{comma}{rest}", self.event_type))
    }
}

#[derive(FromRow)]
struct EventAsRead {
    seq: i64,
    r#type: String,
    step: String,
    at: i64,
    body: String,
}

impl From<EventAsRead> for StoredEvent {
    fn from(row: EventAsRead) -> Self {
        Self {
            seq: unsigned(row.seq),
            event_type: row.r#type,
            step: row.step,
            at: Timestamp(row.at),
            body: row.body,
        }
    }
}

#[derive(FromRow)]
struct RunAsRead {
    seq: i64,
    rev: i64,
    body: String,
    body_seq: i64,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListRuns {
    /// Only of this status.
    pub status: Option<RunStatus>,
    /// Only of this spec.
    pub spec: Option<SpecId>,
    /// Only created after this.
    pub created_after: i64,
    /// Only with such a failure.
    pub failure_type: Option<FailureType>,
    /// Only before this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
    /// After skipping so many.
    pub offset: u32,
}

impl Tables {
    /// A run by id, whoever it belongs to.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, Error> {
        let read = self.read()?;
        let sql = RUN_GET.on(&read);
        let row: Option<RunAsRead> =
            on!(read, |db| sqlx::query_as(sql).bind(id.0).fetch_optional(db).await?);
        let Some(row) = row else { return Ok(None) };
        let first = row.start(id)?;
        let after = first.as_ref().map_or(0, |r| r.seq);
        if after > 0 && after == unsigned(row.seq) {
            return Ok(first);
        }
        let events = self.events(id, after, REPLAY_MAX).await?;
        replay(id, first, &events).map(Some)
    }

    /// The revision of a run.
    pub async fn rev(&self, id: RunId) -> Result<Option<i64>, Error> {
        let read = self.read()?;
        let sql = RUN_REV.on(&read);
        Ok(on!(read, |db| sqlx::query_scalar(sql).bind(id.0).fetch_optional(db).await?))
    }

    /// How a run stands, as far as its workspace goes.
    pub async fn standing(&self, id: RunId) -> Result<Standing, Error> {
        let read = self.read()?;
        let sql = RUN_STANDING.on(&read);
        let row: Option<(Option<i64>, i64)> =
            on!(read, |db| sqlx::query_as(sql).bind(id.0).fetch_optional(db).await?);
        Ok(match row {
            None => Standing::Unknown,
            Some((Some(at), 0)) => Standing::Ended(Timestamp(at)),
            Some(_) => Standing::Needed,
        })
    }

    /// A run as of its event `until`, built from its event log alone.
    pub async fn rebuilt(&self, id: RunId, until: u64) -> Result<Run, Error> {
        let events = self.events(id, 0, signed(until)).await?;
        replay(id, None, &events)
    }

    /// Ids of a tenant's runs, newest first, and how many there are without the page.
    pub async fn runs(
        &self,
        tenant: TenantId,
        list: &ListRuns,
    ) -> Result<(Vec<RunId>, u64), Error> {
        let status = list.status.map(RunStatus::as_str).unwrap_or_default();
        let failure = list.failure_type.map(FailureType::as_str).unwrap_or_default();
        let spec = list.spec.map(|s| s.0);
        let read = self.read()?;
        let sql = RUN_COUNT.on(&read);
        let total: i64 = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(status)
            .bind(spec)
            .bind(list.created_after)
            .bind(failure)
            .fetch_one(db)
            .await?);
        let read = self.read()?;
        let sql = RUN_LIST.on(&read);
        let ids: Vec<Uuid> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(status)
            .bind(spec)
            .bind(list.created_after)
            .bind(failure)
            .bind(list.before.map(|b| b.0))
            .bind(i64::from(list.limit))
            .bind(i64::from(list.offset))
            .fetch_all(db)
            .await?);
        Ok((ids.into_iter().map(Into::into).collect(), unsigned(total)))
    }

    /// Events after `after`, at most `limit`.
    pub async fn events(
        &self,
        run: RunId,
        after: u64,
        limit: i64,
    ) -> Result<Vec<StoredEvent>, Error> {
        let read = self.read()?;
        let sql = EVENTS_AFTER.on(&read);
        let rows: Vec<EventAsRead> = on!(read, |db| sqlx::query_as(sql)
            .bind(run.0)
            .bind(signed(after))
            .bind(limit)
            .fetch_all(db)
            .await?);
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// An artifact of a run.
    pub async fn artifact(&self, run: RunId, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let read = self.read()?;
        let sql = ARTIFACT_GET.on(&read);
        Ok(on!(read, |db| sqlx::query_scalar(sql)
            .bind(run.0)
            .bind(name)
            .fetch_optional(db)
            .await?))
    }

    /// The run that a tenant's gate belongs to.
    pub async fn run_of_gate(
        &self,
        tenant: TenantId,
        gate: GateId,
    ) -> Result<Option<RunId>, Error> {
        let read = self.read()?;
        let sql = GATE_RUN.on(&read);
        let id: Option<Uuid> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(gate.0)
            .fetch_optional(db)
            .await?);
        Ok(id.map(Into::into))
    }

    /// Whether a tenant has a run of that id.
    pub async fn has_run(&self, tenant: TenantId, id: RunId) -> Result<bool, Error> {
        let read = self.read()?;
        let sql = RUN_OF_TENANT.on(&read);
        let found: Option<Uuid> = on!(read, |db| sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(id.0)
            .fetch_optional(db)
            .await?);
        Ok(found.is_some())
    }

    /// Runs of a tenant with gates of a status, oldest gate first, at most 500 gates.
    pub async fn runs_with_gates(
        &self,
        tenant: TenantId,
        status: GateStatus,
    ) -> Result<Vec<(RunId, GateId)>, Error> {
        let read = self.read()?;
        let sql = GATES_OF_STATUS.on(&read);
        let rows: Vec<(Uuid, Uuid)> = on!(read, |db| sqlx::query_as(sql)
            .bind(tenant.0)
            .bind(status.as_str())
            .fetch_all(db)
            .await?);
        Ok(rows.into_iter().map(|(run, gate)| (run.into(), gate.into())).collect())
    }
}

impl RunAsRead {
    /// What the body holds, if it holds anything.
    fn start(&self, id: RunId) -> Result<Option<Run>, Error> {
        if self.body_seq == 0 {
            return Ok(None);
        }
        serde_json::from_str(&self.body).map(Some).map_err(|e| corrupt("runs", id, e))
    }
}

/// The run that a tenant's request made, if it made one.
pub(crate) async fn of_request(
    tx: &mut Tx,
    tenant: TenantId,
    request: &str,
) -> Result<Option<RunId>, Error> {
    let sql = RUN_OF_REQUEST.on(tx);
    let id: Option<Uuid> = on!(tx, |db| sqlx::query_scalar(sql)
        .bind(tenant.0)
        .bind(request)
        .fetch_optional(db)
        .await?);
    Ok(id.map(Into::into))
}

/// A run with its tasks, read where it is locked. What is known of it already need not be read.
pub(crate) async fn load(
    tx: &mut Tx,
    id: RunId,
    known: Option<Run>,
) -> Result<Option<Loaded>, Error> {
    let sql = RUN_GET.on(tx);
    let row: Option<RunAsRead> =
        on!(tx, |db| sqlx::query_as(sql).bind(id.0).fetch_optional(db).await?);
    let Some(row) = row else { return Ok(None) };
    let known = known.filter(|k| k.seq >= unsigned(row.body_seq));
    let first = match known {
        Some(known) => Some(known),
        None => row.start(id)?,
    };
    let after = first.as_ref().map_or(0, |r| r.seq);
    let sql = EVENTS_AFTER.on(tx);
    let events: Vec<EventAsRead> = on!(tx, |db| sqlx::query_as(sql)
        .bind(id.0)
        .bind(signed(after))
        .bind(REPLAY_MAX)
        .fetch_all(db)
        .await?);
    let events: Vec<StoredEvent> = events.into_iter().map(Into::into).collect();
    let run = replay(id, first, &events)?;
    let rows: Vec<TaskRow> = tasks_of(tx, id).await?;
    let tasks = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
    Ok(Some(Loaded { run, rev: row.rev, tasks }))
}

/// Applies events to what came before them; the first event of all makes the run.
fn replay(id: RunId, first: Option<Run>, events: &[StoredEvent]) -> Result<Run, Error> {
    let mut run = first;
    for stored in events {
        let event = stored.event().map_err(|e| corrupt("events", id, e))?;
        match (&mut run, &event) {
            (None, RunEvent::Created { run: created }) => {
                let mut made = (**created).clone();
                apply(&mut made, &event, stored.at);
                run = Some(made);
            }
            (None, _) => return Err(corrupt("events", id, "the log does not begin with the run")),
            (Some(run), event) => apply(run, event, stored.at),
        }
        let seq = run.as_ref().map_or(0, |r| r.seq);
        if seq != stored.seq {
            let problem = format!("event {} follows {}", stored.seq, seq.saturating_sub(1));
            return Err(corrupt("events", id, problem));
        }
    }
    run.ok_or_else(|| corrupt("events", id, "the log is empty"))
}
