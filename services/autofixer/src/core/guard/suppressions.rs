//! New words that silence a check instead of answering it.

use super::Finding;
use crate::core::patch::FilePatch;
use meta_domain::autofix::FixerSafety;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Which files a suppression is one in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Every text file but prose.
    Anywhere,
    /// Shell scripts, CI files, makefiles and package manifests.
    Scripts,
    Rust,
    Go,
    Python,
    /// JavaScript and TypeScript.
    Web,
    /// C and C++.
    C,
    /// Java, Kotlin, C#.
    Jvm,
}

/// Name, where it counts, and what it looks like.
const SUPPRESSIONS: &[(&str, Where, &str)] = &[
    ("noqa", Where::Anywhere, r"(?i)#\s*(ruff:\s*|flake8:\s*)?noqa\b"),
    (
        "type: ignore",
        Where::Anywhere,
        r"#\s*(type:\s*ignore|pyright:\s*\w|mypy:\s*[\w-]+|pyre-|pytype:\s*(disable|skip))|@(typing\.)?no_type_check\b",
    ),
    ("pylint: disable", Where::Anywhere, r"#\s*pylint:\s*(disable|skip-file)"),
    ("nosec", Where::Anywhere, r"(?i)(#|//)\s*nosec\b|\bNOSONAR\b"),
    ("pragma", Where::Anywhere, r"(?i)pragma:?\s*(no\s*cover|no\s*branch|allowlist)"),
    (
        "fmt: off",
        Where::Anywhere,
        r"#\s*(fmt:\s*(off|skip)|isort:\s*(skip|off)|yapf:\s*disable|autopep8:\s*off)",
    ),
    (
        "eslint-disable",
        Where::Anywhere,
        r"eslint-disable|eslint-env|tslint:disable|jshint ignore|oxlint-disable|biome-ignore|prettier-ignore|stylelint-disable|deno-(lint|fmt)-ignore|@jest-environment-options|/\*\s*eslint\s+[\w@/-]+\s*:",
    ),
    ("@ts-ignore", Where::Anywhere, r"@ts-(ignore|nocheck|expect-error)\b"),
    ("istanbul ignore", Where::Anywhere, r"(istanbul|c8|v8) ignore"),
    (
        "NOLINT",
        Where::Anywhere,
        r"\bNOLINT(NEXTLINE|BEGIN|END)?\b|clang-format off|cppcheck-suppress",
    ),
    ("nolint", Where::Go, r"//\s*(nolint\b|lint:(file-)?ignore\b|#nosec)"),
    ("shellcheck disable", Where::Anywhere, r"shellcheck\s+(disable|source=/dev/null)"),
    ("hadolint ignore", Where::Anywhere, r"hadolint\s+(global\s+)?ignore"),
    ("sqlfluff", Where::Anywhere, r"--\s*(noqa|sqlfluff:|squawk-ignore)"),
    (
        "markdownlint-disable",
        Where::Anywhere,
        r"markdownlint-(disable|configure)|yamllint disable|rubocop:disable|phpcs:(ignore|disable)|@phpstan-ignore|ktlint-disable|swiftlint:disable|tflint-ignore|cspell:disable|noinspection\b",
    ),
    (
        "nosemgrep",
        Where::Anywhere,
        r"(?i)\bnosemgrep\b|gitleaks:allow|trivy:ignore|checkov:skip|tfsec:ignore|codeql\[|lgtm\s*\[|kics-scan",
    ),
    (
        "allow(..)",
        Where::Rust,
        r"#!?\[\s*(cfg_attr\s*\(.*,\s*)?(allow|expect|warn)\s*\(|rustfmt::skip|rustfmt_skip|\bassert_not_impl",
    ),
    (
        "ignored test",
        Where::Rust,
        r"#\[\s*(cfg_attr\s*\(.*,\s*)?ignore\b|#\[\s*should_panic|//[/!]\s*```\s*\w*\s*,?\s*(ignore|no_run|compile_fail|should_panic|text)\b",
    ),
    (
        "skipped test",
        Where::Python,
        r"\bpytest\.(mark\.)?(skip|skipif|xfail|importorskip|exit)\b|\bmark\.(skip|skipif|xfail)\b|\bunittest\.(skip|expectedFailure|SkipTest)|\bSkipTest\b|\bself\.skipTest\(|@(skip|skipIf|skipUnless|expectedFailure)\b|\bcollect_ignore|\bpytestmark\b|\b__test__\s*=\s*False|doctest:\s*\+SKIP",
    ),
    (
        "silenced warning",
        Where::Python,
        r"\bwarnings\.(filterwarnings|simplefilter)\(\s*.(ignore|default)",
    ),
    ("retried test", Where::Python, r"@(pytest\.mark\.)?flaky\b|@retry\b|\breruns\s*="),
    (
        "skipped test",
        Where::Web,
        r"\b(test|it|describe|suite|context|bench|specify)(\.\w+)*\.(skip|only|todo|fails|failing|skipIf|runIf|fixme)\b|\b(xit|xtest|xdescribe|xcontext|fit|fdescribe|pending)\s*\(|\bthis\.skip\(|\bt\.skip\(|\{\s*skip:\s*(true|['\x22`])|\{\s*todo:\s*(true|['\x22`])",
    ),
    (
        "retried test",
        Where::Web,
        r"\bjest\.retryTimes\(|\bthis\.retries\(|\bretry:\s*\d|\bretries:\s*\d",
    ),
    ("skipped test", Where::Go, r"\bt\.Skip(f|Now)?\(|\btesting\.Short\(\)"),
    ("build tag", Where::Go, r"^//\s*(go:build|\+build)\s+(ignore|never|none|disabled|skip)"),
    (
        "skipped test",
        Where::C,
        r"\bGTEST_SKIP\b|\bDISABLED_\w+|\[\s*!\s*(shouldfail|mayfail|hide)|\bBOOST_TEST_DISABLED",
    ),
    (
        "warning switched off",
        Where::C,
        r"#\s*pragma\s+(GCC|clang)\s+(diagnostic\s+ignored|system_header)|#\s*pragma\s+warning\s*\(\s*(disable|suppress)",
    ),
    (
        "skipped test",
        Where::Jvm,
        r"@(Disabled|Ignore|DisabledIf\w*|EnabledIf\w*)\b|\bassumeTrue\(\s*false|Skip\s*=\s*\x22",
    ),
    (
        "warning switched off",
        Where::Jvm,
        r"@(file:)?Suppress(Warnings|Lint)?\b|#pragma warning disable",
    ),
    (
        "error thrown away",
        Where::Scripts,
        r"\|\|\s*(true|:|exit\s+0|echo\b|/bin/true|return\s+0)|\bset\s+\+[a-z]*e|\bset\s+\+o\s+(errexit|pipefail)|;\s*(true|:|exit\s+0)\s*$|^\s*exit\s+0\b|\btrap\s+.*exit 0|\btrap\s+(''|\x22\x22|-)\s+(ERR|EXIT)",
    ),
    (
        "error thrown away",
        Where::Scripts,
        r"continue-on-error:\s*true|allow_failure:\s*true|--exit-zero\b|--passWithNoTests\b|--no-verify\b|--deselect\b|--ignore(-glob)?=|-Wno-|--cap-lints|-A\s*warnings|-k\s+.not\b|\bSKIP=|--no-fail\b",
    ),
];

