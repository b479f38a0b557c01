//! Peels what stands before the tool in a simple command: `timeout 20 npx eslint`, `python -m ruff`.

use super::lex::literal;

/// A simple command after its wrappers: the words that start the tool, and its name.
pub(super) struct Peeled {
    /// How many words start the tool, the tool's own word included.
    pub(super) prefix: std::ops::Range<usize>,
    /// Name of the tool without folders.
    pub(super) name: String,
}

/// Words that a subcommand of these programs hides behind, such as `npx` or `poetry run`.
const RUNNERS: &[(&str, &str)] = &[
    ("npx", ""),
    ("bunx", ""),
    ("uvx", ""),
    ("pipx", "run"),
    ("npm", "exec"),
    ("pnpm", "exec"),
    ("pnpm", "dlx"),
    ("yarn", "exec"),
    ("yarn", "dlx"),
    ("poetry", "run"),
    ("uv", "run"),
    ("pipenv", "run"),
    ("pdm", "run"),
    ("hatch", "run"),
    ("rye", "run"),
    ("bundle", "exec"),
];

/// Programs that start another one and matter nothing to a fixer.
const TRANSPARENT: &[&str] = &[
    "env", "timeout", "nice", "nohup", "time", "stdbuf", "exec", "command", "ionice", "xvfb-run",
    "sudo", "!", "if", "then", "else", "elif", "while", "until", "do", "{",
];

/// Finds the tool in a simple command. `None` when the command is empty or only a shell could tell.
pub(super) fn peel(words: &[String]) -> Option<Peeled> {
    let mut at = 0;
    loop {
        let name = base_name(&literal(words.get(at)?)?);
        if TRANSPARENT.contains(&name.as_str()) {
            at = after_transparent(words, at, &name);
            continue;
        }
        let (start, tool) = if let Some(tool) = after_runner(words, at, &name) {
            (at, tool)
        } else if is_python(&name) {
            (at, python_tool(words, at)?)
        } else {
            (at, at)
        };
        let mut end = tool + 1;
        let mut name = base_name(&literal(words.get(tool)?)?);
        if is_python(&name) && tool != at {
            end = python_tool(words, tool)? + 1;
            name = base_name(&literal(words.get(end - 1)?)?);
        }
        if name == "cargo" && words.get(end).is_some_and(|w| w.starts_with('+')) {
            end += 1;
        }
        return Some(Peeled { prefix: start..end, name });
    }
}

fn is_python(name: &str) -> bool {
    name.strip_prefix("python")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        || matches!(name, "py" | "pypy" | "pypy3")
}

fn base_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.to_owned()
}

fn is_flag(word: Option<&String>) -> bool {
    word.is_some_and(|w| w.starts_with('-'))
}

/// The position after a transparent program, its flags and its own arguments.
fn after_transparent(words: &[String], at: usize, name: &str) -> usize {
    let takes_value = |flag: &str| match name {
        "timeout" => matches!(flag, "-k" | "-s" | "--kill-after" | "--signal"),
        "nice" | "ionice" => matches!(flag, "-n" | "-c"),
        "env" => matches!(flag, "-u" | "-C"),
        "sudo" => matches!(flag, "-u" | "-g"),
        _ => false,
    };
    let mut next = at + 1;
    while is_flag(words.get(next)) {
        next += if takes_value(&words[next]) { 2 } else { 1 };
    }
    if name == "timeout" {
        next += 1;
    }
    while name == "env" && words.get(next).is_some_and(|w| super::is_assignment(w)) {
        next += 1;
    }
    next
}

/// Where the tool stands when the word at `at` is a runner such as `npx`.
fn after_runner(words: &[String], at: usize, name: &str) -> Option<usize> {
    let subcommand = words.get(at + 1).map_or("", String::as_str);
    let (_, needed) =
        RUNNERS.iter().find(|(n, s)| *n == name && (s.is_empty() || *s == subcommand))?;
    let mut next = at + if needed.is_empty() { 1 } else { 2 };
    while is_flag(words.get(next)) {
        let value =
            matches!(words[next].as_str(), "-p" | "--package" | "--with" | "--group" | "--from");
        next += if value { 2 } else { 1 };
    }
    words.get(next).map(|_| next)
}

/// Where the module or script stands in `python -m X` or `python X.py`.
fn python_tool(words: &[String], at: usize) -> Option<usize> {
    let mut next = at + 1;
    loop {
        match words.get(next).map(String::as_str) {
            None | Some("-c" | "-") => return Some(at),
            Some("-m") => return words.get(next + 1).map(|_| next + 1),
            Some("-X" | "-W") => next += 2,
            Some(flag) if flag.starts_with('-') => next += 1,
            Some(_) => return Some(next),
        }
    }
}
