//! The tasks of a run, and how they share its workspace.

use meta_domain::status::words;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

words! {
    /// What a task of a run does.
    TaskKind {
        /// Read a source for the planner (belongs to a spec).
        Inspect = "inspect",
        /// Make the workspace.
        Prepare = "prepare",
        /// Execute a step.
        Step = "step",
        /// Classify a failure and decide.
        Judge = "judge",
        /// Let a fixer change a copy.
        Propose = "propose",
        /// Let the guard look at a patch.
        Review = "review",
        /// Execute the step with a patch in a second copy.
        Verify = "verify",
        /// Commit a patch to the workspace.
        Commit = "commit",
        /// Take the workspace back.
        Rollback = "rollback",
        /// Read files of the workspace for a model.
        Collect = "collect",
        /// Ask a model for edits.
        Draft = "draft",
        /// Tell the auto-fixer what came of a fixer (belongs to no run).
        Record = "record",
        /// Decide a gate that nobody decided in time.
        Expire = "expire",
        /// End a run that did not end in its time.
        Deadline = "deadline",
    }
}

impl TaskKind {
    /// Whether the orchestrator itself carries it out.
    pub fn is_internal(self) -> bool {
        match self {
            Self::Judge
            | Self::Review
            | Self::Draft
            | Self::Record
            | Self::Expire
            | Self::Deadline => true,
            Self::Inspect
            | Self::Prepare
            | Self::Step
            | Self::Propose
            | Self::Verify
            | Self::Commit
            | Self::Rollback
            | Self::Collect => false,
        }
    }
}

words! {
    /// How a task uses the run's workspace.
    Sharing {
        /// Not at all.
        None = "none",
        /// Beside others.
        Shared = "shared",
        /// Alone.
        Exclusive = "exclusive",
    }
}
