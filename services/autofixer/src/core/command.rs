//! Reads a step's shell line: which tools it starts, in which folder, with which arguments.
//!
//! It does not expand anything: a word that only a shell could expand is kept as it is written.
//! What it cannot follow (functions, here-documents, makefiles) yields no invocation.

mod lex;
mod wrappers;

use lex::{Token, literal, substitutions, tokens};
use meta_domain::plan::Command;

pub use lex::quoted;

/// How deep `bash -c` and `$(...)` are followed.
const NESTING_MAX: usize = 4;

/// One tool that a step starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    /// Folder it runs in, relative to the workspace; empty for the workspace itself.
    pub folder: String,
    /// Assignments before it, such as `RUST_BACKTRACE=1`, as written.
    pub env: Vec<String>,
    /// Words that start it, as written: `npx eslint`, `python -m ruff`, `cargo +nightly`.
    pub starts_with: Vec<String>,
    /// Its name without folders, such as `eslint`.
    pub name: String,
    /// Its arguments, as written.
    pub args: Vec<String>,
    /// It got arguments that are not known here (a loop variable, a pipe).
    pub open_ended: bool,
    /// Its last argument is a command that prints one argument a line, blanks in it included.
    pub by_line: bool,
}

impl Invocation {
    /// The literal value of the argument at `index`.
    pub fn arg(&self, index: usize) -> Option<String> {
        self.args.get(index).and_then(|w| literal(w))
    }

    /// Whether this is `pattern`: the tool's name (`*.sh`: any with this ending) and, where given,
    /// its first arguments.
    pub fn is(&self, pattern: &str) -> bool {
        let mut words = pattern.split(' ');
        let named = |first: &str| match first.strip_prefix('*') {
            Some(ending) => self.name.ends_with(ending),
            None => self.name == first,
        };
        words.next().is_some_and(named)
            && words.enumerate().all(|(i, w)| self.arg(i).as_deref() == Some(w))
    }

    /// Whether any argument is literally `flag`.
    pub fn has(&self, flag: &str) -> bool {
        self.args.iter().any(|w| literal(w).as_deref() == Some(flag))
    }
}

/// All tools that a command starts, in the order in which they stand there.
pub fn invocations(command: &Command) -> Vec<Invocation> {
    let mut found = Vec::new();
    match command {
        Command::Shell(line) => Walk { found: &mut found, depth: 0 }.line(line, ""),
        Command::Argv(words) => {
            let words: Vec<String> = words.iter().map(|w| quoted(w)).collect();
            Walk { found: &mut found, depth: 0 }.simple(&words, &[], "");
        }
    }
    found
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

struct Walk<'a> {
    found: &'a mut Vec<Invocation>,
    depth: usize,
}

