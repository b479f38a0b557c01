//! What has to be done because of a transition.

use super::{Sharing, TaskKind};
use meta_domain::signal::Signal;
use meta_domain::status::words;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What has to be done because of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Put a task into the queue.
    Enqueue {
        /// What it does.
        kind: TaskKind,
        /// For which step; empty for the run itself.
        step: String,
        /// Not before.
        due: Timestamp,
        /// How it uses the workspace.
        sharing: Sharing,
        /// Rather not on this runner; empty means on any.
        avoid: String,
    },
    /// Tell the auto-fixer what came of a fixer.
    Tell(Box<Told>),
    /// Remove all tasks of the run; runners are told to stop theirs.
    DropTasks,
    /// The same for those of one step.
    DropTasksOf {
        /// The step.
        step: String,
    },
}

/// What came of a fixer, for the auto-fixer's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Unique for what is said.
    pub key: String,
    /// The failure.
    pub signal: Signal,
    /// Id of the fixer.
    pub fixer: String,
    /// What came of it.
    pub outcome: FixOutcome,
    /// The patch; empty when there was none.
    pub patch: String,
    /// How long fixer and verification took.
    pub duration_ms: u64,
    /// Tokens that its model took.
    pub tokens: u64,
}

words! {
    /// What came of a fixer's patch.
    FixOutcome {
        /// Verified and committed.
        Accepted = "accepted",
        /// A human approved it.
        Approved = "approved",
        /// A human rejected it.
        Rejected = "rejected",
        /// The step still failed with it.
        VerifyFail = "verify_fail",
        /// The guard refused it.
        GuardReject = "guard_reject",
        /// There was no patch.
        NoChange = "no_change",
        /// The fixer could not work.
        FixerError = "fixer_error",
        /// It was committed and taken back later.
        Reverted = "reverted",
    }
}
