//! A patch as two columns: what was there, what is there now, and which words differ.

use similar::{ChangeTag, TextDiff};

/// Rows of a patch that are laid out; the rest is only counted.
pub(crate) const ROWS_MAX: usize = 1_500;
/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 1_000;
/// Two lines less alike than this are shown without marks.
const ALIKE_MIN: f32 = 0.35;

/// The change of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FileDiff {
    /// Where it is afterwards, or where it was.
    pub(crate) path: String,
    /// Its name before, where it was another.
    pub(crate) was: Option<String>,
    /// What happened to it beside its lines: new, deleted, mode changed, binary.
    pub(crate) notes: Vec<String>,
    pub(crate) hunks: Vec<Hunk>,
    pub(crate) added: u32,
    pub(crate) removed: u32,
}

/// Lines that changed together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hunk {
    /// What git says stands above: the function or section.
    pub(crate) heading: String,
    pub(crate) rows: Vec<Row>,
}

/// One row of the two columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Row {
    Same { old: u32, new: u32, text: String },
    Changed { old: Option<Side>, new: Option<Side> },
}

/// One side of a row that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) number: u32,
    /// The text in pieces; true marks those that differ.
    pub(crate) words: Vec<(bool, String)>,
}

/// A patch, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) files: Vec<FileDiff>,
    /// Rows that were left out because there are too many.
    pub(crate) left_out: usize,
}

/// Reads a unified diff as git writes it; lines that are not one are left out.
pub(crate) fn read(text: &str) -> Patch {
    let mut patch = Patch::default();
    let mut rows = 0;
    let mut hunk = Open::default();
    for line in text.split('\n') {
        if hunk.wants(line) {
            hunk.take(line);
            continue;
        }
        close(&mut patch, &mut hunk, &mut rows);
        if let Some(rest) = line.strip_prefix("diff --git ") {
            patch.files.push(FileDiff { path: git_path(rest), ..FileDiff::default() });
        } else if let Some(old) = line.strip_prefix("--- ") {
            if patch.files.last().is_none_or(|f| !f.hunks.is_empty()) {
                patch.files.push(FileDiff::default());
            }
            if let (Some(file), Some(path)) = (patch.files.last_mut(), side_path(old)) {
                file.path = path;
            }
        } else if let (Some(new), Some(file)) = (line.strip_prefix("+++ "), patch.files.last_mut())
        {
            file.path = side_path(new).unwrap_or_else(|| std::mem::take(&mut file.path));
        } else if let Some(header) = line.strip_prefix("@@ ") {
            hunk = Open::new(header).unwrap_or_default();
        } else if let Some(file) = patch.files.last_mut() {
            file.note(line);
        }
    }
    close(&mut patch, &mut hunk, &mut rows);
    patch
}

impl FileDiff {
    fn note(&mut self, line: &str) {
        if let Some(old) = line.strip_prefix("rename from ") {
            self.was = Some(old.to_owned());
        } else if let Some(new) = line.strip_prefix("rename to ") {
            new.clone_into(&mut self.path);
        } else if line.starts_with("new file mode ") {
            self.notes.push("new file".to_owned());
        } else if line.starts_with("deleted file mode ") {
            self.notes.push("deleted".to_owned());
        } else if let Some(mode) = line.strip_prefix("new mode ") {
            self.notes.push(format!("mode {mode}"));
        } else if line.starts_with("GIT binary patch") || line.starts_with("Binary files ") {
            self.notes.push("binary".to_owned());
        }
    }
}

/// The second path of `a/x b/x`.
fn git_path(rest: &str) -> String {
    rest.split_once(" b/").map_or(rest, |(_, path)| path).to_owned()
}

/// The path of `a/x` or `b/x`; `None` for no file.
fn side_path(text: &str) -> Option<String> {
    let path = text.split('\t').next().unwrap_or(text);
    if path == "/dev/null" {
        return None;
    }
    Some(path.strip_prefix("a/").or_else(|| path.strip_prefix("b/")).unwrap_or(path).to_owned())
}

/// A hunk that is being read.
#[derive(Default)]
struct Open {
    heading: String,
    old: u32,
    new: u32,
    old_left: u32,
    new_left: u32,
    rows: Vec<Row>,
    gone: Vec<(u32, String)>,
    come: Vec<(u32, String)>,
}

impl Open {
    /// From what follows the first `@@`.
    fn new(header: &str) -> Option<Self> {
        let (ranges, heading) = header.split_once(" @@")?;
        let (old, new) = ranges.split_once(' ')?;
        let range = |text: &str| {
            let (start, count) = text.split_once(',').unwrap_or((text, "1"));
            Some((start.parse::<u32>().ok()?, count.parse::<u32>().ok()?))
        };
        let (old, old_left) = range(old.strip_prefix('-')?)?;
        let (new, new_left) = range(new.strip_prefix('+')?)?;
        let heading = heading.trim().to_owned();
        Some(Self { heading, old, new, old_left, new_left, ..Self::default() })
    }

    fn wants(&self, line: &str) -> bool {
        match line.as_bytes().first() {
            Some(b'-') => self.old_left > 0,
            Some(b'+') => self.new_left > 0,
            Some(b' ') | None => self.old_left > 0 && self.new_left > 0,
            Some(b'\\') => !(self.rows.is_empty() && self.gone.is_empty() && self.come.is_empty()),
            Some(_) => false,
        }
    }

