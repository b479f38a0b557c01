//! What a verification of a patch showed, and whether that is good enough.

use super::run::{Run, Step};
use meta_domain::autofix::{FixerCommand, FixerKind};
use meta_domain::failure::FailureType;
use meta_domain::plan::{ApprovalMode, PlannedStep};
use meta_domain::signal::ExitInfo;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How long the steps that passed before may take together in a verification, by their last
/// executions, in milliseconds. What does not fit is executed again after the commit.
pub const SIBLINGS_MS_MAX: u64 = 600_000;
/// Evidence of this many verifications of a step is kept.
pub const VERIFICATIONS_MAX: usize = 50;

/// SHA-256 in hex, as patches and planned steps are named.
pub fn hash(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// How many tests one tool says it executed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCount {
    /// The tool.
    pub tool: String,
    /// Tests that ran, whatever came of them.
    pub executed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Tests that did not run.
    pub skipped: u64,
}

/// What one step of a verification showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The step.
    pub step: String,
    /// How its last execution ended.
    pub exit: ExitInfo,
    /// Milliseconds of it.
    pub duration_ms: u64,
    /// The most that earlier executions of the step in this run did.
    pub before: Vec<TestCount>,
    /// What this one did.
    pub after: Vec<TestCount>,
    /// Tests that ran before and were skipped.
    pub newly_skipped: Vec<String>,
    /// How often it was executed.
    pub executions: u32,
}

/// What a verification showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Id of the fixer.
    pub fixer: String,
    /// The patch.
    pub patch_sha256: String,
    /// The commit that the patch was applied to.
    pub base: String,
    /// Log of the executions.
    pub log: String,
    /// Whether it is good enough to commit the patch.
    pub passed: bool,
    /// Why not, in one line.
    pub detail: String,
    /// The failing step first.
    pub checks: Vec<Check>,
    /// Files of the patch that are part of the check itself.
    pub check_files: Vec<String>,
    /// Those of them that were put back before the first execution.
    pub restored: Vec<String>,
}

impl Evidence {
    /// Why a verification whose steps all ended with success is no proof.
    pub fn problem(&self) -> Option<String> {
        if !self.restored.is_empty() {
            return Some(format!(
                "the patch also changes {}, which is the check itself; with that as before it is \
                 another patch than the one that was proposed",
                self.restored.join(", ")
            ));
        }
        self.checks.iter().find_map(Check::problem)
    }
}

impl Check {
    fn problem(&self) -> Option<String> {
        if !self.newly_skipped.is_empty() {
            return Some(format!(
                "with the patch, {} skips {} that ran before",
                self.step,
                self.newly_skipped.join(", ")
            ));
        }
        self.before.iter().find_map(|before| {
            let after = self.after.iter().find(|c| c.tool == before.tool);
            let executed = after.map_or(0, |c| c.executed);
            (executed < before.executed).then(|| {
                format!(
                    "with the patch, {} executes fewer tests ({}: {executed}, before {})",
                    self.step, before.tool, before.executed
                )
            })
        })
    }
}

/// The steps that passed before and are executed again with a patch, in plan order: not those that a
/// human lets start, nor those that use the network (they fetch or deploy), nor more than fits.
pub fn siblings<'a>(run: &'a Run, failing: &str) -> Vec<&'a PlannedStep> {
    let mut left = SIBLINGS_MS_MAX;
    let mut chosen = Vec::new();
    for step in run.steps.iter().filter(|s| s.planned.name != failing && is_check(s)) {
        if step.is_green() && step.duration_ms <= left {
            left -= step.duration_ms;
            chosen.push(&step.planned);
        }
    }
    chosen
}

/// Whether a step may be executed at any time, to look whether it still passes.
pub fn is_check(step: &Step) -> bool {
    step.planned.approval != ApprovalMode::Before && !step.planned.network
}

/// What is put back before a patch is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// Tests.
    pub tests: bool,
    /// What configures the tools that check.
    pub config: bool,
    /// Globs of what the patch owns nevertheless.
    pub owned: Vec<String>,
}

/// What a patch does not own: tests, when they are what failed or a model wrote the patch, and the
/// configuration of the checks. Whatever a human has to approve anyway is shown as it is.
pub fn put_back(step: &Step, fixer: &FixerCommand, asks: bool) -> PutBack {
    let failed = step.signal.as_ref().map(|s| s.failure_type);
    let about_tests = failed == Some(FailureType::TestAssert) || fixer.kind == FixerKind::Model;
    let owned = fixer.grant.add.iter().chain(&step.planned.writable).cloned().collect();
    PutBack { tests: about_tests && !asks, config: !asks, owned }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(executed: u64) -> TestCount {
        TestCount { tool: "pytest".into(), executed, failed: 0, skipped: 0 }
    }

    fn evidence(check: Check) -> Evidence {
        Evidence { passed: true, checks: vec![check], ..Evidence::default() }
    }

    #[test]
    fn fewer_executed_tests_are_no_proof() {
        let check = |before: Vec<TestCount>, after: Vec<TestCount>| {
            evidence(Check { step: "t".into(), before, after, ..Check::default() }).problem()
        };
        assert_eq!(check(vec![count(3)], vec![count(3)]), None);
        assert_eq!(check(vec![count(3)], vec![count(5)]), None);
        assert_eq!(check(vec![], vec![count(5)]), None);
        let fewer = "with the patch, t executes fewer tests (pytest: 2, before 3)";
        assert_eq!(check(vec![count(3)], vec![count(2)]).as_deref(), Some(fewer));
        assert!(check(vec![count(3)], vec![]).is_some(), "no word of the tests any more");
    }

    #[test]
    fn a_test_that_ran_may_not_be_skipped_even_when_others_are_new() {
        let check = Check {
            before: vec![count(3)],
            after: vec![count(9)],
            newly_skipped: vec!["t.py::a".into()],
            ..Check::default()
        };
        assert!(evidence(check).problem().is_some_and(|p| p.contains("t.py::a")));
    }

    #[test]
    fn a_patch_of_the_check_itself_is_no_proof() {
        let restored = Evidence { restored: vec!["tests/a.py".into()], ..Evidence::default() };
        assert!(restored.problem().is_some_and(|p| p.contains("tests/a.py")));
    }
}
