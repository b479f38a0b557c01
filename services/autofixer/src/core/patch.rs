//! A strict reader of `git diff --binary` text.
//!
//! Only what git itself prints is taken: every name must be said twice and the same, hunks must hold
//! exactly the lines they announce. Whatever is left over makes the patch unreadable, because what
//! this reader does not see, `git apply` might.

mod quote;

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Largest patch that is read, in bytes.
pub const PATCH_BYTES_MAX: usize = 1024 * 1024;

/// A readable patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// The files it touches, in the order of the text.
    pub files: Vec<FilePatch>,
}

/// What a patch does to one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePatch {
    /// Path before; `None` for a new file.
    pub old: Option<String>,
    /// Path after; `None` for a deleted file.
    pub new: Option<String>,
    /// File mode before, when the patch names it.
    pub old_mode: Option<u32>,
    /// File mode after, when the patch names it.
    pub new_mode: Option<u32>,
    /// Id of the content before, as the patch abbreviates it.
    pub old_id: Option<String>,
    /// Whether the file is renamed or copied.
    pub moved: bool,
    /// Whether the content is binary.
    pub binary: bool,
    /// Lines taken out.
    pub removed: Vec<String>,
    /// Lines put in.
    pub added: Vec<String>,
    /// The same lines where they stand, with what stands around them.
    pub hunks: Vec<Hunk>,
}

/// A run of lines that a patch changes, with its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hunk {
    /// Line of the old file where it begins, from 1; the line before it when it only adds.
    pub old_start: usize,
    /// Line of the new file where it begins.
    pub new_start: usize,
    /// What git prints behind the second `@@`: the line that encloses the hunk.
    pub section: String,
    /// Its lines without their marks.
    pub lines: Vec<Line>,
    /// Whether the old file ends here without a line break.
    pub old_ends_bare: bool,
    /// Whether the new file ends here without a line break.
    pub new_ends_bare: bool,
}

/// A line of a hunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// It stays.
    Kept(String),
    /// It goes.
    Removed(String),
    /// It comes.
    Added(String),
}

impl FilePatch {
    /// The path a person would name.
    pub fn path(&self) -> &str {
        self.new.as_deref().or(self.old.as_deref()).unwrap_or_default()
    }
}

