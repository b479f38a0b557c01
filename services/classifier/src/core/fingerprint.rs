//! The name of a failure that stays the same from run to run.

use meta_domain::failure::FailureType;
use regex::{Captures, Regex};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;

/// Bytes of the hash that are kept.
const FINGERPRINT_BYTES: usize = 8;

/// What varies from run to run, and what stands for it. The order matters: wider shapes first.
static VARYING: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let table = [
        (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "<id>"),
        (r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?", "<time>"),
        (r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b", "<time>"),
        (r"(?:/private)?(?:/var)?/(?:tmp|folders)/[^\s:'\x22)]+", "<tmp>"),
        (r"(?i)[a-z]:\\(?:[^\s:'\x22)\\]+\\)+", ""),
        (r"/(?:[\w.@+~-]+/)+", "/"),
        (r"\b(?:sha256:|0x)[0-9a-fA-F]+\b", "<hex>"),
        (r"\b[0-9a-f]{7,}\b", "<hex>"),
        (r"\b\d+(?:\.\d+)? ?(?:ms|us|µs|ns|s|sec|secs|seconds|m|min|minutes|h)\b", "<time>"),
        (r"\b\d+(?:[.,]\d+)*\b", "<n>"),
        (r"\s+", " "),
    ];
    let compile = |(pattern, mark)| Regex::new(pattern).ok().map(|regex| (regex, mark));
    table.into_iter().filter_map(compile).collect()
});

/// A short hash over the type, the tool, the message without what varies, and the codes.
pub fn fingerprint(failure_type: FailureType, tool: &str, message: &str, codes: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [failure_type.as_str(), tool, &normalised(message)] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    for code in codes {
        hash.update(code.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(FINGERPRINT_BYTES).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn normalised(message: &str) -> String {
    let mut text = message.to_owned();
    for (varying, mark) in VARYING.iter() {
        let stand_in = |found: &Captures| match *mark {
            "<hex>" if !has_both(&found[0]) => found[0].to_owned(),
            mark => mark.to_owned(),
        };
        text = varying.replace_all(&text, stand_in).into_owned();
    }
    text.trim().to_owned()
}

/// Whether digits and letters stand in it: a number is no hash, nor is a word like "defaced".
fn has_both(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit()) && text.contains(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> String {
        fingerprint(FailureType::Runtime, "python", message, &[])
    }

    #[test]
    fn every_shape_compiles() {
        assert_eq!(VARYING.len(), 11);
    }

    #[test]
    fn what_varies_from_run_to_run_does_not_count() {
        for (one, other) in [
            ("a.py:12: bad", "a.py:99: bad"),
            ("took 12.5ms to fail", "took 3 s to fail"),
            ("at 0a0a000000a0 lost", "at aaaaaaa0a000 lost"),
            ("at 2025-01-01T10:00:00Z gone", "at 2026-02-03T11:12:13.5Z gone"),
            ("/home/me/x/a.py broke", "/builds/team/p/a.py broke"),
            ("object 0x7fabc1 leaked", "object 0x1122 leaked"),
            ("commit 1a2b3c4d5e6f not found", "commit ffee0011223a not found"),
            ("/tmp/pytest-of-me/pytest-3/x missing", "/tmp/tmpab12/y/z missing"),
            (
                "job 6f9619ff-8b86-4d01-b42d-00c04fc964ff lost",
                "job 00000000-8b86-4d01-b42d-00c04fc964fa lost",
            ),
        ] {
            assert_eq!(of(one), of(other), "{one} / {other}");
        }
    }

    #[test]
    fn different_failures_stay_apart() {
        assert_ne!(of("E302 expected two lines"), of("E303 too many lines"));
        assert_ne!(of("a.py broke"), of("b.py broke"));
        assert_ne!(of("No module named 'x'"), of("No module named 'y'"));
        let other = fingerprint(FailureType::Lint, "python", "a.py broke", &[]);
        assert_ne!(of("a.py broke"), other);
    }
}
