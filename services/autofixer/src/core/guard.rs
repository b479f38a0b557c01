//! The patch guard: what a patch may do, read from its text alone, before anything runs.
//!
//! Deny wins. Every rejection and every question names the path and the reason.

mod content;
pub(super) mod paths;
mod suppressions;
mod tests_kept;

use super::patch::{Patch, sha256};
use meta_domain::autofix::{FixerCommand, FixerSafety, GuardVerdict, PathGrant};
use meta_domain::failure::FailureType;
use meta_domain::plan::{ApprovalMode, PlannedStep};

/// Files that a patch may touch unless its fixer's grant says otherwise.
pub const FILES_MAX: u32 = 50;
/// Lines that a patch may change unless its fixer's grant says otherwise.
pub const LINES_MAX: u32 = 500;

/// What a patch is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchPolicy {
    /// Paths that the plan lists as writable.
    pub writable: Vec<String>,
    /// What the fixer may change beyond the default.
    pub grant: PathGrant,
    /// How far the fixer is trusted.
    pub safety: FixerSafety,
    /// What the patch is meant to heal.
    pub failure_type: FailureType,
    /// Whether the step asks before any patch is applied.
    pub approval_on_fix: bool,
    /// Hashes of patches that already failed against this failure.
    pub refused: Vec<String>,
}

impl PatchPolicy {
    /// The policy for a fixer's patch for a step.
    pub fn new(fixer: &FixerCommand, step: &PlannedStep, failure_type: FailureType) -> Self {
        Self {
            writable: step.writable.clone(),
            grant: fixer.grant.clone(),
            safety: fixer.safety,
            failure_type,
            approval_on_fix: step.approval == ApprovalMode::OnFix,
            refused: Vec::new(),
        }
    }
}

/// How much a patch changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatchStats {
    /// Files it touches.
    pub files: u32,
    /// Lines it adds.
    pub added: u32,
    /// Lines it removes.
    pub removed: u32,
    /// SHA-256 of its text, in hex.
    pub sha256: String,
}

/// The guard's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The verdict with its reason.
    pub verdict: GuardVerdict,
    /// How much the patch changes; zero where it cannot be read.
    pub stats: PatchStats,
}

/// Reviews a patch in the form of `git diff --binary`.
pub fn review(patch: &str, policy: &PatchPolicy) -> Review {
    let mut stats = PatchStats { sha256: sha256(patch), ..PatchStats::default() };
    let parsed = match Patch::parse(patch) {
        Ok(parsed) => parsed,
        Err(error) => {
            let reason = format!("the patch cannot be read: {error}");
            return Review { verdict: GuardVerdict::Reject { reason }, stats };
        }
    };
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    stats.files = count(parsed.files.len());
    stats.added = count(parsed.files.iter().map(|f| f.added.len()).sum());
    stats.removed = count(parsed.files.iter().map(|f| f.removed.len()).sum());
    let verdict = match rejection(&parsed, &stats, policy) {
        Some(reason) => GuardVerdict::Reject { reason },
        None => match question(&parsed, policy) {
            Some(reason) => GuardVerdict::NeedsApproval { reason },
            None => GuardVerdict::Accept,
        },
    };
    Review { verdict, stats }
}

/// Why a patch is thrown away.
fn rejection(patch: &Patch, stats: &PatchStats, policy: &PatchPolicy) -> Option<String> {
    if patch.files.is_empty() {
        return Some("the patch changes nothing".to_owned());
    }
    if policy.refused.contains(&stats.sha256) {
        return Some("the same patch was already tried on this failure".to_owned());
    }
    paths::problem(patch, policy)
        .or_else(|| size_problem(stats, policy))
        .or_else(|| content::problem(patch))
        .or_else(|| suppressions::problem(patch))
        .or_else(|| tests_kept::problem(patch, policy))
}

fn size_problem(stats: &PatchStats, policy: &PatchPolicy) -> Option<String> {
    let limit = |granted: u32, default: u32| if granted == 0 { default } else { granted };
    let files_max = limit(policy.grant.files_max, FILES_MAX);
    let lines_max = limit(policy.grant.lines_max, LINES_MAX);
    let lines = stats.added.saturating_add(stats.removed);
    if stats.files > files_max {
        Some(format!("the patch touches {} files (at most {files_max})", stats.files))
    } else if lines > lines_max {
        Some(format!("the patch changes {lines} lines (at most {lines_max})"))
    } else {
        None
    }
}

/// Why a human has to look at a patch that breaks no rule.
fn question(patch: &Patch, policy: &PatchPolicy) -> Option<String> {
    let first = patch.files.first().map(super::patch::FilePatch::path).unwrap_or_default();
    if policy.approval_on_fix {
        return Some(format!("the step asks before any patch is applied ({first})"));
    }
    if policy.safety == FixerSafety::ApprovalAlways {
        return Some(format!("patches of this fixer always need a human ({first})"));
    }
    let modes_only = patch.files.iter().all(|f| f.added.is_empty() && f.removed.is_empty());
    if policy.failure_type == FailureType::Security && !modes_only {
        return Some(format!("a patch for a security finding needs a human ({first})"));
    }
    let formatting = policy.safety == FixerSafety::Safe || modes_only;
    if policy.failure_type == FailureType::Policy && !formatting {
        return Some(format!("a patch for a policy finding needs a human ({first})"));
    }
    content::question(patch, policy.safety)
}

#[cfg(test)]
mod tests;