    fn take(&mut self, line: &str) {
        let text = || line.get(1..).unwrap_or_default().chars().take(LINE_CHARS_MAX).collect();
        match line.as_bytes().first() {
            Some(b'-') => {
                self.gone.push((self.old, text()));
                self.old = self.old.saturating_add(1);
                self.old_left -= 1;
            }
            Some(b'+') => {
                self.come.push((self.new, text()));
                self.new = self.new.saturating_add(1);
                self.new_left -= 1;
            }
            Some(b'\\') => {}
            Some(_) | None => {
                self.pair();
                self.rows.push(Row::Same { old: self.old, new: self.new, text: text() });
                (self.old, self.new) = (self.old.saturating_add(1), self.new.saturating_add(1));
                (self.old_left, self.new_left) = (self.old_left - 1, self.new_left - 1);
            }
        }
    }

    /// Puts what went and what came for it side by side.
    fn pair(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        let come = std::mem::take(&mut self.come);
        let rows = gone.len().max(come.len());
        let (mut gone, mut come) = (gone.into_iter(), come.into_iter());
        for _ in 0..rows {
            let row = match (gone.next(), come.next()) {
                (Some((o, old)), Some((n, new))) => {
                    let (old, new) = marked(&old, &new);
                    let (old, new) =
                        (Side { number: o, words: old }, Side { number: n, words: new });
                    Row::Changed { old: Some(old), new: Some(new) }
                }
                (old, new) => {
                    let side = |(number, text)| Side { number, words: vec![(false, text)] };
                    Row::Changed { old: old.map(side), new: new.map(side) }
                }
            };
            self.rows.push(row);
        }
    }
}

fn close(patch: &mut Patch, hunk: &mut Open, rows: &mut usize) {
    let mut open = std::mem::take(hunk);
    open.pair();
    if open.rows.is_empty() {
        return;
    }
    let Some(file) = patch.files.last_mut() else { return };
    for row in &open.rows {
        if let Row::Changed { old, new } = row {
            file.removed += u32::from(old.is_some());
            file.added += u32::from(new.is_some());
        }
    }
    let room = ROWS_MAX.saturating_sub(*rows);
    patch.left_out += open.rows.len().saturating_sub(room);
    open.rows.truncate(room);
    *rows += open.rows.len();
    if !open.rows.is_empty() {
        file.hunks.push(Hunk { heading: open.heading, rows: open.rows });
    }
}

type Words = Vec<(bool, String)>;

/// Both lines in pieces, those marked that differ; without marks when little is alike.
fn marked(old: &str, new: &str) -> (Words, Words) {
    let diff = TextDiff::from_words(old, new);
    let whole = |text: &str| vec![(false, text.to_owned())];
    if diff.ratio() < ALIKE_MIN {
        return (whole(old), whole(new));
    }
    let (mut left, mut right) = (Words::new(), Words::new());
    for change in diff.iter_all_changes() {
        let text = change.value();
        match change.tag() {
            ChangeTag::Equal => {
                push(&mut left, false, text);
                push(&mut right, false, text);
            }
            ChangeTag::Delete => push(&mut left, true, text),
            ChangeTag::Insert => push(&mut right, true, text),
        }
    }
    (left, right)
}

fn push(words: &mut Words, differs: bool, text: &str) {
    match words.last_mut() {
        Some((last, piece)) if *last == differs => piece.push_str(text),
        _ => words.push((differs, text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "diff --git a/src/a.rs b/src/a.rs\nindex 1..2 100644\n--- a/src/a.rs\n\
        +++ b/src/a.rs\n@@ -3,4 +3,4 @@ fn main() {\n let a = 1;\n-let x = foo(a);\n+let x = bar(a);\n\
        \n--- not a header\n+++ neither\n@@ -20 +20,2 @@\n x\n+y\ndiff --git a/n b/n\n\
        new file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+hi\n\\ No newline at end of file\n";

    #[test]
    fn a_patch_becomes_rows() {
        let patch = read(PATCH);
        assert_eq!(patch.files.len(), 2, "{patch:#?}");
        let (first, second) = (&patch.files[0], &patch.files[1]);
        assert_eq!((first.path.as_str(), first.added, first.removed), ("src/a.rs", 3, 2));
        assert_eq!(first.hunks[0].heading, "fn main() {");
        assert_eq!(first.hunks.len(), 2);
        let Row::Changed { old: Some(old), new: Some(new) } = &first.hunks[0].rows[1] else {
            panic!("{:?}", first.hunks[0].rows)
        };
        assert_eq!((old.number, new.number), (4, 4));
        assert!(old.words.iter().any(|(differs, text)| *differs && text.contains("foo")));
        assert!(new.words.iter().any(|(differs, text)| !differs && text.contains("let x")));
        assert_eq!((second.path.as_str(), second.notes[0].as_str()), ("n", "new file"));
        assert_eq!(second.hunks[0].rows.len(), 1);
    }

    #[test]
    fn whatever_comes_is_read_without_harm() {
        for text in ["", "@@ -1 +1 @@\n-x", "diff --git", "--- a\n+++ b\n@@ -9999999999 +1 @@\n+x"]
        {
            read(text);
        }
        let long = format!("--- a/x\n+++ b/x\n@@ -0,0 +1,5000 @@\n{}", "+x\n".repeat(5000));
        let patch = read(&long);
        assert_eq!(patch.files[0].added, 5000);
        assert_eq!(patch.left_out, 5000 - ROWS_MAX);
    }
}
