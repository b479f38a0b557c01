//! What is refused here goes on record at the orchestrator, in batches. Of one credential that tries
//! the same again and again, a batch tells once, and how often it was.

use crate::auth;
use crate::peers::Peers;
use meta_proto::orchestrator as pb;
use meta_runtime::auth::{Denial, machine_call};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often what was refused is told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Different refusals of one batch; more are counted with the last of their credential, or lost.
const KINDS_MAX: usize = 500;
/// Different refusals of one credential in a batch.
const KINDS_OF_ONE_MAX: usize = 10;
/// How long telling may take.
const TELL_LIMIT: Duration = Duration::from_secs(10);

/// What was refused and not told yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Denials(Arc<Mutex<Batch>>);

#[derive(Debug, Default)]
struct Batch {
    /// By credential and what it wanted, each with how many more there were.
    kinds: HashMap<(String, String), (Denial, u32)>,
    /// How many kinds there are of each credential, and which was the last.
    of_one: HashMap<String, (usize, String)>,
    lost: u64,
}

impl Denials {
    /// Notes that something was refused.
    pub(crate) fn tell(&self, denial: Denial) {
        let mut batch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        batch.note(denial);
    }

    /// Tells the orchestrator, until the process stops.
    pub(crate) async fn run(self, peers: Peers, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(TELL_EVERY)).await.is_some() {
            self.flush(&peers).await;
        }
        self.flush(&peers).await;
    }

    async fn flush(&self, peers: &Peers) {
        let batch = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if batch.lost > 0 {
            tracing::warn!(lost = batch.lost, "refused calls came too fast to be put on record");
        }
        if batch.kinds.is_empty() {
            return;
        }
        let denials = batch.kinds.into_values().map(encode).collect();
        let message = machine_call(TELL_LIMIT, pb::RecordDenialsRequest { denials });
        let mut audit = peers.audit();
        if let Err(problem) = auth::ask_within(TELL_LIMIT, audit.record_denials(message)).await {
            tracing::error!(?problem, "refused calls could not be put on record");
        }
    }
}

impl Batch {
    fn note(&mut self, denial: Denial) {
        let who = format!("{}\n{}", denial.caller.principal.tenant, denial.caller.credential);
        let key = (who.clone(), denial.action.clone());
        if let Some((_, more)) = self.kinds.get_mut(&key) {
            *more = more.saturating_add(1);
            return;
        }
        let full = self.kinds.len() >= KINDS_MAX;
        let (kinds, last) = self.of_one.get(&who).cloned().unwrap_or_default();
        if full || kinds >= KINDS_OF_ONE_MAX {
            match self.kinds.get_mut(&(who, last)) {
                Some((_, more)) => *more = more.saturating_add(1),
                None => self.lost += 1,
            }
            return;
        }
        self.of_one.insert(who, (kinds + 1, denial.action.clone()));
        self.kinds.insert(key, (denial, 0));
    }
}

fn encode((denial, more): (Denial, u32)) -> pb::Denial {
    pb::Denial {
        caller: Some((&denial.caller).into()),
        action: denial.action,
        object: denial.object,
        reason: denial.reason,
        request_id: denial.request_id,
        trace_id: denial.trace_id,
        more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::role::{Identity, Principal, Role};

    fn denial(credential: &str, action: &str) -> Denial {
        let tenant = meta_domain::id::TenantId(uuid::Uuid::from_u128(1));
        let who = Principal { tenant, role: Role::Viewer, actor: "ann".to_owned() };
        Denial {
            caller: Identity { credential: credential.to_owned(), ..Identity::from(who) },
            action: action.to_owned(),
            object: String::new(),
            reason: "no".to_owned(),
            request_id: String::new(),
            trace_id: String::new(),
        }
    }

    #[test]
    fn a_flood_becomes_a_few_entries_and_none_of_it_is_lost() {
        let mut batch = Batch::default();
        for n in 0..10_000 {
            batch.note(denial("key:1", &format!("GET /{}", n % 100)));
        }
        batch.note(denial("key:2", "GET /1"));
        assert_eq!(batch.kinds.len(), KINDS_OF_ONE_MAX + 1);
        let told: u32 = batch.kinds.values().map(|(_, more)| more + 1).sum();
        assert_eq!((told, batch.lost), (10_001, 0));
    }

    #[test]
    fn a_flood_of_many_credentials_has_an_end_as_well() {
        let mut batch = Batch::default();
        for n in 0..2_000 {
            batch.note(denial(&format!("key:{n}"), "GET /"));
        }
        assert_eq!(batch.kinds.len(), KINDS_MAX);
        assert_eq!(batch.lost, 1_500);
    }
}
