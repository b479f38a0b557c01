//! What the lines of a patch may hold.

use crate::core::patch::{FilePatch, Patch};
use meta_domain::autofix::FixerSafety;
use regex::{Regex, RegexSet};
use std::sync::LazyLock;

/// Longest part of a line that is searched, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 4096;

/// Texts that are secrets by their form.
const SECRETS: &[&str] = &[
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{30,}",
    r"\bgithub_pat_[A-Za-z0-9_]{30,}",
    r"\bglpat-[A-Za-z0-9_-]{18,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"\b[sr]k_live_[A-Za-z0-9]{16,}",
    r"\bsk-[A-Za-z0-9_-]{32,}",
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"\bpypi-[A-Za-z0-9_-]{40,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@$\{]{6,}@",
    r#"(?i)\b(password|passwd|secret|api_?key|access_?key|auth_?token|private_?key)["']?\s*[:=]\s*["'][^"'\s$\{<]{12,}["']"#,
];

/// Statements that destroy data when a migration or a query runs.
const DESTRUCTIVE: &[&str] = &[
    r"(?i)\bdrop\s+(table|column|schema|database|constraint)\b",
    r"(?i)\btruncate\s+(table\s+)?[a-z_]",
    r"(?i)\bdelete\s+from\s+[\w.]+\s*;",
    r"\bop\.drop_(table|column|constraint)\(",
    r"\bmigrations\.(RemoveField|DeleteModel)\(",
];

static SECRET: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(SECRETS).ok());
static DESTROYS: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(DESTRUCTIVE).ok());
static SWALLOWS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^\s*except\b[^:]*:\s*(pass\b|\.\.\.|$)|catch\s*(\([^)]*\))?\s*\{\s*\}|\bcontextlib\.suppress\(").ok()
});

/// Characters that change the direction of text: what is shown is not what runs.
pub(super) fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// A line, cut to what is searched.
pub(super) fn cut(line: &str) -> &str {
    let mut end = line.len().min(LINE_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

/// Content that is never taken.
pub(super) fn problem(patch: &Patch) -> Option<String> {
    patch.files.iter().find_map(|file| {
        let problem = if file.added.iter().any(|l| l.contains('\0')) {
            "an added line has a NUL byte"
        } else if has_new(file, &|l: &str| l.chars().any(is_bidi)) {
            "an added line has bidirectional control characters"
        } else if has_new_match(file, SECRET.as_ref()) {
            "an added line looks like a secret"
        } else if has_new(file, &|l: &str| l.starts_with("<<<<<<< ") || l.starts_with(">>>>>>> ")) {
            "an added line is a merge conflict's mark"
        } else {
            return None;
        };
        Some(format!("{}: {problem}", file.path()))
    })
}

/// Content that a human should see first.
pub(super) fn question(patch: &Patch, safety: FixerSafety) -> Option<String> {
    patch.files.iter().find_map(|file| {
        let problem = if has_new_match(file, DESTROYS.as_ref()) {
            "the patch adds a statement that destroys data"
        } else if safety != FixerSafety::Safe
            && SWALLOWS.as_ref().is_none_or(|r| has_new(file, &|l: &str| r.is_match(l)))
        {
            "the patch swallows an exception"
        } else {
            return None;
        };
        Some(format!("{}: {problem}", file.path()))
    })
}

/// Whether more added than removed lines are of a kind.
pub(super) fn has_new(file: &FilePatch, kind: &dyn Fn(&str) -> bool) -> bool {
    let count = |lines: &[String]| lines.iter().filter(|l| kind(cut(l))).count();
    count(&file.added) > count(&file.removed)
}

/// Fails closed: a set that could not be built matches everything.
fn has_new_match(file: &FilePatch, set: Option<&RegexSet>) -> bool {
    set.is_none_or(|set| has_new(file, &|l: &str| set.is_match(l)))
}
