//! Takes comments and the contents of texts out of source code, line for line, so that what is
//! counted in it is code: an assertion in a comment asserts nothing.

/// How a language marks comments and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tongue {
    Python,
    /// `#` comments, nothing else is known.
    Hash,
    Rust,
    /// `//` and `/* */`, single-quoted texts.
    Script,
    /// `//` and `/* */`, single-quoted characters.
    C,
    Sql,
    Prose,
}

/// Source code without comments and contents of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    /// As many lines as before.
    pub(super) lines: Vec<String>,
    /// Whether it ends inside a comment or a text of several lines.
    pub(super) open: bool,
}

fn tongue(path: &str) -> Tongue {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    match name.rsplit_once('.').map_or("", |(_, e)| e) {
        "py" | "pyi" | "pyx" => Tongue::Python,
        "rs" => Tongue::Rust,
        "js" | "jsx" | "mjs" | "cjs" | "ts" | "tsx" | "mts" | "cts" | "vue" | "svelte" | "go"
        | "php" | "dart" | "groovy" => Tongue::Script,
        "c" | "h" | "cc" | "cpp" | "hpp" | "cxx" | "hxx" | "java" | "kt" | "cs" | "swift"
        | "scala" | "proto" | "css" | "scss" | "less" => Tongue::C,
        "sql" => Tongue::Sql,
        "md" | "rst" | "txt" | "html" | "json" | "snap" | "lock" | "csv" | "xml" | "svg" => {
            Tongue::Prose
        }
        _ => Tongue::Hash,
    }
}

/// Where the reader is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Code,
    /// In a comment of this depth.
    Comment(usize),
    /// In a text that this ends; a backslash escapes when asked for; some end with their line.
    Text {
        end: String,
        escapes: bool,
        lines: bool,
    },
}

/// The code of a text in the language that the path's ending names.
pub(super) fn code(path: &str, lines: &[String]) -> Code {
    let tongue = tongue(path);
    if tongue == Tongue::Prose {
        return Code { lines: lines.to_vec(), open: false };
    }
    let mut at = At::Code;
    let mut out = Vec::with_capacity(lines.len());
    for line in lines {
        let mut reader = Reader { tongue, rest: line, out: String::new(), before: ' ' };
        while !reader.rest.is_empty() {
            at = reader.step(at);
        }
        out.push(reader.out);
        if matches!(at, At::Text { lines: false, .. }) {
            at = At::Code;
        }
    }
    Code { lines: out, open: at != At::Code }
}

struct Reader<'a> {
    tongue: Tongue,
    rest: &'a str,
    out: String,
    before: char,
}