/// Why a patch cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// Line of the patch, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// SHA-256 of a patch's text, in hex.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    /// The first line that is not what git prints there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > PATCH_BYTES_MAX {
            let problem = format!("the patch has {} bytes (at most {PATCH_BYTES_MAX})", text.len());
            return Err(Error { line: 1, problem });
        }
        let mut reader = Reader { lines: text.split_terminator('\n').collect(), at: 0 };
        let mut files = Vec::new();
        while reader.peek().is_some() {
            files.push(reader.file()?);
        }
        Ok(Self { files })
    }
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.lines.get(self.at).copied()
    }

    fn fail<T>(&self, problem: impl Into<String>) -> Result<T, Error> {
        Err(Error { line: self.at + 1, problem: problem.into() })
    }

    /// The rest of the next line when it starts with `prefix`; the line is then taken.
    fn take(&mut self, prefix: &str) -> Option<&'a str> {
        let rest = self.peek()?.strip_prefix(prefix)?;
        self.at += 1;
        Some(rest)
    }

    fn file(&mut self) -> Result<FilePatch, Error> {
        let Some(header) = self.take("diff --git ") else {
            return self.fail("expected \"diff --git a/... b/...\"");
        };
        let header_at = self.at;
        let mut file = FilePatch::default();
        let mut moved_from = None;
        let mut moved_to = None;
        let (mut created, mut deleted) = (false, false);
        let mut said: Vec<&str> = Vec::new();
        loop {
            let line = self.peek().unwrap_or_default();
            if let Some(known) = HEADERS.iter().find(|h| line.starts_with(**h)) {
                if said.contains(known) {
                    return self.fail(format!("the header says {:?} twice", known.trim_end()));
                }
                said.push(known);
            }
            if let Some(mode) = self.take("old mode ") {
                file.old_mode = Some(self.mode(mode)?);
            } else if let Some(mode) = self.take("new mode ") {
                file.new_mode = Some(self.mode(mode)?);
            } else if let Some(mode) = self.take("new file mode ") {
                file.new_mode = Some(self.mode(mode)?);
                created = true;
            } else if let Some(mode) = self.take("deleted file mode ") {
                file.old_mode = Some(self.mode(mode)?);
                deleted = true;
            } else if let Some(name) = self.take("rename from ").or_else(|| self.take("copy from "))
            {
                moved_from = Some(self.name(name)?);
            } else if let Some(name) = self.take("rename to ").or_else(|| self.take("copy to ")) {
                moved_to = Some(self.name(name)?);
            } else if let Some(index) = self.take("index ") {
                let ids = index.split(' ').next().unwrap_or_default();
                if !is_ids(ids) {
                    return self.fail(format!("{ids:?} is not a pair of blob ids"));
                }
                file.old_id = ids.split("..").next().map(str::to_owned);
                if let Some((_, mode)) = index.split_once(' ') {
                    let mode = self.mode(mode)?;
                    file.old_mode.get_or_insert(mode);
                    file.new_mode.get_or_insert(mode);
                }
            } else if self.take("similarity index ").is_none()
                && self.take("dissimilarity index ").is_none()
            {
                break;
            }
        }
        if moved_from.is_some() != moved_to.is_some() || (created && deleted) {
            return self.fail("contradicting header lines");
        }
        file.moved = moved_from.is_some();
        if file.moved && (created || deleted) {
            return self.fail("contradicting header lines");
        }
        let Some((old, new)) =
            quote::header_names(header, moved_from.as_deref(), moved_to.as_deref())
        else {
            self.at = header_at - 1;
            return self.fail(
                "the names after \"diff --git\" cannot be told apart or differ from the others",
            );
        };
        file.old = (!created).then_some(old);
        file.new = (!deleted).then_some(new);
        self.content(&mut file)?;
        Ok(file)
    }

    fn mode(&self, text: &str) -> Result<u32, Error> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if text.len() == 6 => Ok(mode),
            _ => self.fail(format!("{text:?} is not a file mode")),
        }
    }

    fn name(&self, text: &str) -> Result<String, Error> {
        match quote::unquote(text) {
            Some(name) => Ok(name),
            None => self.fail("a name is quoted in a way that git does not print"),
        }
    }

    fn content(&mut self, file: &mut FilePatch) -> Result<(), Error> {
        if self.take("GIT binary patch").is_some() {
            file.binary = true;
            while self.peek().is_some_and(|l| !l.starts_with("diff --git ")) {
                self.at += 1;
            }
            return Ok(());
        }
        if self.peek().is_some_and(|l| l.starts_with("Binary files ") && l.ends_with(" differ")) {
            file.binary = true;
            self.at += 1;
            return Ok(());
        }
        let Some(old) = self.take("--- ") else { return Ok(()) };
        self.same_name(old, "a/", file.old.as_deref())?;
        let Some(new) = self.take("+++ ") else { return self.fail("expected \"+++ b/...\"") };
        self.same_name(new, "b/", file.new.as_deref())?;
        let mut end = (0, 0);
        while let Some(header) = self.take("@@ -") {
            end = self.hunk(header, file, end)?;
        }
        if file.hunks.is_empty() { self.fail("expected a hunk") } else { Ok(()) }
    }

    /// Checks a `---` or `+++` name against the header's.
    fn same_name(&self, text: &str, prefix: &str, expected: Option<&str>) -> Result<(), Error> {
        let text = text.strip_suffix('\t').unwrap_or(text);
        let found = match quote::unquote(text) {
            Some(name) if name == "/dev/null" => None,
            Some(name) => match name.strip_prefix(prefix) {
                Some(name) => Some(name.to_owned()),
                None => return self.fail(format!("{text:?} does not start with {prefix}")),
            },
            None => return self.fail("a name is quoted in a way that git does not print"),
        };
        if found.as_deref() == expected {
            Ok(())
        } else {
            self.fail(format!("{text:?} is not the file of the \"diff --git\" line"))
        }
    }

    /// Reads a hunk that has to begin behind `end` on both sides; returns where it ends.
    fn hunk(
        &mut self,
        header: &str,
        file: &mut FilePatch,
        end: (usize, usize),
    ) -> Result<(usize, usize), Error> {
        let Some(range) = Range::parse(header) else {
            return self.fail("expected \"@@ -line,count +line,count @@\"");
        };
        if range.old.start < end.0 || range.new.start < end.1 {
            return self.fail("the hunk stands before the end of the one above it");
        }
        let (mut old, mut new) = (range.old.length, range.new.length);
        let mut hunk = Hunk {
            old_start: range.old.start,
            new_start: range.new.start,
            section: range.section,
            ..Hunk::default()
        };
        while old > 0 || new > 0 {
            let Some(line) = self.peek() else { return self.fail("the patch ends inside a hunk") };
            let text = line.get(1..).unwrap_or_default().to_owned();
            match line.as_bytes().first() {
                Some(b'-') if old > 0 => {
                    old -= 1;
                    file.removed.push(text.clone());
                    hunk.lines.push(Line::Removed(text));
                }
                Some(b'+') if new > 0 => {
                    new -= 1;
                    file.added.push(text.clone());
                    hunk.lines.push(Line::Added(text));
                }
                Some(b' ') if old > 0 && new > 0 => {
                    old -= 1;
                    new -= 1;
                    hunk.lines.push(Line::Kept(text));
                }
                Some(b'\\') if old == 0 && !hunk.old_ends_bare => hunk.old_ends_bare = true,
                _ => {
                    return self
                        .fail("a hunk's line fits neither its mark nor its announced length");
                }
            }
            self.at += 1;
        }
        if self.peek().is_some_and(|l| l.starts_with("\\ No newline")) {
            self.at += 1;
            hunk.new_ends_bare = !matches!(hunk.lines.last(), Some(Line::Removed(_)));
            hunk.old_ends_bare |= !matches!(hunk.lines.last(), Some(Line::Added(_)));
        }
        if !hunk.lines.iter().any(|l| !matches!(l, Line::Kept(_))) {
            return self.fail("a hunk changes nothing");
        }
        file.hunks.push(hunk);
        Ok((range.old.end(), range.new.end()))
    }
}

