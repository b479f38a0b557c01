//! Approval gates: human decisions that a run waits for.

use crate::status::words;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// State of a gate. A gate is decided once.
    GateStatus {
        /// Waits for a human.
        Pending = "pending",
        /// Somebody approved.
        Approved = "approved",
        /// Somebody rejected.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

words! {
    /// What a human is asked.
    GateType {
        /// A verified patch that policy will not apply unasked.
        Patch = "patch",
        /// A security finding: approve means accept it and go on.
        Security = "security",
        /// A policy finding: approve means accept it and go on.
        Policy = "policy",
        /// A destructive or drifted migration.
        Migration = "migration",
        /// The platform is broken: approve means it is mended, try again.
        Infra = "infra",
        /// Nobody knows what failed: approve means try again.
        Unknown = "unknown",
        /// The step asks before it runs (`approval = "before"`).
        BeforeStep = "before_step",
    }
}

words! {
    /// What approving a gate does to its step.
    GateEffect {
        /// Apply the proposed patch, then run the step again.
        ApplyPatch = "apply_patch",
        /// Accept the finding: the step counts as passed.
        Accept = "accept",
        /// Run the step again.
        Retry = "retry",
        /// Let the step run for the first time.
        Start = "start",
    }
}
