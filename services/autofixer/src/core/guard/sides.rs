//! A patched file as its old and its new side: the whole file where it is known, else each hunk
//! with its surroundings.

use super::lexer;
use crate::core::patch::{FilePatch, Hunk, Line};
use regex::Regex;
use std::sync::LazyLock;

/// One side: its lines, its code, which of its lines the patch touches, which belong to a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub(super) lines: Vec<String>,
    pub(super) code: Vec<String>,
    pub(super) touched: Vec<bool>,
    pub(super) test: Vec<bool>,
    /// Ends inside a comment or a text.
    pub(super) open: bool,
}

/// Both sides of a file or of a hunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Sides {
    pub(super) old: Side,
    pub(super) new: Side,
}

static TEST_ITEM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"#\[\s*cfg\s*\(.*\btest\b|#\[\s*(\w+::)*(test|rstest|proptest|test_case|case)\b|\bproptest!").ok()
});
static NOT_TEST: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"not\s*\(\s*test\s*\)").ok());
static TEST_SECTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\bmod\s+\w*tests?\b|\bfn\s+\w*test\w*").ok());

impl Side {
    fn new(path: &str, lines: Vec<(String, bool)>, whole_is_test: bool, section: &str) -> Self {
        let (lines, touched): (Vec<String>, Vec<bool>) = lines.into_iter().unzip();
        let code = lexer::code(path, &lines);
        let test = if whole_is_test {
            vec![true; lines.len()]
        } else if path.ends_with(".rs") {
            let begins_in_test = TEST_SECTION.as_ref().is_some_and(|r| r.is_match(section));
            rust_tests(&code.lines, begins_in_test)
        } else {
            vec![false; lines.len()]
        };
        Self { lines, code: code.lines, touched, test, open: code.open }
    }

    /// The code of its lines that the patch touches.
    pub(super) fn touched_code(&self) -> impl Iterator<Item = &str> {
        self.code.iter().zip(&self.touched).filter(|(_, t)| **t).map(|(c, _)| c.as_str())
    }

    /// The code of touched lines that belong to a test.
    pub(super) fn touched_tests(&self) -> impl Iterator<Item = &str> {
        let flags = self.touched.iter().zip(&self.test);
        self.code.iter().zip(flags).filter(|(_, (t, test))| **t && **test).map(|(c, _)| c.as_str())
    }

    /// The lines as they are of touched lines that belong to a test.
    pub(super) fn touched_test_lines(&self) -> impl Iterator<Item = &str> {
        let flags = self.touched.iter().zip(&self.test);
        self.lines.iter().zip(flags).filter(|(_, (t, test))| **t && **test).map(|(l, _)| l.as_str())
    }
}

/// The sides of a file, from its text before the patch where that is known.
///
/// # Errors
/// In words, when the patch does not fit that text.
pub(super) fn sides(
    file: &FilePatch,
    before: Option<&str>,
    is_test: bool,
) -> Result<Vec<Sides>, String> {
    let (old, new) = (file.old.as_deref(), file.new.as_deref());
    let (old_path, new_path) = (old.or(new).unwrap_or_default(), new.or(old).unwrap_or_default());
    if let Some(before) = before.filter(|_| !file.hunks.is_empty()) {
        let (old, new) = applied(before, &file.hunks)?;
        return Ok(vec![Sides {
            old: Side::new(old_path, old, is_test, ""),
            new: Side::new(new_path, new, is_test, ""),
        }]);
    }
    Ok(file
        .hunks
        .iter()
        .map(|hunk| {
            let (old, new) = both(hunk);
            Sides {
                old: Side::new(old_path, old, is_test, &hunk.section),
                new: Side::new(new_path, new, is_test, &hunk.section),
            }
        })
        .collect())
}

type Marked = Vec<(String, bool)>;

fn both(hunk: &Hunk) -> (Marked, Marked) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for line in &hunk.lines {
        match line {
            Line::Kept(text) => {
                old.push((text.clone(), false));
                new.push((text.clone(), false));
            }
            Line::Removed(text) => old.push((text.clone(), true)),
            Line::Added(text) => new.push((text.clone(), true)),
        }
    }
    (old, new)
}

/// The whole file before and after, with the touched lines marked.
fn applied(before: &str, hunks: &[Hunk]) -> Result<(Marked, Marked), String> {
    let lines: Vec<&str> = before.split_terminator('\n').collect();
    let (mut old, mut new): (Marked, Marked) = (Vec::new(), Vec::new());
    let mut at = 0;
    for hunk in hunks {
        let adds_only = !hunk.lines.iter().any(|l| !matches!(l, Line::Added(_)));
        let start = if adds_only { hunk.old_start } else { hunk.old_start.saturating_sub(1) };
        let kept = lines.get(at..start).ok_or("a hunk stands behind the end of the file")?;
        for line in kept {
            old.push(((*line).to_owned(), false));
            new.push(((*line).to_owned(), false));
        }
        at = start;
        let (hunk_old, hunk_new) = both(hunk);
        for (text, _) in &hunk_old {
            if lines.get(at) != Some(&text.as_str()) {
                return Err(format!("line {} of the file is not what the patch expects", at + 1));
            }
            at += 1;
        }
        old.extend(hunk_old);
        new.extend(hunk_new);
    }
    for line in lines.get(at..).unwrap_or_default() {
        old.push(((*line).to_owned(), false));
        new.push(((*line).to_owned(), false));
    }
    Ok((old, new))
}

/// Which lines of Rust code belong to a test: items under `#[cfg(test)]` and test functions.
fn rust_tests(code: &[String], begins_in_test: bool) -> Vec<bool> {
    let mut flags = vec![false; code.len()];
    // The depth at which the current test item began; an item has not begun until its brace.
    let mut depth: i64 = 0;
    let mut item: Option<(i64, bool)> = begins_in_test.then_some((-1, true));
    for (index, line) in code.iter().enumerate() {
        let opens = TEST_ITEM.as_ref().is_some_and(|r| r.is_match(line))
            && !NOT_TEST.as_ref().is_some_and(|r| r.is_match(line));
        if item.is_none() && opens {
            item = Some((depth, false));
        }
        flags[index] = item.is_some();
        for c in line.chars() {
            match c {
                '{' => {
                    depth += 1;
                    if let Some((_, begun)) = &mut item {
                        *begun = true;
                    }
                }
                '}' => {
                    depth -= 1;
                    if item.is_some_and(|(at, begun)| begun && depth <= at) {
                        item = None;
                    }
                }
                ';' if !line.trim_start().starts_with("#[")
                    && item.is_some_and(|(at, begun)| !begun && depth == at) =>
                {
                    item = None;
                }
                _ => {}
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> String {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        rust_tests(&lines, false).iter().map(|f| if *f { 't' } else { '.' }).collect()
    }

    #[test]
    fn inline_tests_are_found_by_their_attributes() {
        assert_eq!(
            flags("fn a() {\n}\n#[cfg(test)]\nmod tests {\n fn x() {\n }\n}\nfn b() {}"),
            "..ttttt."
        );
        assert_eq!(flags("#[test]\nfn a() { b(); }\nfn c() {}"), "tt.");
        assert_eq!(flags("#[cfg(test)]\nmod tests;\nfn c() {}"), "tt.");
        assert_eq!(flags("#[cfg(not(test))]\nfn a() {}"), "..");
        assert_eq!(flags("#[rt::test]\nasync fn a() {\n}\nstruct B;"), "ttt.");
    }
}
