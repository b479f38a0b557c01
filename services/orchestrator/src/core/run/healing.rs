//! What the fixers of one decision do to a step.

use crate::core::evidence::Evidence;
use meta_domain::autofix::{FixerCommand, FixerKind, Strategy};
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A patch with its measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// As `git diff --binary` prints it.
    pub text: String,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Files it touches.
    pub files: u32,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// The fixers of one decision, and how far they got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Healing {
    /// Best first.
    pub fixers: Vec<FixerCommand>,
    /// Which one is at work.
    pub next: usize,
    /// Why these were chosen.
    pub reason: String,
    /// What is being done with it.
    pub phase: Phase,
    /// Its patch, from the review on.
    pub patch: Option<Patch>,
    /// Why a human has to approve the patch, when one has to.
    pub approval: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// What the verification showed.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// Everything that the guard said of the patch.
    #[serde(default)]
    pub guard_reasons: Vec<String>,
    /// How much a human should mind the patch, 0 to 100.
    #[serde(default)]
    pub risk: u32,
    /// Tokens that the fixer's model took.
    #[serde(default)]
    pub tokens: u64,
    /// When this fixer began.
    #[serde(default = "long_ago")]
    pub since: Timestamp,
}

fn long_ago() -> Timestamp {
    Timestamp(0)
}

impl Healing {
    /// A healing that begins with the first fixer.
    pub fn new(fixers: Vec<FixerCommand>, reason: String, since: Timestamp) -> Self {
        let mut healing = Self {
            fixers,
            next: 0,
            reason,
            phase: Phase::Proposing,
            patch: None,
            approval: None,
            approved_by: None,
            evidence: None,
            guard_reasons: Vec::new(),
            risk: 0,
            tokens: 0,
            since,
        };
        healing.phase = healing.first_phase();
        healing
    }

    /// Goes on with the next fixer; answers whether there is one.
    pub fn go_on(&mut self, since: Timestamp) -> bool {
        let fixers = std::mem::take(&mut self.fixers);
        let (next, reason) = (self.next + 1, std::mem::take(&mut self.reason));
        *self = Self { next, ..Self::new(fixers, reason, since) };
        self.phase = self.first_phase();
        self.next < self.fixers.len()
    }

    fn first_phase(&self) -> Phase {
        match self.fixer().map(|f| f.kind) {
            Some(FixerKind::Model) => Phase::Collecting,
            Some(FixerKind::Script) | None => Phase::Proposing,
        }
    }

    /// The strategy that its fixer at work stands for.
    pub fn strategy(&self) -> Strategy {
        match self.fixer().map(|f| f.kind) {
            Some(FixerKind::Model) => Strategy::RegenerateCode,
            Some(FixerKind::Script) | None => Strategy::FixSpecificIssue,
        }
    }

    /// The fixer at work.
    pub fn fixer(&self) -> Option<&FixerCommand> {
        self.fixers.get(self.next)
    }
}

/// What is being done with a fixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A model's files are read from the workspace.
    Collecting,
    /// A model is asked for edits.
    Drafting,
    /// It changes a copy of the workspace.
    Proposing,
    /// The patch guard looks at its patch.
    Reviewing,
    /// The step is executed with the patch in a second copy.
    Verifying,
    /// The patch is committed to the run's workspace.
    Committing,
}
