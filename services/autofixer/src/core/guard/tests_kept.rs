//! Tests may not be deleted, emptied or weakened by a patch.

use super::sides::{Side, Sides};
use super::{Finding, PatchPolicy};
use crate::core::patch::FilePatch;
use meta_domain::autofix::FixerSafety;
use meta_domain::failure::FailureType;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Where a test starts, in the languages we know.
const TEST: &str = r"^\s*(async\s+)?def\s+test_?\w*|^\s*class\s+Test\w*|#\[\s*(\w+::)*(test|rstest|case|test_case|proptest)\b|^\s*func\s+(Test|Fuzz|Example|Benchmark)\w*\(|(^|[^.\w])(it|test|describe|specify)(\.\w+)*\s*\(|\bTEST(_F|_P|_CASE)?\s*\(|@(Test|ParameterizedTest)\b|^\s*test_\w+\s*\(\)\s*\{|@test\b|#\[\s*cfg\s*\(.*\btest\b";
/// What a test asserts.
const ASSERTION: &str = r"\bassert\w*!?(\b|[.(])|\bassert_|\bself\.assert\w+\(|(^|[^.\w])expect\s*[(.]|\bt\.(Error|Errorf|Fatal|Fatalf|Fail|FailNow)\b|\brequire\.\w+\(|\bASSERT_\w+|\bEXPECT_\w+|\bCHECK\w*\(|\bpytest\.raises\b|\.should\b|\bparametrize\b|\bprop_assert|\bself\.fail\(|\bt\.is\(|\bt\.deepEqual\(";
/// An assertion that nearly anything passes.
const WEAK: &str = r"\.(toBeDefined|toBeTruthy|toBeFalsy|not\.toBeNull|not\.toBeUndefined|not\.toThrow|toBeInstanceOf)\(|expect\.(anything|any)\(|\bassertIsNotNone\(|\bassertTrue\(\s*(True|1)\b|\bassert(_that)?\s*\(?\s*(True|1|not\s+None)\b\s*\)?\s*(,|$)|\bassert!\s*\(\s*true\b|\bis\s+not\s+None\s*$|expect\(\s*(true|1)\s*\)|\b(assert|expect)\.ok\(\s*(true|1)\b|\b(EXPECT|ASSERT)_TRUE\(\s*(true|1)\s*\)|\bassert\.(ok|NotNil|True)\(\s*(t,\s*)?true|\bisinstance\([^=]*\)\s*$";
/// A condition that is always so, behind another one.
const ALWAYS: &str =
    r"\bor\s+(True|1|not\s+False)\b|\|\|\s*(true|1)\b|\bor\s+\w+\s+is\s+not\s+None";
/// A way out of a test before its end, or around it.
const EXITS: &str = r"^\s*(return\b|raise\s+SystemExit|sys\.exit\(|os\._exit\(|exit\s*\(|quit\(|process\.exit\(|(\w+::)*process::(exit|abort)\b|t\.SkipNow|runtime\.Goexit|os\.Exit\(0|continue\s*;?\s*$|break\s*;?\s*$|done\(\)|pass\s*$)";
/// A loop over nothing.
const EMPTY: &str = r"\bin\s+(\[\s*\]|\(\s*\)|\{\s*\}|range\(\s*0\s*\))|\bof\s+\[\s*\]|\.(slice|splice)\(0,\s*0\)|\[:0\]|\bparametrize\([^,]*,\s*\[\s*\]|\bin\s+0\.\.0\b|\.take\(0\)|\.each\(\s*\[\s*\]|vec!\[\]|filter\(\s*\(?\w*\)?\s*=>\s*false";
/// Puts something else in the place of what is tested.
const MOCKS: &str = r"\b(mock|mocker)\.patch|@patch\b|\bmonkeypatch\.set|\b(jest|vi)\.(mock|spyOn|doMock)\(|\bsinon\.(stub|replace)|\bMagicMock\(|\bmockall\b";
/// A literal that a test compares with.
const LITERAL: &str =
    r#"\b\d[\w.]*\b|"[^"]*"|'[^']*'|`[^`]*`|\b(True|False|None|true|false|null|nil|undefined)\b"#;

macro_rules! patterns {
    ($($name:ident = $text:ident;)+) => {
        $(static $name: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());)+
        /// Whether every pattern could be compiled.
        #[cfg(test)]
        pub(super) fn all_compile() -> bool {
            [$($name.is_some()),+].iter().all(|known| *known)
        }
    };
}
patterns! {
    TESTS = TEST;
    ASSERTIONS = ASSERTION;
    WEAK_ONES = WEAK;
    ALWAYS_SO = ALWAYS;
    WAYS_OUT = EXITS;
    EMPTY_LOOPS = EMPTY;
    MOCKED = MOCKS;
    LITERALS = LITERAL;
}

