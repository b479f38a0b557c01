//! Newtyped ids. All are UUIDs (version 7, made by the runtime), so they sort by creation time.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// An id that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a UUID (expected a form like 0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f)")]
pub struct MalformedId {
    /// What was given, cut to a printable length.
    pub value: String,
}

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| MalformedId { value: text.chars().take(64).collect() })
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

id! {
    /// A tenant, the isolation boundary.
    TenantId,
    /// A person or machine of a tenant.
    UserId,
    /// An API key.
    KeyId,
    /// What to build.
    SpecId,
    /// One immutable version of a plan.
    PlanId,
    /// One execution of a plan.
    RunId,
    /// A piece of work in the queue.
    TaskId,
    /// One turn of the auto-fix loop.
    AttemptId,
    /// A human decision.
    GateId,
    /// The record of a re-plan.
    DeltaId,
    /// Somebody who is told of a tenant's events.
    WebhookId,
}
