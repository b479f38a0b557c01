//! The tables beside the log that an event changes.

use crate::core::event::RunEvent;
use crate::core::run::{Delta, Gate, Run};
use crate::store::builds::{PlanRow, next_version, put_plan};
use crate::store::flaky::put_flaky;
use crate::store::{FAILURE_TYPE_INSERT, GATE_DECIDE, GATE_INSERT, GATES_END};
use meta_domain::failure::FailureType;
use meta_domain::gate::GateStatus;
use meta_domain::id::GateId;
use meta_domain::plan::PlanGraph;
use meta_domain::time::Timestamp;
use meta_storage::{Error, Tx, on};

/// What an event changes there.
pub(super) enum IndexEntry<'a> {
    /// A step passed and failed on the same files.
    Flaky(&'a str),
    /// A failure was classified.
    Failure(FailureType),
    /// A gate opened.
    GateOpened(&'a Gate),
    /// A gate was decided, or is over.
    GateDecided(GateId, GateStatus),
    /// The plan changed.
    Replanned(&'a Delta, &'a PlanGraph),
    /// The run is over, and its gates with it.
    GatesEnded,
}

impl<'a> IndexEntry<'a> {
    /// What an event changes there, if anything.
    pub(super) fn of(event: &'a RunEvent) -> Option<Self> {
        match event {
            RunEvent::StepSucceeded { step, flaky: true, .. } => Some(Self::Flaky(step)),
            RunEvent::Classified { signal, .. } => Some(Self::Failure(signal.failure_type)),
            RunEvent::Escalated { gate, .. } | RunEvent::ApprovalRequested { gate } => {
                Some(Self::GateOpened(gate))
            }
            RunEvent::Replanned { delta, graph, .. } => Some(Self::Replanned(delta, graph)),
            RunEvent::Failed { .. } | RunEvent::Canceled { .. } => Some(Self::GatesEnded),
            other => other.gate_status().map(|(gate, status)| Self::GateDecided(gate, status)),
        }
    }

    /// Changes it.
    pub(super) async fn put(self, tx: &mut Tx, run: &Run, at: Timestamp) -> Result<(), Error> {
        match self {
            Self::Flaky(step) => put_flaky(tx, run, step, at).await,
            Self::Failure(of) => {
                let (sql, word) = (FAILURE_TYPE_INSERT.on(tx), of.as_str());
                on!(tx, |db| sqlx::query(sql)
                    .bind(run.id.0)
                    .bind(word)
                    .execute(db)
                    .await
                    .map(drop)?);
                Ok(())
            }
            Self::GateOpened(gate) => open_gate(tx, run, gate).await,
            Self::GateDecided(gate, status) => {
                let (sql, word) = (GATE_DECIDE.on(tx), status.as_str());
                on!(tx, |db| sqlx::query(sql)
                    .bind(word)
                    .bind(gate.0)
                    .execute(db)
                    .await
                    .map(drop)?);
                Ok(())
            }
            Self::Replanned(delta, graph) => {
                let version = next_version(tx, run.tenant, run.spec).await?;
                let plan = PlanRow {
                    id: delta.new_plan,
                    spec: run.spec,
                    version,
                    graph: graph.clone(),
                    created_at: delta.created_at,
                };
                put_plan(tx, run.tenant, &plan, true).await
            }
            Self::GatesEnded => {
                let sql = GATES_END.on(tx);
                on!(tx, |db| sqlx::query(sql).bind(run.id.0).execute(db).await.map(drop)?);
                Ok(())
            }
        }
    }
}

async fn open_gate(tx: &mut Tx, run: &Run, gate: &Gate) -> Result<(), Error> {
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
    Ok(())
}