impl Walk<'_> {
    /// Follows a whole line that starts in `folder`.
    fn line(&mut self, line: &str, folder: &str) {
        let mut folders = vec![folder.to_owned()];
        let mut words: Vec<String> = Vec::new();
        let mut piped: Vec<String> = Vec::new();
        for token in tokens(line).into_iter().chain([Token::Separator]) {
            match token {
                Token::Word(word) => words.push(word),
                Token::Pipe => {
                    self.finish(&words, &piped, &mut folders);
                    piped = std::mem::take(&mut words);
                }
                Token::Separator | Token::Open | Token::Close => {
                    self.finish(&words, &piped, &mut folders);
                    words.clear();
                    piped.clear();
                    if token == Token::Open {
                        folders.push(folders.last().cloned().unwrap_or_default());
                    } else if token == Token::Close && folders.len() > 1 {
                        folders.pop();
                    }
                }
            }
        }
    }

    /// One simple command: a change of folder, or a tool.
    fn finish(&mut self, words: &[String], piped: &[String], folders: &mut [String]) {
        let Some(folder) = folders.last_mut() else { return };
        if words.first().is_some_and(|w| w == "cd" || w == "pushd") {
            if let Some(target) = words.iter().skip(1).find(|w| !w.starts_with('-')) {
                *folder = literal(target).map_or_else(String::new, |t| join(folder, &t));
            }
            return;
        }
        let folder = folder.clone();
        self.simple(words, piped, &folder);
    }

    fn simple(&mut self, words: &[String], piped: &[String], folder: &str) {
        for inner in words.iter().flat_map(|w| substitutions(w)) {
            self.deeper(&inner, folder);
        }
        let assignments = words.iter().take_while(|w| is_assignment(w)).count();
        let (env, words) = words.split_at(assignments);
        let env: Vec<String> =
            env.iter().filter(|w| substitutions(w).is_empty()).cloned().collect();
        let Some(peeled) = wrappers::peel(words) else { return };
        let args = words.get(peeled.prefix.end..).unwrap_or_default();
        match peeled.name.as_str() {
            "bash" | "sh" | "zsh" | "dash" => {
                let after_c = args.iter().position(|w| w.starts_with('-') && w.ends_with('c'));
                if let Some(line) = after_c.and_then(|i| args.get(i + 1)).and_then(|w| literal(w)) {
                    self.deeper(&line, folder);
                    return;
                }
            }
            "xargs" => return self.xargs(args, piped, folder),
            "find" if self.find_exec(args, folder) => return,
            "}" | "fi" | "done" | "esac" | "for" | "case" | "in" => return,
            _ => {}
        }
        let starts_with = words.get(peeled.prefix).unwrap_or_default().to_vec();
        self.push(Invocation {
            folder: folder.to_owned(),
            env,
            starts_with,
            name: peeled.name,
            args: args.to_vec(),
            open_ended: false,
            by_line: false,
        });
    }

    fn push(&mut self, mut invocation: Invocation) {
        let before = invocation.args.len();
        invocation.args.retain(|w| !names_variable(w) && w != "{}" && w != "}");
        invocation.open_ended |= invocation.args.len() < before;
        self.found.push(invocation);
    }

    fn deeper(&mut self, line: &str, folder: &str) {
        if self.depth < NESTING_MAX {
            Walk { found: self.found, depth: self.depth + 1 }.line(line, folder);
        }
    }

    /// `producer | xargs tool args`: the producer's output becomes arguments.
    fn xargs(&mut self, args: &[String], piped: &[String], folder: &str) {
        let mut at = 0;
        let mut null = false;
        while let Some(flag) = args.get(at).filter(|w| w.starts_with('-')) {
            null |= flag == "-0" || flag == "--null";
            at += if matches!(flag.as_str(), "-n" | "-P" | "-I" | "-L" | "-d") { 2 } else { 1 };
        }
        let start = self.found.len();
        self.simple(args.get(at..).unwrap_or_default(), &[], folder);
        let producer = piped.join(" ");
        let split = if null { " | tr '\\0' '\\n'" } else { "" };
        for invocation in &mut self.found[start..] {
            if producer.is_empty() {
                invocation.open_ended = true;
            } else {
                invocation.args.push(format!("$({producer}{split})"));
                invocation.by_line = null;
            }
        }
    }

    /// `find ... -exec tool {} +`: what is found becomes arguments.
    fn find_exec(&mut self, args: &[String], folder: &str) -> bool {
        let Some(exec) = args.iter().position(|w| w == "-exec") else { return false };
        let tool: Vec<String> = args[exec + 1..]
            .iter()
            .take_while(|w| *w != "+" && *w != "\\;" && *w != "';'")
            .filter(|w| *w != "{}" && *w != "'{}'")
            .cloned()
            .collect();
        let start = self.found.len();
        self.simple(&tool, &[], folder);
        for invocation in &mut self.found[start..] {
            invocation.args.push(format!("$(find {})", args[..exec].join(" ")));
            invocation.by_line = true;
        }
        true
    }
}

/// Whether a word needs a shell variable that the fixer's script would not have.
fn names_variable(word: &str) -> bool {
    let mut outside = word.to_owned();
    for inner in substitutions(word) {
        outside = outside.replace(&inner, "");
    }
    let single = word.starts_with('\'') && word.ends_with('\'');
    !single
        && outside.match_indices('$').any(|(i, _)| {
            outside[i + 1..].starts_with(|c: char| c.is_ascii_alphanumeric() || "_{@*".contains(c))
        })
}

fn join(folder: &str, target: &str) -> String {
    let target = target.trim_end_matches('/');
    let mut parts: Vec<&str> = if target.starts_with('/') {
        return target.to_owned();
    } else {
        folder.split('/').filter(|p| !p.is_empty()).collect()
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
