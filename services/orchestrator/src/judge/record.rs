//! Tells the auto-fixer what came of a fixer. Told at least once; the key makes it count once.

use super::{Judge, PEER_TIMEOUT, peer};
use crate::core::transition::{FixOutcome, Told};
use crate::core::queue::Task;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::role::{Principal, Role};
use meta_proto::autofixer as apb;
use meta_runtime::call;

impl Judge {
    pub(super) async fn record(&mut self, task: &Task) -> Result<(), Fault> {
        let told: Told = serde_json::from_str(&task.payload)
            .map_err(|e| Fault::new(ErrorKind::NotFound, "BAD_RECORD", e.to_string()))?;
        let caller =
            Principal { tenant: task.tenant, role: Role::Admin, actor: "orchestrator".to_owned() };
        let request = apb::RecordOutcomeRequest {
            key: told.key,
            signal: Some(told.signal.into()),
            fixer: told.fixer,
            outcome: on_the_wire(told.outcome).into(),
            patch: told.patch.into_bytes(),
            duration_ms: told.duration_ms,
            tokens: told.tokens,
        };
        let request = call(&caller, PEER_TIMEOUT, request);
        self.autofixer.record_outcome(request).await.map_err(peer("autofixer"))?;
        Ok(())
    }
}

fn on_the_wire(outcome: FixOutcome) -> apb::FixOutcome {
    match outcome {
        FixOutcome::Accepted => apb::FixOutcome::Accepted,
        FixOutcome::Approved => apb::FixOutcome::Approved,
        FixOutcome::Rejected => apb::FixOutcome::Rejected,
        FixOutcome::VerifyFail => apb::FixOutcome::VerifyFail,
        FixOutcome::GuardReject => apb::FixOutcome::GuardReject,
        FixOutcome::NoChange => apb::FixOutcome::NoChange,
        FixOutcome::FixerError => apb::FixOutcome::FixerError,
        FixOutcome::Reverted => apb::FixOutcome::Reverted,
    }
}
