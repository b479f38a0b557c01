//! Reads a combined diff: what it touches, and how it looks in colour.

use anstyle::{AnsiColor, Style};
use std::fmt::Write;

/// A file of a diff.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Path before, absent when the patch makes the file.
    pub before: Option<String>,
    /// Path after, absent when the patch removes the file.
    pub after: Option<String>,
    /// Blob id before, in hex; empty when the diff does not say.
    pub before_blob: String,
    /// Lines added.
    pub added: u32,
    /// Lines removed.
    pub removed: u32,
}

/// The files of a diff as `git diff` prints it.
pub fn touched(patch: &[u8]) -> Vec<Touched> {
    let text = String::from_utf8_lossy(patch);
    let mut files: Vec<Touched> = Vec::new();
    let mut in_hunk = false;
    for line in text.lines() {
        if let Some(names) = line.strip_prefix("diff --git ") {
            let (before, after) = names_of(names);
            files.push(Touched { before, after, ..Touched::default() });
            in_hunk = false;
            continue;
        }
        let Some(file) = files.last_mut() else { continue };
        if in_hunk || line.starts_with("@@") {
            in_hunk = true;
            match line.as_bytes().first() {
                Some(b'+') => file.added += 1,
                Some(b'-') => file.removed += 1,
                _ => {}
            }
        } else if line.starts_with("new file mode ") {
            file.before = None;
        } else if line.starts_with("deleted file mode ") {
            file.after = None;
        } else if let Some(name) = line.strip_prefix("rename from ") {
            file.before = Some(unquoted(name));
        } else if let Some(name) = line.strip_prefix("rename to ") {
            file.after = Some(unquoted(name));
        } else if let Some(blobs) = line.strip_prefix("index ") {
            blobs.split("..").next().unwrap_or_default().clone_into(&mut file.before_blob);
        }
    }
    files
}

/// The two names after `diff --git`; where they are the same (no rename) they split in the middle.
fn names_of(names: &str) -> (Option<String>, Option<String>) {
    let middle = names.len() / 2;
    let halves = names.split_at_checked(middle).and_then(|(a, b)| Some((a, b.strip_prefix(' ')?)));
    let (before, after) = halves
        .filter(|(a, b)| plain(a, "a/") == plain(b, "b/"))
        .or_else(|| names.split_once(' '))
        .unwrap_or((names, names));
    (Some(plain(before, "a/")), Some(plain(after, "b/")))
}

fn plain(name: &str, prefix: &str) -> String {
    let name = unquoted(name);
    name.strip_prefix(prefix).map(ToOwned::to_owned).unwrap_or(name)
}

/// Undoes git's quoting of unusual names: `"a\303\244.txt"`.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n') => bytes.push(b'\n'),
            Some(b't') => bytes.push(b'\t'),
            Some(first @ b'0'..=b'3') => {
                let digits = [first, rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let value = digits.iter().fold(0_u32, |n, d| n * 8 + u32::from(d & 7));
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `3 files, +12 -9`
pub fn summary(files: usize, added: u32, removed: u32) -> String {
    let noun = if files == 1 { "file" } else { "files" };
    format!("{files} {noun}, +{added} -{removed}")
}

/// The summary of a diff.
pub fn summary_of(patch: &[u8]) -> String {
    let files = touched(patch);
    let sum = |f: fn(&Touched) -> u32| files.iter().map(f).sum();
    summary(files.len(), sum(|f| f.added), sum(|f| f.removed))
}

/// The diff with terminal colours; control characters that the files hold are made visible.
pub fn coloured(patch: &[u8]) -> String {
    let text = String::from_utf8_lossy(patch);
    let bold = Style::new().bold();
    let colour = |c: AnsiColor| c.on_default();
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for line in text.lines() {
        let style = match line.as_bytes() {
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] | [b'd', b'i', b'f', b'f', ..] => bold,
            [b'+', ..] => colour(AnsiColor::Green),
            [b'-', ..] => colour(AnsiColor::Red),
            [b'@', b'@', ..] => colour(AnsiColor::Cyan),
            _ => Style::new(),
        };
        let shown = printable(line);
        // writing to a String cannot fail
        let _ = writeln!(out, "{style}{shown}{style:#}");
    }
    out
}

/// A line without characters that could steer a terminal.
pub fn printable(line: &str) -> String {
    line.chars()
        .filter(|c| *c != '\r')
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "diff --git a/src/a b.rs b/src/a b.rs\n\
        index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644\n\
        --- a/src/a b.rs\n+++ b/src/a b.rs\n@@ -1,3 +1,3 @@\n x\n-old\n--- not a header\n+new\n\
        diff --git a/new.sh b/new.sh\nnew file mode 100755\nindex 0000000..3333333\n--- /dev/null\n\
        +++ b/new.sh\n@@ -0,0 +1 @@\n+#!/bin/sh\n\
        diff --git a/gone b/gone\ndeleted file mode 100644\nindex 4444444..0000000\n\
        diff --git \"a/\\303\\244\" \"b/\\303\\244\"\nold mode 100644\nnew mode 100755\n";

    #[test]
    fn every_touched_file_is_found() {
        let files = touched(PATCH.as_bytes());
        let names: Vec<_> =
            files.iter().map(|f| (f.before.as_deref(), f.after.as_deref())).collect();
        assert_eq!(
            names,
            [
                (Some("src/a b.rs"), Some("src/a b.rs")),
                (None, Some("new.sh")),
                (Some("gone"), None),
                (Some("ä"), Some("ä")),
            ]
        );
        assert_eq!(files[0].before_blob.len(), 40);
    }

    #[test]
    fn lines_are_counted_inside_hunks_only() {
        let files = touched(PATCH.as_bytes());
        assert_eq!((files[0].added, files[0].removed), (1, 2));
        assert_eq!(summary_of(PATCH.as_bytes()), "4 files, +2 -2");
        assert_eq!(summary(1, 1, 0), "1 file, +1 -0");
    }

    #[test]
    fn renames_have_two_names() {
        let files = touched(
            b"diff --git a/x b/longer name\nsimilarity index 100%\nrename from x\nrename to longer name\n",
        );
        assert_eq!(files[0].before.as_deref(), Some("x"));
        assert_eq!(files[0].after.as_deref(), Some("longer name"));
    }

    #[test]
    fn colours_are_ours_and_escape_codes_of_files_are_disarmed() {
        let shown = coloured(b"@@ -1 +1 @@\n+a\x1b[31mb\r\n-c\n");
        assert!(shown.contains("\u{1b}[32m+a\u{fffd}[31mb\u{1b}[0m"), "{shown:?}");
        assert!(shown.contains("\u{1b}[31m-c\u{1b}[0m"), "{shown:?}");
    }
}
