//! The orchestrator's tables, on either engine: the only place with SQL.

mod answers;
mod audit;
mod batch;
mod builds;
#[cfg(feature = "faults")]
mod faults;
mod flaky;
mod hear;
mod keys;
mod look;
pub(crate) mod queue;
mod quota;
mod retention;
mod runs;
mod sessions;
mod tenants;
#[cfg(test)]
mod tests;
mod verify;

pub use answers::{ANSWER_MS, KeptAnswer, KeyState, Slot};
pub use audit::AuditVerified;
pub(crate) use audit::append;
pub(crate) use batch::Opening;
pub(crate) use batch::lock;
pub use batch::{EventRow, RunRow, Writes, stored_events};
pub use builds::{PlanRow, SpecRow};
#[cfg(feature = "faults")]
pub use faults::{Faults, When};
pub use flaky::FlakyRow;
pub use hear::{Ear, Heard};
pub use keys::{KeyRow, NewKey};
pub use quota::Taken;
pub use runs::{ListRuns, Loaded, StoredEvent};
pub(crate) use runs::{load, of_request};
pub use sessions::{SessionOf, SessionRow};
pub use tenants::TenantRow;
pub use verify::Verified;

use crate::webhooks::WebhookStore;
use meta_storage::{Engine, Error, Location, Migrations, Read, Tx, statements};

statements! {
    TENANT_INSERT = "tenant_insert";
    TENANTS_AFTER = "tenants_after";
    TENANT_GET = "tenant_get";
    USER_INSERT = "user_insert";
    KEY_INSERT = "key_insert";
    KEY_BY_HASH = "key_by_hash";
    KEY_GET = "key_get";
    KEY_LIST = "key_list";
    KEY_REVOKE = "key_revoke";
    KEY_USED = "key_used";
    AUDIT_HEAD = "audit_head.sqlite" | "audit_head.postgres";
    AUDIT_HEAD_READ = "audit_head_read";
    AUDIT_HEAD_INSERT = "audit_head_insert";
    AUDIT_HEAD_SET = "audit_head_set";
    AUDIT_SOURCE = "audit_source";
    AUDIT_SOURCE_SET = "audit_source_set";
    AUDIT_BEFORE = "audit_before";
    AUDIT_AFTER = "audit_after";
    AUDIT_TENANTS = "audit_tenants";
    SPEC_INSERT = "spec_insert";
    SPEC_GET = "spec_get";
    SPECS_BEFORE = "specs_before";
    PLAN_INSERT = "plan_insert";
    PLAN_NEXT_VERSION = "plan_next_version";
    PLAN_GET = "plan_get";
    PLAN_LATEST = "plan_latest";
    RUN_GET = "run_get";
    RUN_REV = "run_rev";
    RUN_STANDING = "run_standing";
    RUN_STATUS = "run_status";
    RUN_OF_REQUEST = "run_of_request";
    RUN_OF_TENANT = "run_of_tenant";
    RUN_COUNT = "run_count";
    RUN_LIST = "run_list";
    EVENTS_AFTER = "events_after";
    ARTIFACT_GET = "artifact_get";
    ARTIFACT_PUT = "artifact_put";
    GATE_INSERT = "gate_insert";
    GATE_DECIDE = "gate_decide";
    GATES_END = "gates_end";
    GATE_RUN = "gate_run";
    GATES_OF_RUN = "gates_of_run";
    GATES_OF_STATUS = "gates_of_status";
    FAILURE_TYPE_INSERT = "failure_type_insert";
    FLAKY_PUT = "flaky_put";
    FLAKY_LIST = "flaky_list";
    FLAKY_STEPS = "flaky_steps";
    TASK_GET = "task_get";
    TASK_DELETE = "task_delete";
    TASK_LEASE = "task_lease";
    TASK_RELEASE = "task_release";
    TASK_HELD = "task_held";
    TASKS_OF_OWNER = "tasks_of_owner";
    TASKS_RENEW = "tasks_renew.sqlite" | "tasks_renew.postgres";
    INSPECTION_FINISH = "inspection_finish";
    INSPECTION_GET = "inspection_get";
    INSPECTION_DELETE = "inspection_delete";
    QUEUE_HELD = "queue_held";
    QUEUE_STATE = "queue_state";
    QUEUE_OWNERS = "queue_owners";
    QUEUE_OVERDUE = "queue_overdue";
    QUEUE_OVERDUE_LOOSE = "queue_overdue_loose";
    QUEUE_LEASED_RUNS = "queue_leased_runs";
    QUEUE_CANDIDATES = "queue_candidates.sqlite" | "queue_candidates.postgres";
    RUNS_OPEN = "runs_open";
    RUNS_ENDED_BEFORE = "runs_ended_before";
    PRUNE_RUN = "prune_run";
    PRUNING_BEGIN = "pruning_begin";
    PRUNING_END = "pruning_end";
    PRUNE_EVENTS = "prune_events";
    PRUNE_ARTIFACTS = "prune_artifacts";
    PRUNE_GATES = "prune_gates";
    PRUNE_FAILURE_TYPES = "prune_failure_types";
    PRUNE_TASKS = "prune_tasks";
    PRUNE_PLAN = "prune_plan";
    ANSWER_TAKE = "answer_take";
    ANSWER_GET = "answer_get";
    ANSWER_FINISH = "answer_finish";
    ANSWER_RELEASE = "answer_release";
    ANSWERS_PRUNE = "answers_prune";
    QUOTA_TAKE = "quota_take";
    QUOTA_EMPTY = "quota_empty";
    QUOTAS_PRUNE = "quotas_prune";
}

