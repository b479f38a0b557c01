//! Compares a run's tables with its event log.

use super::runs::load;
use super::{GATES_OF_RUN, RUN_STATUS, Tables, unsigned};
use crate::core::invariants;
use crate::core::queue::TaskState;
use meta_domain::id::RunId;
use meta_storage::{Error, on};
use uuid::Uuid;

/// What a comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Events read.
    pub events: u64,
    /// What does not fit.
    pub problems: Vec<String>,
}

impl Tables {
    /// Builds a run again from its log alone and compares that with the tables, as of one instant.
    ///
    /// # Errors
    /// When the store fails; a log that cannot be read is a problem, not an error.
    pub async fn verify(&self, id: RunId) -> Result<Verified, Error> {
        let mut found = Verified::default();
        let mut tx = self.begin().await?;
        let stored = load(&mut tx, id, None).await;
        let sql = RUN_STATUS.on(&tx);
        let row: Option<(String, i64)> =
            on!(tx, |db| sqlx::query_as(sql).bind(id.0).fetch_optional(db).await?);
        let sql = GATES_OF_RUN.on(&tx);
        let gates: Vec<(Uuid, String)> =
            on!(tx, |db| sqlx::query_as(sql).bind(id.0).fetch_all(db).await?);
        tx.rollback().await?;
        let Some((status, seq)) = row else {
            found.problems.push("there is no such run".to_owned());
            return Ok(found);
        };
        found.events = unsigned(seq);
        let mut say = |problem: String| found.problems.push(problem);
        let rebuilt = match self.rebuilt(id, unsigned(seq)).await {
            Ok(rebuilt) => rebuilt,
            Err(error @ Error::CorruptRow { .. }) => {
                say(format!("the log cannot be replayed: {error}"));
                return Ok(found);
            }
            Err(error) => return Err(error),
        };
        if rebuilt.seq != unsigned(seq) {
            say(format!("the log ends with event {}, the table says {seq}", rebuilt.seq));
        }
        if rebuilt.status.as_str() != status {
            say(format!("the log says {}, the table says {status}", rebuilt.status));
        }
        match stored {
            Ok(Some(loaded)) => {
                if loaded.run != rebuilt {
                    say("the kept state is another one than the log comes to".to_owned());
                }
                let at_work = |t: &&crate::core::queue::Task| {
                    matches!(t.state, TaskState::Ready | TaskState::Waiting | TaskState::Leased)
                };
                let tasks = loaded.tasks.iter().filter(at_work).count();
                let active = rebuilt.steps.iter().filter(|s| s.is_active()).count();
                if rebuilt.status.is_terminal() && !rebuilt.rolling_back && tasks > 0 {
                    say(format!("it has ended, and {tasks} tasks are in the queue"));
                }
                if tasks < active {
                    say(format!("{active} steps are active, and {tasks} tasks are in the queue"));
                }
            }
            Ok(None) => say("there is no such run".to_owned()),
            Err(error) => say(format!("the kept state cannot be read: {error}")),
        }
        for gate in &rebuilt.gates {
            let row = gates.iter().find(|(id, _)| *id == gate.id.0);
            match row {
                Some((_, status)) if *status == gate.status.as_str() => {}
                Some((_, status)) => {
                    say(format!(
                        "gate {}: the log says {}, the table says {status}",
                        gate.id, gate.status
                    ));
                }
                None => say(format!("gate {} is not in the table", gate.id)),
            }
        }
        if let Some(name) = invariants::broken(&rebuilt) {
            say(format!("{name} does not hold"));
        }
        Ok(found)
    }
}
