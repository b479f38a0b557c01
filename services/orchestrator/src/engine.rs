//! Load, decide, commit: every change of a run goes through here.

use crate::core::apply::apply;
use crate::core::event::RunEvent;
use crate::core::invariants;
use crate::core::run::Run;
use crate::core::transition::{Context, Input, Transition, transition};
use crate::logs::Logs;
use crate::store::{Finish, Stored, Tables};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TenantId};
use meta_runtime::{new_id, now};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often a transition is tried again when somebody else changed the run in between.
const CONFLICT_TRIES_MAX: usize = 20;
/// How long a waiter sleeps at most before it looks again, for changes by other processes.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The durable runs and what tells of their changes.
#[derive(Clone)]
pub struct Engine {
    /// Tables.
    pub tables: Tables,
    /// Logs.
    pub logs: Logs,
    changed: Arc<watch::Sender<u64>>,
    /// Canceled when the process stops: nothing may wait for changes any longer.
    pub stopping: CancellationToken,
}

impl Engine {
    /// An engine over open tables.
    pub fn new(tables: Tables, logs: Logs) -> Self {
        let changed = Arc::new(watch::Sender::new(0));
        Self { tables, logs, changed, stopping: CancellationToken::new() }
    }

    /// A receiver that sees every change made by this process.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells waiters that something changed.
    pub fn notify(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Waits for a change, `limit`, or the look-again interval.
    pub async fn wait(changes: &mut watch::Receiver<u64>, limit: Duration) {
        let limit = limit.min(LOOK_AGAIN);
        // A timeout is as good as a change; a closed channel means the engine is gone, and the
        // caller finds out by its next read.
        let _ = tokio::time::timeout(limit, changes.changed()).await;
    }

    /// Stores a new run and starts it. A request id that was used before gives the first run.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create(&self, run: Run, request_id: Option<&str>) -> Result<Run, Fault> {
        let at = now();
        let created = RunEvent::Created { run: Box::new(run.clone()) };
        let mut first = run;
        apply(&mut first, &created, at);
        let mut next = decide(&first, Input::Start, at)?;
        next.events.insert(0, created);
        let id = self.tables.insert_run(&next, request_id, at, new_id).await?;
        self.notify();
        self.load(id).await
    }

    /// Changes a run: load, decide, commit; again when somebody else was first.
    ///
    /// # Errors
    /// When the input does not fit the run's state, the lease is lost, or the store fails.
    pub async fn advance(&self, id: RunId, input: Input, finish: Finish) -> Result<Run, Fault> {
        for _ in 0..CONFLICT_TRIES_MAX {
            let run = self.load(id).await?;
            let at = now();
            let next = decide(&run, input.clone(), at)?;
            match self.tables.commit(run.seq, &next, &finish, at, new_id).await? {
                Stored::Done => {
                    self.notify();
                    return Ok(next.run);
                }
                Stored::Conflict => {}
                Stored::LeaseLost => return Err(lease_lost()),
            }
        }
        let text = format!("run {id} changes too fast; try again");
        Err(Fault::new(ErrorKind::Conflict, "RUN_CHANGED", text))
    }

    /// A run by id.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn load(&self, id: RunId) -> Result<Run, Fault> {
        self.tables.run(id).await?.ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", id))
    }

    /// A tenant's run; another tenant's is not found.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn load_of(&self, tenant: TenantId, id: RunId) -> Result<Run, Fault> {
        let run = self.load(id).await?;
        if run.tenant == tenant {
            Ok(run)
        } else {
            Err(Fault::not_found("RUN_NOT_FOUND", "run", id))
        }
    }
}

fn decide(run: &Run, input: Input, at: meta_domain::time::Timestamp) -> Result<Transition, Fault> {
    let context = Context { now: at, ids: [new_id(), new_id(), new_id(), new_id()] };
    let next = transition(run, input, &context)?;
    if let Some(name) = invariants::broken(&next.run) {
        tracing::error!(run = %run.id, invariant = name, "refusing a transition");
        return Err(Fault::new(
            ErrorKind::Internal,
            "INVARIANT_BROKEN",
            format!("a transition of run {} would break {name}", run.id),
        ));
    }
    Ok(next)
}

/// Whoever waited is told to ask again, elsewhere or later.
pub fn stopping() -> Fault {
    let text = "the orchestrator is stopping; ask again from where you are";
    Fault::new(ErrorKind::Unavailable, "STOPPING", text)
}

/// The caller's lease is over.
pub fn lease_lost() -> Fault {
    Fault::new(
        ErrorKind::FailedPrecondition,
        "LEASE_LOST",
        "the task was canceled or is leased to somebody else",
    )
}