impl Reader<'_> {
    fn take(&mut self, bytes: usize, keep: bool) {
        let (taken, rest) = self.rest.split_at(bytes);
        if keep {
            self.out.push_str(taken);
        }
        self.before = taken.chars().last().unwrap_or(' ');
        self.rest = rest;
    }

    fn step(&mut self, at: At) -> At {
        let width = self.rest.chars().next().map_or(1, char::len_utf8);
        match at {
            At::Code => self.code(width),
            At::Comment(depth) => {
                let nests = self.tongue == Tongue::Rust;
                if self.rest.starts_with("*/") {
                    self.take(2, false);
                    return if depth > 1 { At::Comment(depth - 1) } else { At::Code };
                }
                if nests && self.rest.starts_with("/*") {
                    self.take(2, false);
                    return At::Comment(depth + 1);
                }
                self.take(width, false);
                At::Comment(depth)
            }
            At::Text { end, escapes, lines } => {
                if escapes && self.rest.starts_with('\\') {
                    let next = self.rest[1..].chars().next().map_or(0, char::len_utf8);
                    self.take(1 + next, false);
                } else if self.rest.starts_with(end.as_str()) {
                    self.take(end.len(), true);
                    return At::Code;
                } else {
                    self.take(width, false);
                }
                At::Text { end, escapes, lines }
            }
        }
    }

    fn code(&mut self, width: usize) -> At {
        let slashes = matches!(self.tongue, Tongue::Rust | Tongue::Script | Tongue::C);
        let word_start = self.before.is_whitespace() || self.before == ';';
        let comment = (slashes && self.rest.starts_with("//"))
            || (self.tongue == Tongue::Sql && self.rest.starts_with("--"))
            || (self.tongue == Tongue::Python && self.rest.starts_with('#'))
            || (self.tongue == Tongue::Hash && word_start && self.rest.starts_with('#'));
        if comment {
            self.take(self.rest.len(), false);
            return At::Code;
        }
        if (slashes || self.tongue == Tongue::Sql) && self.rest.starts_with("/*") {
            self.take(2, false);
            return At::Comment(1);
        }
        let (start, text) = self.text();
        self.take(start.max(width), true);
        text.unwrap_or(At::Code)
    }

    /// A text that begins here, and how long its beginning is.
    fn text(&self) -> (usize, Option<At>) {
        let rest = self.rest;
        let plain =
            |end: &str, lines: bool| Some(At::Text { end: end.to_owned(), escapes: true, lines });
        match self.tongue {
            Tongue::Python => match rest {
                _ if rest.starts_with("\"\"\"") => (3, plain("\"\"\"", true)),
                _ if rest.starts_with("'''") => (3, plain("'''", true)),
                _ if rest.starts_with('"') => (1, plain("\"", false)),
                _ if rest.starts_with('\'') => (1, plain("'", false)),
                _ => (0, None),
            },
            Tongue::Rust => self.rust_text(),
            Tongue::Script if rest.starts_with('`') => (1, plain("`", true)),
            Tongue::Script | Tongue::C | Tongue::Sql if rest.starts_with('"') => {
                (1, plain("\"", false))
            }
            Tongue::Script | Tongue::C | Tongue::Sql if rest.starts_with('\'') => {
                (1, plain("'", self.tongue == Tongue::Sql))
            }
            _ => (0, None),
        }
    }

    fn rust_text(&self) -> (usize, Option<At>) {
        let rest = self.rest;
        let word = self.before.is_alphanumeric() || self.before == '_';
        if let Some(raw) = rest.strip_prefix('r').filter(|_| !word) {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                return (2 + hashes, Some(At::Text { end, escapes: false, lines: true }));
            }
        }
        if rest.starts_with('"') {
            return (1, Some(At::Text { end: "\"".to_owned(), escapes: true, lines: true }));
        }
        let character = rest.strip_prefix('\'').is_some_and(|c| {
            let mut chars = c.chars();
            match chars.next() {
                Some('\\') => true,
                Some(_) => chars.next() == Some('\''),
                None => false,
            }
        });
        if character {
            return (1, Some(At::Text { end: "'".to_owned(), escapes: true, lines: false }));
        }
        (0, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &str, open: bool) {
        let lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let found = code(path, &lines);
        assert_eq!((found.lines.join("\n").as_str(), found.open), (expected, open), "{text}");
    }

    #[test]
    fn comments_and_contents_of_texts_go() {
        check("a.py", "x = 'a # b'  # c", "x = ''  ", false);
        check("a.py", "\"\"\"doc\nassert x\n\"\"\"\nassert y", "\"\"\"\n\n\"\"\"\nassert y", false);
        check("a.rs", "let a = 'x'; // y", "let a = ''; ", false);
        check("a.rs", "fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}", false);
        check("a.rs", "/* a /* b */ c */ d r#\"e\"f\"# g", " d r#\"\"# g", false);
        check("a.js", "expect(`a\nb`).toBe(\"//\") // c", "expect(`\n`).toBe(\"\") ", false);
        check("a.js", "/* expect(a)", "", true);
        check("a.sh", "echo a#b # c", "echo a#b ", false);
        check("a.sql", "select 1 -- x", "select 1 ", false);
        check("a.md", "# stays", "# stays", false);
    }
}
