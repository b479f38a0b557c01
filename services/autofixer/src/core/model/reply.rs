//! Reads a model's answer: SEARCH/REPLACE blocks, deletions, or `NO_FIX`.

use regex::Regex;
use std::sync::LazyLock;

/// Largest answer that is read, in bytes.
pub const REPLY_BYTES_MAX: usize = 512 * 1024;
/// Blocks that are read at most.
const BLOCKS_MAX: usize = 64;
/// Longest explanation or reason that is kept, in characters.
const WORDS_CHARS_MAX: usize = 300;

/// What a model answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Changes, with what it says about them.
    Blocks {
        /// The blocks, in its order.
        blocks: Vec<Block>,
        /// Its first line.
        explanation: String,
    },
    /// It cannot.
    NoFix(String),
}

/// One change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The file.
    pub path: String,
    /// What is done to it.
    pub change: Change,
}

/// What a block does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Lines take the place of others; an empty `search` makes the file.
    Replace {
        /// Lines that stand in the file.
        search: Vec<String>,
        /// Lines that take their place.
        replace: Vec<String>,
    },
    /// The file goes.
    Delete,
}

static START: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*<{5,9} ?(SEARCH|DELETE|ORIGINAL)>?\s*$").ok());
static END: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\s*>{5,9} ?(REPLACE|DELETE|UPDATED)>?\s*$").ok());
static MIDDLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\s*={5,9}\s*$").ok());

fn is(regex: &LazyLock<Option<Regex>>, line: &str) -> bool {
    regex.as_ref().is_some_and(|r| r.is_match(line))
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it, in words for the model.
pub fn read(text: &str) -> Result<Reply, Vec<String>> {
    if text.len() > REPLY_BYTES_MAX {
        return Err(vec![format!("the answer has more than {REPLY_BYTES_MAX} bytes")]);
    }
    let mut reader = Reader { lines: text.lines().collect(), at: 0, path: None };
    let mut blocks = Vec::new();
    while let Some(line) = reader.next() {
        if is(&START, line) {
            blocks.push(reader.block(line, blocks.len() + 1).map_err(|p| vec![p])?);
            if blocks.len() > BLOCKS_MAX {
                return Err(vec![format!("the answer has more than {BLOCKS_MAX} blocks")]);
            }
        } else if let Some(path) = path_of(line) {
            reader.path = Some(path);
        } else if let Some(reason) = no_fix(line).filter(|_| blocks.is_empty()) {
            return Ok(Reply::NoFix(reason));
        }
    }
    if blocks.is_empty() {
        return Err(vec!["there is no SEARCH/REPLACE block in it".to_owned()]);
    }
    let words = |l: &&str| !l.trim().is_empty() && path_of(l).is_none() && !l.starts_with("```");
    let first = text.lines().take_while(|l| !is(&START, l)).find(words).unwrap_or_default();
    Ok(Reply::Blocks { blocks, explanation: shortened(first) })
}

fn shortened(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}

fn no_fix(line: &str) -> Option<String> {
    let line = line.trim().trim_matches(['*', '`']);
    let rest = line.strip_prefix("NO_FIX")?;
    let reason = shortened(rest.trim_start_matches(':'));
    Some(if reason.is_empty() { "the model gives no reason".to_owned() } else { reason })
}

/// The path on a line of its own, also in the decorations that models like.
fn path_of(line: &str) -> Option<String> {
    let mut text = line.trim().trim_start_matches(['#', '*']).trim();
    for word in ["File:", "file:", "Path:", "path:", "FILE:"] {
        text = text.strip_prefix(word).unwrap_or(text).trim();
    }
    let text = text.trim_matches(['`', '*', '"', '\'']).trim_end_matches(':').trim();
    let plain = !text.is_empty()
        && text.len() < 512
        && !text.contains(char::is_whitespace)
        && !text.starts_with(['<', '>', '=', '-', '(', '`'])
        && (text.contains('/') || text.contains('.') || text == "Dockerfile" || text == "Makefile");
    (plain && !text.ends_with(['.', ',', ';', '!', '?'])).then(|| text.to_owned())
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    at: usize,
    path: Option<String>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at).copied();
        self.at += 1;
        line
    }

    fn block(&mut self, start: &str, number: usize) -> Result<Block, String> {
        let Some(path) = self.path.clone() else {
            return Err(format!("block {number} has no path on the line above it"));
        };
        if start.contains("DELETE") {
            while let Some(line) = self.next() {
                if is(&END, line) {
                    return Ok(Block { path, change: Change::Delete });
                }
            }
            return Err(format!("block {number} ({path}) does not end"));
        }
        let search = self.until(&MIDDLE).ok_or_else(|| {
            format!("block {number} ({path}) has no ======= line: the answer was cut off")
        })?;
        let replace = self.until(&END).ok_or_else(|| {
            format!("block {number} ({path}) has no >>>>>>> REPLACE line: the answer was cut off")
        })?;
        Ok(Block { path, change: Change::Replace { search, replace } })
    }

    fn until(&mut self, end: &LazyLock<Option<Regex>>) -> Option<Vec<String>> {
        let mut found = Vec::new();
        while let Some(line) = self.next() {
            if is(end, line) {
                return Some(found);
            }
            if is(&START, line) {
                return None;
            }
            found.push(line.to_owned());
        }
        None
    }
}