/// Header lines that a file has once at most.
const HEADERS: &[&str] = &[
    "old mode ",
    "new mode ",
    "new file mode ",
    "deleted file mode ",
    "rename from ",
    "rename to ",
    "copy from ",
    "copy to ",
    "index ",
    "similarity index ",
    "dissimilarity index ",
];

/// Whether a text is `<hex>..<hex>`.
fn is_ids(text: &str) -> bool {
    let hex = |id: &str| !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit());
    text.split_once("..").is_some_and(|(old, new)| hex(old) && hex(new))
}

/// One side of a hunk's header.
struct Span {
    start: usize,
    length: u32,
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let number = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse().ok())?;
        let (start, length) = match text.split_once(',') {
            Some((start, length)) => (start, number(length)?),
            None => (text, 1),
        };
        Some(Self { start: usize::try_from(number(start)?).ok()?, length })
    }

    /// The first line behind it.
    fn end(&self) -> usize {
        self.start.saturating_add(usize::try_from(self.length).unwrap_or(usize::MAX))
    }
}

/// `-1,2 +3,4 @@ section` (without the leading `@@ -`).
struct Range {
    old: Span,
    new: Span,
    section: String,
}

impl Range {
    fn parse(header: &str) -> Option<Self> {
        let (ranges, section) = header.split_once(" @@")?;
        let (old, new) = ranges.split_once(" +")?;
        let section = section.strip_prefix(' ').unwrap_or(section).to_owned();
        Some(Self { old: Span::parse(old)?, new: Span::parse(new)?, section })
    }
}

#[cfg(test)]
mod tests;
