//! The patch guard: what a patch may do, read from its text alone, before anything runs.
//!
//! Deny wins. Every rejection and every question names the path and the reason. A patch is judged by
//! where it writes (`paths`), what it writes (`content`, `suppressions`, `evasion`, `manifests`),
//! what it does to tests (`tests_kept`) and to the check itself (`executed`). Where the files are
//! known as they were before, `sides` reads them whole; else it reads the hunks.

mod content;
mod evasion;
mod executed;
mod lexer;
pub(super) mod manifests;
pub(super) mod paths;
mod sides;
mod suppressions;
pub(super) mod tests_kept;

use super::decide::{given_up, repeats};
use super::evidence;
use super::patch::{FilePatch, Patch, sha256};
use meta_domain::autofix::{
    Case, FixerCommand, FixerKind, FixerSafety, GuardVerdict, PathGrant, SourceFile,
};
use meta_domain::failure::FailureType;
use meta_domain::plan::{ApprovalMode, Command, PlannedStep};
use meta_domain::signal::Signal;

/// Files that a patch may touch unless its fixer's grant says otherwise.
pub const FILES_MAX: u32 = 50;
/// Lines that a patch may change unless its fixer's grant says otherwise.
pub const LINES_MAX: u32 = 500;
/// Commits of the loop in a row, without a human's, from which on a human looks at each patch.
pub const BOT_COMMITS_MAX: u32 = 3;

/// What a patch is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchPolicy {
    /// Paths that the plan lists as writable.
    pub writable: Vec<String>,
    /// What the fixer may change beyond the default.
    pub grant: PathGrant,
    /// How far the fixer is trusted.
    pub safety: FixerSafety,
    /// How its change is made.
    pub kind: FixerKind,
    /// What the patch is meant to heal.
    pub failure_type: FailureType,
    /// Whether the step asks before any patch is applied.
    pub approval_on_fix: bool,
    /// What the step executes.
    pub command: Option<Command>,
    /// Files that the failure names, as it prints them.
    pub located: Vec<String>,
    /// Hashes of patches that already failed against this failure.
    pub refused: Vec<String>,
    /// Commits of the loop in a row under this patch.
    pub bot_commits_in_a_row: u32,
    /// The touched files before the patch, where they are known.
    pub before: Vec<SourceFile>,
}

impl PatchPolicy {
    /// The policy for a fixer's patch for a step.
    pub fn new(fixer: &FixerCommand, step: &PlannedStep, signal: &Signal) -> Self {
        Self {
            writable: step.writable.clone(),
            grant: fixer.grant.clone(),
            safety: fixer.safety,
            kind: fixer.kind,
            failure_type: signal.failure_type,
            approval_on_fix: step.approval == ApprovalMode::OnFix,
            command: Some(step.run.clone()),
            located: signal.locations.iter().map(|l| l.file.clone()).collect(),
            refused: Vec::new(),
            bot_commits_in_a_row: 0,
            before: Vec::new(),
        }
    }

    /// The same with what the case's past and its signal say about `patch`.
    #[must_use]
    pub fn for_case(mut self, case: &Case, patch: &str) -> Self {
        self.located.extend(evidence::located_files(case));
        self.refused = given_up(case);
        let hash = sha256(patch);
        if repeats(case, &hash) {
            self.refused.push(hash);
        }
        self.bot_commits_in_a_row = case.bot_commits_in_a_row;
        self
    }
}

/// One thing that the guard found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    reject: bool,
    text: String,
}

impl Finding {
    fn reject(path: &str, problem: &str) -> Self {
        Self { reject: true, text: format!("{path}: {problem}") }
    }

    fn ask(path: &str, problem: &str) -> Self {
        Self { reject: false, text: format!("{path}: {problem}") }
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
    /// The verdict with its first reason.
    pub verdict: GuardVerdict,
    /// All reasons of the verdict, the verdict's first.
    pub reasons: Vec<String>,
    /// How much a human should mind, 0 to 100.
    pub risk: u32,
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
            return rejected(vec![reason], stats);
        }
    };
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    stats.files = count(parsed.files.len());
    stats.added = count(parsed.files.iter().map(|f| f.added.len()).sum());
    stats.removed = count(parsed.files.iter().map(|f| f.removed.len()).sum());
    let refusals = rejections(&parsed, &stats, policy);
    if !refusals.is_empty() {
        return rejected(refusals, stats);
    }
    let mut questions = questions(&parsed, policy);
    let mut findings = Vec::new();
    for file in &parsed.files {
        look(file, policy, &mut findings);
    }
    let (refusals, asked): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|f| f.reject);
    if !refusals.is_empty() {
        return rejected(texts(refusals), stats);
    }
    questions.extend(texts(asked));
    let risk = risk(&questions, &stats, policy);
    let verdict = match questions.first() {
        Some(first) => GuardVerdict::NeedsApproval { reason: first.clone() },
        None => GuardVerdict::Accept,
    };
    Review { verdict, reasons: questions, risk, stats }
}

