//! New words that silence a check instead of answering it.

use super::content::cut;
use crate::core::patch::Patch;
use regex::Regex;
use std::sync::LazyLock;

/// Which files a suppression is one in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Every text file.
    Anywhere,
    /// Shell scripts, CI files, makefiles and package manifests.
    Scripts,
    /// Rust sources.
    Rust,
    /// Go sources.
    Go,
    /// Python sources.
    Python,
    /// JavaScript and TypeScript.
    Web,
}

/// Name, where it counts, and what it looks like.
const SUPPRESSIONS: &[(&str, Where, &str)] = &[
    ("noqa", Where::Anywhere, r"(?i)#\s*(ruff:\s*|flake8:\s*)?noqa\b"),
    (
        "type: ignore",
        Where::Anywhere,
        r"#\s*(type:\s*ignore|pyright:\s*(ignore|basic)|mypy:\s*ignore|pyre-)",
    ),
    ("pylint: disable", Where::Anywhere, r"#\s*pylint:\s*(disable|skip-file)"),
    ("nosec", Where::Anywhere, r"(?i)(#|//)\s*nosec\b"),
    ("pragma", Where::Anywhere, r"(?i)pragma:?\s*(no\s*cover|allowlist)"),
    ("fmt: off", Where::Anywhere, r"#\s*(fmt:\s*(off|skip)|isort:\s*(skip|off)|yapf:\s*disable)"),
    (
        "eslint-disable",
        Where::Anywhere,
        r"eslint-disable|tslint:disable|oxlint-disable|biome-ignore|prettier-ignore|stylelint-disable",
    ),
    ("@ts-ignore", Where::Anywhere, r"@ts-(ignore|nocheck|expect-error)\b"),
    ("istanbul ignore", Where::Anywhere, r"(istanbul|c8|v8) ignore"),
    ("NOLINT", Where::Anywhere, r"\bNOLINT(NEXTLINE|BEGIN)?\b|clang-format off"),
    ("nolint", Where::Go, r"//\s*nolint\b"),
    ("shellcheck disable", Where::Anywhere, r"shellcheck\s+(disable|source=/dev/null)"),
    ("hadolint ignore", Where::Anywhere, r"hadolint\s+(global\s+)?ignore"),
    ("sqlfluff", Where::Anywhere, r"--\s*(noqa|squawk-ignore)"),
    ("markdownlint-disable", Where::Anywhere, r"markdownlint-disable|yamllint disable"),
    (
        "nosemgrep",
        Where::Anywhere,
        r"(?i)\bnosemgrep\b|gitleaks:allow|trivy:ignore|checkov:skip|codeql\[",
    ),
    (
        "allow(..)",
        Where::Rust,
        r"#!?\[\s*(cfg_attr\s*\(.*,\s*)?(allow|expect)\s*\(|rustfmt::skip|rustfmt_skip",
    ),
    ("ignored test", Where::Rust, r"#\[\s*(cfg_attr\s*\(.*,\s*)?ignore\b|#\[\s*should_panic"),
    (
        "skipped test",
        Where::Python,
        r"\bpytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b|\bunittest\.(skip|expectedFailure)|\bself\.skipTest\(|@(skip|skipIf|skipUnless|expectedFailure)\b|\bcollect_ignore|\bpytestmark\b.*skip",
    ),
    (
        "skipped test",
        Where::Web,
        r"\b(test|it|describe|suite|context|bench)(\.\w+)*\.(skip|only|todo|fails|skipIf|runIf)\b|\b(xit|xtest|xdescribe|fit|fdescribe)\s*\(",
    ),
    ("skipped test", Where::Go, r"\bt\.Skip(f|Now)?\("),
    ("build tag", Where::Go, r"^//\s*(go:build\s+ignore|\+build\s+ignore)"),
    (
        "error thrown away",
        Where::Scripts,
        r"\|\|\s*(true|:|exit\s+0|echo\b)|\bset\s+\+e\b|\|\|\s*/bin/true",
    ),
    (
        "error thrown away",
        Where::Scripts,
        r"continue-on-error:\s*true|allow_failure:\s*true|--exit-zero\b|--passWithNoTests\b",
    ),
];

static COMPILED: LazyLock<Vec<(&str, Where, Option<Regex>)>> = LazyLock::new(|| {
    SUPPRESSIONS.iter().map(|(name, place, text)| (*name, *place, Regex::new(text).ok())).collect()
});

/// The first suppression that a patch adds. Taking one out and putting it back elsewhere in the file
/// is not adding one.
pub(super) fn problem(patch: &Patch) -> Option<String> {
    patch.files.iter().find_map(|file| {
        COMPILED.iter().find_map(|(name, place, regex)| {
            let new = counts_in(*place, file.path())
                && regex.as_ref().is_none_or(|r| hits(r, &file.added) > hits(r, &file.removed));
            new.then(|| format!("{}: the patch adds a suppression ({name})", file.path()))
        })
    })
}

fn hits(regex: &Regex, lines: &[String]) -> usize {
    lines.iter().map(|l| regex.find_iter(cut(l)).count()).sum()
}

fn counts_in(place: Where, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, e)| e);
    match place {
        Where::Anywhere => !matches!(extension, "md" | "rst"),
        Where::Rust => extension == "rs",
        Where::Go => extension == "go",
        Where::Python => matches!(extension, "py" | "pyi" | "ipynb"),
        Where::Web => {
            matches!(
                extension,
                "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "mts" | "cts" | "vue" | "svelte"
            )
        }
        Where::Scripts => {
            matches!(extension, "" | "sh" | "bash" | "zsh" | "ksh" | "yml" | "yaml" | "mk")
                || matches!(name.as_str(), "package.json" | "metabuilder.toml" | "tox.ini")
                || name.starts_with("dockerfile")
        }
    }
}

/// Whether every pattern could be compiled (a test holds it; at run time a broken one refuses).
#[cfg(test)]
pub(super) fn all_compile() -> bool {
    COMPILED.iter().all(|(_, _, r)| r.is_some()) && SUPPRESSIONS.len() == COMPILED.len()
}