/// Everything durable of the orchestrator.
#[derive(Debug, Clone)]
pub struct Tables {
    engine: Engine,
    webhooks: WebhookStore,
    ends: audit::Ends,
    /// Which calls fail, in tests.
    #[cfg(feature = "faults")]
    pub faults: Faults,
}

impl Tables {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(location: &Location) -> Result<Self, Error> {
        let migrations = Migrations {
            sqlite: &sqlx::migrate!("migrations/sqlite"),
            postgres: &sqlx::migrate!("migrations/postgres"),
        };
        let engine = Engine::open(location, migrations).await?;
        let webhooks = WebhookStore::new(engine.clone());
        webhooks.refresh().await?;
        Ok(Self {
            engine,
            webhooks,
            ends: audit::Ends::default(),
            #[cfg(feature = "faults")]
            faults: Faults::default(),
        })
    }

    /// The webhooks, and what they are to be told.
    pub fn webhooks(&self) -> &WebhookStore {
        &self.webhooks
    }

    /// Whether other processes work on the same tables.
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// A write transaction.
    ///
    /// # Errors
    /// When it cannot be had in time.
    pub async fn begin(&self) -> Result<Tx, Error> {
        #[cfg(feature = "faults")]
        self.faults.call()?;
        self.engine.begin().await
    }

    /// Makes a transaction's changes durable.
    ///
    /// # Errors
    /// When it cannot. After [`Error::Unreachable`] the changes may be there or not.
    pub(crate) async fn commit(&self, tx: Tx) -> Result<(), Error> {
        #[cfg(feature = "faults")]
        self.faults.call()?;
        tx.commit().await?;
        #[cfg(feature = "faults")]
        self.faults.committed()?;
        Ok(())
    }

    /// The connections for reading.
    fn read(&self) -> Result<Read<'_>, Error> {
        #[cfg(feature = "faults")]
        self.faults.call()?;
        Ok(self.engine.read())
    }

    /// Closes it.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

fn corrupt(table: &'static str, id: impl std::fmt::Display, e: impl std::fmt::Display) -> Error {
    Error::CorruptRow { table, id: id.to_string(), problem: e.to_string() }
}

fn json<T: serde::Serialize>(table: &'static str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| corrupt(table, "new", e))
}

/// A count or number that the schema keeps as a signed one.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Back again; negative is as good as nothing.
fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