fn rejected(reasons: Vec<String>, stats: PatchStats) -> Review {
    let reason = reasons.first().cloned().unwrap_or_default();
    Review { verdict: GuardVerdict::Reject { reason }, reasons, risk: 100, stats }
}

/// Each reason once.
fn texts(findings: Vec<Finding>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for finding in findings {
        if !out.contains(&finding.text) {
            out.push(finding.text);
        }
    }
    out
}

/// 10 for any patch, more for size, for distrust, and for each question beyond the fixer's own.
fn risk(questions: &[String], stats: &PatchStats, policy: &PatchPolicy) -> u32 {
    let trust = match policy.safety {
        FixerSafety::Safe => 0,
        FixerSafety::Unsafe => 10,
        FixerSafety::Guarded => 15,
        FixerSafety::ApprovalAlways => 25,
    };
    let lines = stats.added.saturating_add(stats.removed);
    let size = (lines / 20).min(15) + stats.files.min(10);
    let asked = u32::try_from(questions.len()).unwrap_or(u32::MAX).saturating_mul(10);
    (10 + trust + size).saturating_add(asked).min(99)
}

/// What the patch as a whole is thrown away for.
fn rejections(patch: &Patch, stats: &PatchStats, policy: &PatchPolicy) -> Vec<String> {
    if patch.files.is_empty() {
        return vec!["the patch changes nothing".to_owned()];
    }
    if policy.refused.contains(&stats.sha256) {
        return vec!["the same patch was already tried on this failure".to_owned()];
    }
    let size = size_problem(stats, policy);
    paths::problem(patch, policy).into_iter().chain(size).collect()
}

/// What is found in one file.
fn look(file: &FilePatch, policy: &PatchPolicy, out: &mut Vec<Finding>) {
    let path = file.path();
    let is_test = [&file.old, &file.new].into_iter().flatten().any(|p| tests_kept::is_test_path(p));
    let known = policy.before.iter().find(|b| Some(&b.path) == file.old.as_ref());
    match sides::sides(file, known.map(|b| b.contents.as_str()), is_test) {
        Ok(sides) => {
            tests_kept::look(file, &sides, policy, out);
            evasion::look(file, &sides, policy, out);
        }
        Err(problem) => {
            out.push(Finding::reject(path, &format!("the patch does not fit: {problem}")));
        }
    }
    content::look(file, policy.safety, out);
    suppressions::look(file, policy.safety, out);
    executed::look(file, policy, out);
    manifests::look(file, policy, out);
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

/// Why a human has to look at a patch that breaks no rule, whatever it writes.
fn questions(patch: &Patch, policy: &PatchPolicy) -> Vec<String> {
    let first = patch.files.first().map(FilePatch::path).unwrap_or_default();
    let mut asked = Vec::new();
    if policy.approval_on_fix {
        asked.push(format!("the step asks before any patch is applied ({first})"));
    }
    if policy.safety == FixerSafety::ApprovalAlways {
        asked.push(format!("patches of this fixer always need a human ({first})"));
    }
    let modes_only = patch.files.iter().all(|f| f.added.is_empty() && f.removed.is_empty());
    if policy.failure_type == FailureType::Security && !modes_only {
        asked.push(format!("a patch for a security finding needs a human ({first})"));
    }
    let formatting = policy.safety == FixerSafety::Safe || modes_only;
    if policy.failure_type == FailureType::Policy && !formatting {
        asked.push(format!("a patch for a policy finding needs a human ({first})"));
    }
    if policy.bot_commits_in_a_row >= BOT_COMMITS_MAX {
        asked.push(format!(
            "the last {} commits were the loop's own: a human should look",
            policy.bot_commits_in_a_row
        ));
    }
    asked
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