static COMPILED: LazyLock<Vec<(&str, Where, Option<Regex>)>> = LazyLock::new(|| {
    SUPPRESSIONS.iter().map(|(name, place, text)| (*name, *place, Regex::new(text).ok())).collect()
});

/// The suppressions that a patch adds. For a formatter, taking one out and putting it back is not
/// adding one; from anybody else the line it stands on has to be the same.
pub(super) fn look(file: &FilePatch, safety: FixerSafety, out: &mut Vec<Finding>) {
    for (name, place, regex) in COMPILED.iter() {
        if !counts_in(*place, file.path()) {
            continue;
        }
        let new = match regex {
            None => true,
            Some(regex) if safety == FixerSafety::Safe => {
                hits(regex, &file.added) > hits(regex, &file.removed)
            }
            Some(regex) => moved(regex, file),
        };
        if new {
            let problem = format!("the patch adds a suppression ({name})");
            out.push(Finding::reject(file.path(), &problem));
        }
    }
}

fn hits(regex: &Regex, lines: &[String]) -> usize {
    lines.iter().map(|l| regex.find_iter(l).count()).sum()
}

/// Whether a line with a suppression comes that did not go, blanks and quotes aside.
fn moved(regex: &Regex, file: &FilePatch) -> bool {
    let plain = |line: &String| {
        line.chars().filter(|c| !c.is_whitespace() && !"'\"`,;".contains(*c)).collect::<String>()
    };
    let mut balance: HashMap<String, i64> = HashMap::new();
    for (lines, weight) in [(&file.added, 1), (&file.removed, -1)] {
        for line in lines.iter().filter(|l| regex.is_match(l)) {
            *balance.entry(plain(line)).or_default() += weight;
        }
    }
    balance.values().any(|n| *n > 0)
}

/// A file's name and ending in lower case.
pub(super) fn ending(path: &str) -> (String, String) {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let ending = name.rsplit_once('.').map_or(String::new(), |(_, e)| e.to_owned());
    (name, ending)
}

fn counts_in(place: Where, path: &str) -> bool {
    let (name, ending) = ending(path);
    let is = |known: &[&str]| known.contains(&ending.as_str());
    match place {
        Where::Anywhere => !is(&["md", "rst", "txt"]),
        Where::Rust => is(&["rs"]),
        Where::Go => is(&["go"]),
        Where::Python => is(&["py", "pyi", "ipynb"]),
        Where::Web => is(&["js", "jsx", "mjs", "cjs", "ts", "tsx", "mts", "cts", "vue", "svelte"]),
        Where::C => is(&["c", "h", "cc", "cpp", "hpp", "cxx", "hxx"]),
        Where::Jvm => is(&["java", "kt", "kts", "scala", "cs"]),
        Where::Scripts => {
            is(&["", "sh", "bash", "zsh", "ksh", "bats", "yml", "yaml", "mk"])
                || matches!(
                    name.as_str(),
                    "package.json" | "metabuilder.toml" | "tox.ini" | "pytest.ini" | "setup.cfg"
                )
                || name.starts_with("dockerfile")
        }
    }
}

/// Whether every pattern could be compiled (a test holds it; at run time a broken one refuses).
#[cfg(test)]
pub(super) fn all_compile() -> bool {
    COMPILED.iter().all(|(_, _, r)| r.is_some()) && SUPPRESSIONS.len() == COMPILED.len()
}