/// Whether a path belongs to the tests.
pub(in crate::core) fn is_test_path(path: &str) -> bool {
    let lower = path.to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or(&lower);
    let folders = [
        "test",
        "tests",
        "__tests__",
        "__mocks__",
        "spec",
        "specs",
        "testing",
        "testdata",
        "test_data",
        "fixtures",
        "snapshots",
        "__snapshots__",
        "golden",
        "e2e",
        "cypress",
        "features",
    ];
    lower.rsplit('/').skip(1).any(|part| folders.contains(&part))
        || name.starts_with("test_")
        || name == "conftest.py"
        || ["_test.", ".test.", ".spec.", "_spec.", "-test.", "_tests.", ".cy."]
            .iter()
            .any(|mark| name.contains(mark))
        || matches!(name, "tests.rs" | "test.rs" | "tests.py")
        || is_snapshot(&lower)
        || ["test.java", "tests.java", "test.kt", "tests.cs", "test.cs", "test.php"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Whether a file holds what a test's output was accepted as.
fn is_snapshot(lower: &str) -> bool {
    let name = lower.rsplit('/').next().unwrap_or(lower);
    [".snap", ".snap.new", ".ambr", ".golden", ".approved.txt", ".received.txt", ".storyshot"]
        .iter()
        .any(|end| name.ends_with(end))
        || lower
            .rsplit('/')
            .skip(1)
            .any(|part| matches!(part, "snapshots" | "__snapshots__" | "golden" | "goldens"))
}

/// The ways in which a patch weakens a test.
pub(super) fn look(
    file: &FilePatch,
    sides: &[Sides],
    policy: &PatchPolicy,
    out: &mut Vec<Finding>,
) {
    let path = file.path();
    let old = file.old.as_deref().unwrap_or_default();
    if is_test_path(old) && (file.new.is_none() || file.moved) {
        out.push(Finding::reject(path, "the patch deletes or moves a test file"));
    }
    let changes = !file.added.is_empty() || !file.removed.is_empty();
    let is_test = is_test_path(path) || is_test_path(old);
    let inside = sides.iter().any(|s| {
        let code = |side: &Side| side.touched_tests().any(|l| !l.trim().is_empty());
        code(&s.old) || code(&s.new)
    });
    let tests = (is_test && changes) || inside;
    if tests && read_only(policy) {
        let problem = format!("tests are read-only for a {} failure", policy.failure_type);
        out.push(Finding::reject(path, &problem));
    }
    if tests && asks_about_tests(policy) {
        out.push(Finding::ask(path, "the patch changes a test"));
    }
    if is_test && changes && is_snapshot(&path.to_lowercase()) && !is_format(policy) {
        out.push(Finding::reject(path, "the patch rewrites what a test's output is held against"));
    }
    if tests && about_behaviour(policy.failure_type) && sides.iter().any(loses_lines) {
        let problem = format!("test lines are kept for a {} failure", policy.failure_type);
        out.push(Finding::reject(path, &problem));
    }
    for side in sides {
        weakened(path, side, tests, policy, out);
    }
}

/// What holds for one file, or one hunk of it.
fn weakened(path: &str, sides: &Sides, tests: bool, policy: &PatchPolicy, out: &mut Vec<Finding>) {
    let mut refuse = |problem: &str| out.push(Finding::reject(path, problem));
    let lost =
        |regex: &LazyLock<Option<Regex>>| count(regex, &sides.old) > count(regex, &sides.new);
    if lost(&TESTS) {
        refuse("the patch removes a test");
    }
    if (tests || is_code(path)) && lost(&ASSERTIONS) {
        refuse("the patch removes an assertion");
    }
    if tests && sides.new.open && !sides.old.open {
        refuse("the patch opens a comment or a text in a test and does not close it");
    }
    if tests && twice(sides) {
        refuse("the patch defines a test a second time");
    }
    let safe = policy.safety == FixerSafety::Safe;
    if !safe && changed(&ASSERTIONS, sides) {
        refuse("the patch changes what a test asserts");
    }
    if !tests {
        return;
    }
    let more = |regex: &LazyLock<Option<Regex>>| {
        let old: usize = sides.old.touched_code().map(|l| hits(regex, l)).sum();
        let new: usize = sides.new.touched_code().map(|l| hits(regex, l)).sum();
        new > old
    };
    if more(&WEAK_ONES) && (changed(&ASSERTIONS, sides) || trivial(sides)) || trivial(sides) {
        refuse("the patch weakens an assertion");
    }
    if more(&ALWAYS_SO) {
        refuse("the patch adds a condition that always holds to a test");
    }
    if more(&EMPTY_LOOPS) {
        refuse("the patch lets a test run over nothing");
    }
    if more(&WAYS_OUT) && leaves(sides) {
        refuse("the patch leaves a test early");
    }
    if !safe && literals_differ(sides) {
        out.push(Finding::ask(path, "the patch changes a value in a test"));
    }
    if !safe && more(&MOCKED) {
        out.push(Finding::ask(path, "the patch replaces a part of what is tested"));
    }
}

/// Whether a new way out stands in a test's own body: `return` in a helper is its result.
fn leaves(sides: &Sides) -> bool {
    let mut in_test = false;
    let mut announced = false;
    sides.new.code.iter().zip(&sides.new.touched).any(|(line, touched)| {
        let starts = TESTS.as_ref().is_none_or(|r| r.is_match(line));
        let helper = ["def ", "fn ", "function ", "const ", "func "]
            .iter()
            .any(|w| line.trim_start().starts_with(w));
        if starts {
            in_test = true;
            announced = line.trim_start().starts_with(['#', '@']);
        } else if helper && !line.trim_start().starts_with("const ") {
            in_test = announced || line.contains("test");
            announced = false;
        }
        let bare = line.trim().trim_end_matches(';');
        let plain =
            matches!(bare, "return" | "return None" | "return true" | "return Ok(())" | "pass")
                || !bare.starts_with("return");
        *touched
            && plain
            && WAYS_OUT.as_ref().is_none_or(|r| r.is_match(line))
            && (in_test || !bare.starts_with("return"))
    })
}

/// Only fixers that keep behaviour, and lint repairs that were verified, may touch test files.
fn read_only(policy: &PatchPolicy) -> bool {
    let style = matches!(policy.failure_type, FailureType::Lint | FailureType::Typecheck);
    match policy.safety {
        FixerSafety::Safe => false,
        FixerSafety::Unsafe | FixerSafety::Guarded | FixerSafety::ApprovalAlways => !style,
    }
}

/// A test that does not compile is mended in the test; a human sees that.
fn asks_about_tests(policy: &PatchPolicy) -> bool {
    policy.safety == FixerSafety::ApprovalAlways && policy.failure_type == FailureType::Typecheck
}

/// Whether the patch is a formatter's.
fn is_format(policy: &PatchPolicy) -> bool {
    policy.safety == FixerSafety::Safe && policy.failure_type == FailureType::Lint
}

/// Failures that a weaker test, or smaller test data, would hide.
fn about_behaviour(failure_type: FailureType) -> bool {
    matches!(failure_type, FailureType::TestAssert | FailureType::Runtime | FailureType::Security)
}

/// Whether a test's line goes that does not come back, blanks aside.
fn loses_lines(sides: &Sides) -> bool {
    let plain = |line: &str| line.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let added: Vec<String> = sides.new.touched_test_lines().map(plain).collect();
    sides.old.touched_test_lines().map(plain).any(|line| !line.is_empty() && !added.contains(&line))
}

/// Prose and data may lose the word "assert".
fn is_code(path: &str) -> bool {
    !matches!(
        path.rsplit_once('.').map_or("", |(_, e)| e),
        "md" | "txt" | "rst" | "json" | "lock" | "yaml" | "yml" | "toml" | "css" | "html"
    )
}

fn hits(regex: &LazyLock<Option<Regex>>, line: &str) -> usize {
    if is_import(line) {
        return 0;
    }
    regex.as_ref().map_or(1, |r| r.find_iter(line).count())
}

fn count(regex: &LazyLock<Option<Regex>>, side: &Side) -> usize {
    side.code.iter().map(|l| hits(regex, l)).sum()
}

/// A line that only brings names in: dropping one weakens no test.
fn is_import(line: &str) -> bool {
    let line = line.trim_start();
    ["import ", "from ", "use ", "pub use ", "const assert = require"]
        .iter()
        .any(|w| line.starts_with(w))
}

/// Whether lines with assertions differ in more than blanks, quotes and trailing commas.
fn changed(regex: &LazyLock<Option<Regex>>, sides: &Sides) -> bool {
    let Some(regex) = regex.as_ref() else { return true };
    let mut balance: HashMap<String, i64> = HashMap::new();
    for (side, weight) in [(&sides.old, 1), (&sides.new, -1)] {
        let lines = side.lines.iter().zip(&side.code).zip(&side.touched);
        for ((line, _), _) in lines
            .filter(|((_, code), touched)| **touched && regex.is_match(code) && !is_import(code))
        {
            let text =
                line.chars().filter(|c| !c.is_whitespace() && !"'\"`,;".contains(*c)).collect();
            *balance.entry(text).or_default() += weight;
        }
    }
    balance.values().any(|n| *n > 0)
}

/// Whether an added assertion compares a thing with itself, or asserts a constant.
fn trivial(sides: &Sides) -> bool {
    let old: Vec<&str> = sides.old.touched_code().map(str::trim).collect();
    sides.new.touched_code().map(str::trim).filter(|l| !old.contains(l)).any(says_nothing)
}

fn says_nothing(line: &str) -> bool {
    let Some(assertions) = ASSERTIONS.as_ref() else { return true };
    let Some(at) = assertions.find(line) else { return false };
    let rest = line[at.start()..].trim_end_matches([';', ',']);
    let compare = |body: &str| {
        ["===", "==", " is "].iter().any(|op| {
            body.split_once(op).is_some_and(|(a, b)| {
                let b = b.trim_start_matches('=').trim();
                let a = a.trim().trim_start_matches('(');
                let b = b.strip_suffix(')').filter(|_| a.len() < b.len()).unwrap_or(b);
                // Contents of texts are blanked: two of them look alike and may differ.
                !a.is_empty() && a == b && !a.contains(['"', '\'', '`'])
            })
        })
    };
    let same_arguments = |open: &str| {
        rest.split_once(open).and_then(|(_, args)| args.rsplit_once(')')).is_some_and(
            |(args, _)| {
                let args = arguments(args);
                args.len() > 1
                    && args[0] == args[1]
                    && !args[0].is_empty()
                    && !args[0].contains(['"', '\'', '`'])
            },
        )
    };
    let constant = ["assert True", "assert 1", "assert!(true", "assertTrue(True", "assert(true"]
        .iter()
        .any(|c| rest.replace(' ', "").starts_with(&c.replace(' ', "")) && !rest.contains("=="));
    let expects_itself =
        rest.strip_prefix("expect(").and_then(|r| r.split_once(").to")).is_some_and(|(a, b)| {
            b.split_once('(').and_then(|(_, v)| v.rsplit_once(')')).is_some_and(|(v, _)| {
                a.trim() == v.trim() && !a.trim().is_empty() && !a.contains(['"', '\'', '`'])
            })
        });
    let equality = rest.contains("_eq!(") || rest.contains("Equal(") || rest.contains("_EQ(");
    constant
        || expects_itself
        || (equality && same_arguments("("))
        || compare(rest.trim_start_matches("assert!(").trim_start_matches("assert"))
}

/// The arguments between two brackets.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(text[start..].trim());
    out
}

/// Whether a test's name comes that is there already: the later one takes its place.
fn twice(sides: &Sides) -> bool {
    let name = |line: &str| -> Option<String> {
        let rest = line.trim_start();
        let rest = rest.strip_prefix("async ").unwrap_or(rest);
        let rest = rest.strip_prefix("def ").or_else(|| rest.strip_prefix("class "))?;
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let indent = line.len() - line.trim_start().len();
        (name.starts_with("test") || name.starts_with("Test")).then(|| format!("{indent} {name}"))
    };
    let mut seen: Vec<(String, bool)> = Vec::new();
    let mut class = 0;
    for (line, touched) in sides.new.code.iter().zip(&sides.new.touched) {
        if line.starts_with("class ") {
            class += 1;
        }
        let Some(name) = name(line) else { continue };
        let name = if line.starts_with(' ') { format!("{class} {name}") } else { name };
        if seen.iter().any(|(known, by_patch)| *known == name && (*touched || *by_patch)) {
            return true;
        }
        seen.push((name, *touched));
    }
    false
}

/// Whether numbers, texts or constants of a test come or go.
fn literals_differ(sides: &Sides) -> bool {
    let Some(regex) = LITERALS.as_ref() else { return true };
    let of = |side: &Side| {
        let mut found: Vec<String> = side
            .touched_test_lines()
            .filter(|l| !is_import(l))
            .flat_map(|l| regex.find_iter(l))
            .map(|m| m.as_str().trim_matches(['"', '\'', '`']).to_owned())
            .collect();
        found.sort_unstable();
        found
    };
    let (old, new) = (of(&sides.old), of(&sides.new));
    old.iter().any(|l| !new.contains(l))
}
