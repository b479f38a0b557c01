//! What the lines of a patch may hold.

use super::Finding;
use crate::core::patch::FilePatch;
use meta_domain::autofix::FixerSafety;
use meta_domain::masking as secrets;
use regex::{Regex, RegexSet};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Statements that destroy data when a migration or a query runs.
const DESTRUCTIVE: &[&str] = &[
    r"(?i)\bdrop\s+(table|column|schema|database|constraint|view|role|user)\b",
    r"(?i)\balter\s+table\s+\S+\s+drop\b",
    r"(?i)\btruncate\s+(table\s+)?[a-z_]",
    r"(?i)\bdelete\s+from\s+[\w.\x22]+\s*(;|$)",
    r"(?i)\bupdate\s+[\w.]+\s+set\s+[^;]*;",
    r"(?i)\b(disable\s+trigger|session_replication_role|grant\s+all)\b",
    r"\bop\.drop_(table|column|constraint)\(",
    r"\bmigrations\.(RemoveField|DeleteModel)\(",
];

/// A handler that throws an error away. Asked about, since it may be right.
const SWALLOWS: &[&str] = &[
    r"^\s*except\b[^:]*:\s*(pass\b|\.\.\.|return\b|continue\b|$)",
    r"catch\s*(\([^)]*\))?\s*\{\s*(return[^;}]*;?|/[/*].*)?\s*\}?\s*$",
    r"\.catch\(\s*(\(\s*\w*\s*\)|\w+)\s*=>\s*(\{\s*\}|null|undefined|void 0)",
    r"\bcontextlib\.suppress\(|\bwith suppress\(",
    r"^\s*let _ = .*\)\s*;|\)\.ok\(\);\s*$",
    r"^\s*_\s*=\s*err\b|if err != nil \{\s*(return nil\s*)?\}",
    r"^\s*rescue\s*(=>\s*\w+)?\s*(;|$)|rescue nil\b",
];

static DESTROYS: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(DESTRUCTIVE).ok());
static SWALLOW: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(SWALLOWS).ok());
static CONDITION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)\bwhere\b").ok());

/// Characters that change the direction of text: what is shown is not what runs.
pub(super) fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// Characters that are not seen at all. Joiners between letters of other scripts are words.
fn hides(line: &str) -> bool {
    let mut before = ' ';
    line.chars().any(|c| {
        let joiner = matches!(c, '\u{200c}' | '\u{200d}') && !before.is_ascii();
        before = c;
        !joiner
            && matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{3164}' | '\u{115f}')
    })
}

/// Control characters that change what a terminal or a reader shows.
fn controls(line: &str) -> bool {
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\u{c}'))
}

/// Content that is never taken, and content that a human should see first.
pub(super) fn look(file: &FilePatch, safety: FixerSafety, out: &mut Vec<Finding>) {
    let mut refuse = |problem: &str| out.push(Finding::reject(file.path(), problem));
    if file.added.iter().any(|l| l.contains('\0')) {
        refuse("an added line has a NUL byte");
    }
    if has_new(file, &|l: &str| l.chars().any(is_bidi)) {
        refuse("an added line has bidirectional control characters");
    }
    if has_new(file, &|l: &str| hides(l)) {
        refuse("an added line has invisible characters");
    }
    if has_new(file, &|l: &str| controls(l)) {
        refuse("an added line has control characters");
    }
    if new_secrets(file) {
        refuse("an added line looks like a secret");
    }
    let mark = |l: &str| ["<<<<<<< ", ">>>>>>> ", "||||||| "].iter().any(|m| l.starts_with(m));
    if has_new(file, &mark) {
        refuse("an added line is a merge conflict's mark");
    }
    let whole = |l: &str| {
        DESTROYS.as_ref().is_none_or(|r| {
            let hits = r.matches(l);
            let update = hits.iter().all(|i| i == 4);
            hits.matched_any() && !(update && CONDITION.as_ref().is_some_and(|c| c.is_match(l)))
        })
    };
    if has_new(file, &whole) {
        out.push(Finding::ask(file.path(), "the patch adds a statement that destroys data"));
    }
    let swallows = |l: &str| SWALLOW.as_ref().is_none_or(|r| r.is_match(l));
    if safety != FixerSafety::Safe && has_new(file, &swallows) {
        out.push(Finding::ask(file.path(), "the patch swallows an exception"));
    }
}

/// Whether an added line holds a secret that no removed line held.
fn new_secrets(file: &FilePatch) -> bool {
    let of = |lines: &[String]| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for secret in lines.iter().flat_map(|l| secrets::found(l)) {
            *counts.entry(secret.to_owned()).or_default() += 1;
        }
        counts
    };
    let old = of(&file.removed);
    of(&file.added).iter().any(|(secret, n)| n > old.get(secret).unwrap_or(&0))
}

/// Whether more added than removed lines are of a kind.
pub(super) fn has_new(file: &FilePatch, kind: &dyn Fn(&str) -> bool) -> bool {
    let count = |lines: &[String]| lines.iter().filter(|l| kind(l)).count();
    count(&file.added) > count(&file.removed)
}

/// Whether every pattern could be compiled.
#[cfg(test)]
pub(super) fn all_compile() -> bool {
    DESTROYS.is_some() && SWALLOW.is_some() && CONDITION.is_some()
}
