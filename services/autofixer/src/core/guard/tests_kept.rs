//! Tests may not be deleted, emptied or weakened by a patch.

use super::PatchPolicy;
use super::content::cut;
use crate::core::patch::{FilePatch, Patch};
use meta_domain::autofix::FixerSafety;
use meta_domain::failure::FailureType;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Where a test starts, in the languages we know.
const TEST: &str = r"^\s*(async\s+)?def\s+test_\w+|^\s*class\s+Test\w*|#\[\s*(\w+::)*(test|rstest|case|proptest)\b|^\s*func\s+(Test|Fuzz|Example)\w*\(|(^|[^.\w])(it|test|describe)(\.\w+)*\s*\(|\bTEST(_F|_P)?\s*\(|@Test\b|^\s*\w+\(\)\s*\{.*\btest\b|@test\b";
/// What a test asserts.
const ASSERTION: &str = r"\bassert\w*!?\b|\bassert_|\bself\.assert\w+\(|(^|[^.\w])expect\s*[(.]|\bt\.(Error|Errorf|Fatal|Fatalf|Fail)\b|\brequire\.\w+\(|\bASSERT_\w+|\bEXPECT_\w+|\bpytest\.raises\b|\.should\b|\bparametrize\b|\bprop_assert";

static TESTS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(TEST).ok());
static ASSERTIONS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(ASSERTION).ok());

/// Whether a path belongs to the tests.
pub(super) fn is_test_path(path: &str) -> bool {
    let lower = path.to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    let folders = [
        "test",
        "tests",
        "__tests__",
        "spec",
        "specs",
        "testdata",
        "fixtures",
        "snapshots",
        "__snapshots__",
        "e2e",
    ];
    lower.rsplit('/').skip(1).any(|part| folders.contains(&part))
        || name.starts_with("test_")
        || name == "conftest.py"
        || ["_test.", ".test.", ".spec.", "_spec.", "-test."].iter().any(|mark| name.contains(mark))
        || name.ends_with(".snap")
}

/// The first way in which a patch weakens a test.
pub(super) fn problem(patch: &Patch, policy: &PatchPolicy) -> Option<String> {
    patch
        .files
        .iter()
        .find_map(|file| weakened(file, policy).map(|why| format!("{}: {why}", file.path())))
}

fn weakened(file: &FilePatch, policy: &PatchPolicy) -> Option<String> {
    let old = file.old.as_deref().unwrap_or_default();
    let is_test = is_test_path(file.path()) || is_test_path(old);
    if is_test_path(old) && (file.new.is_none() || file.moved) {
        return Some("the patch deletes or moves a test file".to_owned());
    }
    let changes = !file.added.is_empty() || !file.removed.is_empty();
    if is_test && changes && read_only(policy) {
        return Some(format!("tests are read-only for a {} failure", policy.failure_type));
    }
    if is_test && about_behaviour(policy.failure_type) && loses_lines(file) {
        return Some(format!("test lines are kept for a {} failure", policy.failure_type));
    }
    let (Some(tests), Some(assertions)) = (TESTS.as_ref(), ASSERTIONS.as_ref()) else {
        return Some("the guard's own patterns are broken".to_owned());
    };
    if lost(tests, file) {
        return Some("the patch removes a test".to_owned());
    }
    if lost(assertions, file) && (is_test || is_code(file.path())) {
        return Some("the patch removes an assertion".to_owned());
    }
    if policy.safety != FixerSafety::Safe && changed(assertions, file) {
        return Some("the patch changes what a test asserts".to_owned());
    }
    None
}

/// Only fixers that keep behaviour, and lint repairs that were verified, may touch test files.
fn read_only(policy: &PatchPolicy) -> bool {
    let style = matches!(policy.failure_type, FailureType::Lint | FailureType::Typecheck);
    match policy.safety {
        FixerSafety::Safe => false,
        FixerSafety::Unsafe | FixerSafety::Guarded => !style,
        FixerSafety::ApprovalAlways => policy.failure_type != FailureType::Lint,
    }
}

/// Failures that a weaker test, or smaller test data, would hide.
fn about_behaviour(failure_type: FailureType) -> bool {
    matches!(failure_type, FailureType::TestAssert | FailureType::Runtime | FailureType::Security)
}

/// Whether a line goes that does not come back, blanks aside.
fn loses_lines(file: &FilePatch) -> bool {
    let plain = |line: &String| line.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let added: Vec<String> = file.added.iter().map(plain).collect();
    file.removed.iter().map(plain).any(|line| !line.is_empty() && !added.contains(&line))
}

/// Prose and data may lose the word "assert".
fn is_code(path: &str) -> bool {
    !matches!(
        path.rsplit_once('.').map_or("", |(_, e)| e),
        "md" | "txt" | "rst" | "json" | "lock" | "yaml" | "yml" | "toml" | "css" | "html"
    )
}

fn count(regex: &Regex, lines: &[String]) -> usize {
    lines.iter().filter(|l| !is_import(l)).map(|l| regex.find_iter(cut(l)).count()).sum()
}

/// A line that only brings names in: dropping one weakens no test.
fn is_import(line: &str) -> bool {
    let line = line.trim_start();
    ["import ", "from ", "use ", "pub use ", "const assert = require"]
        .iter()
        .any(|w| line.starts_with(w))
}

fn lost(regex: &Regex, file: &FilePatch) -> bool {
    count(regex, &file.removed) > count(regex, &file.added)
}

/// Whether lines with assertions differ in more than blanks, quotes and trailing commas.
fn changed(regex: &Regex, file: &FilePatch) -> bool {
    let mut balance: HashMap<String, i64> = HashMap::new();
    for (lines, weight) in [(&file.removed, 1), (&file.added, -1)] {
        for line in lines.iter().filter(|l| regex.is_match(cut(l))) {
            let text =
                line.chars().filter(|c| !c.is_whitespace() && !"'\"`,;".contains(*c)).collect();
            *balance.entry(text).or_default() += weight;
        }
    }
    balance.values().any(|n| *n > 0)
}
