//! Splits a shell line into raw words and operators. Words keep their quotes and expansions, so
//! that a fixer's script can repeat them exactly as the step's author wrote them.

/// A piece of a shell line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A word with its quotes and expansions.
    Word(String),
    /// `&&`, `||`, `;`, `&` or a line's end.
    Separator,
    /// `|` or `|&`.
    Pipe,
    /// `(`.
    Open,
    /// `)`.
    Close,
}

/// Tokens of `line`; redirections and comments are left out. Never fails: what is not closed ends
/// with the line.
pub(super) fn tokens(line: &str) -> Vec<Token> {
    let chars: Vec<char> = line.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    let mut redirect = false;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        match c {
            ' ' | '\t' | '\r' => at += 1,
            '\\' if next == Some('\n') => at += 2,
            '#' => at += chars[at..].iter().take_while(|&&c| c != '\n').count(),
            '&' if next == Some('>') => {
                at += 2;
                redirect = true;
            }
            '<' | '>' => {
                at += 1;
                at +=
                    chars[at..].iter().take_while(|&&c| matches!(c, '<' | '>' | '&' | '|')).count();
                redirect = true;
            }
            '\n' | ';' => {
                at += 1;
                out.push(Token::Separator);
            }
            '&' => {
                at += if next == Some('&') { 2 } else { 1 };
                out.push(Token::Separator);
            }
            '|' if next == Some('|') => {
                at += 2;
                out.push(Token::Separator);
            }
            '|' => {
                at += if next == Some('&') { 2 } else { 1 };
                out.push(Token::Pipe);
            }
            '(' => {
                at += 1;
                out.push(Token::Open);
            }
            ')' => {
                at += 1;
                out.push(Token::Close);
            }
            _ => {
                let end = word_end(&chars, at);
                let word: String = chars[at..end].iter().collect();
                at = end;
                let descriptor = word.bytes().all(|b| b.is_ascii_digit())
                    && matches!(chars.get(at), Some('<' | '>'));
                if !redirect && !descriptor {
                    out.push(Token::Word(word));
                }
                redirect = false;
            }
        }
    }
    out
}

/// Where the word that starts at `at` ends.
fn word_end(chars: &[char], mut at: usize) -> usize {
    while let Some(&c) = chars.get(at) {
        match c {
            ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
            _ => at = skip_unit(chars, at),
        }
    }
    at
}

/// The position after one character, quoted part, escape or expansion.
fn skip_unit(chars: &[char], at: usize) -> usize {
    let after = match chars[at] {
        '\\' => at + 2,
        '\'' => find(chars, at + 1, '\''),
        '"' => double_quoted_end(chars, at + 1),
        '`' => find(chars, at + 1, '`'),
        '$' if chars.get(at + 1) == Some(&'(') => nested_end(chars, at + 2, '(', ')'),
        '$' if chars.get(at + 1) == Some(&'{') => nested_end(chars, at + 2, '{', '}'),
        _ => at + 1,
    };
    after.min(chars.len())
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    chars
        .iter()
        .skip(from)
        .position(|&c| c == wanted)
        .map_or(chars.len(), |offset| from + offset + 1)
}

fn double_quoted_end(chars: &[char], mut at: usize) -> usize {
    while let Some(&c) = chars.get(at) {
        match c {
            '"' => return at + 1,
            '\\' | '`' | '$' => at = skip_unit(chars, at),
            _ => at += 1,
        }
    }
    at
}

fn nested_end(chars: &[char], mut at: usize, open: char, close: char) -> usize {
    let mut depth = 1;
    while let Some(&c) = chars.get(at) {
        if c == close {
            depth -= 1;
            at += 1;
            if depth == 0 {
                return at;
            }
        } else if c == open {
            depth += 1;
            at += 1;
        } else {
            at = skip_unit(chars, at);
        }
    }
    at
}

/// The value of a word that needs no expansion; `None` when only a shell could tell.
pub(super) fn literal(word: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = word.chars();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            '$' | '`' => return None,
            '"' => double = !double,
            '\'' if !double => loop {
                match chars.next()? {
                    '\'' => break,
                    inner => out.push(inner),
                }
            },
            '\\' => {
                let escaped = chars.next()?;
                if double && !matches!(escaped, '"' | '\\' | '$' | '`' | '\n') {
                    out.push('\\');
                }
                if escaped != '\n' {
                    out.push(escaped);
                }
            }
            _ => out.push(c),
        }
    }
    Some(out)
}

/// The shell lines inside `$(...)` and backticks of a word.
pub(super) fn substitutions(word: &str) -> Vec<String> {
    let chars: Vec<char> = word.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match c {
            '\'' if !in_double(&chars[..at]) => at = find(&chars, at + 1, '\''),
            '$' if chars.get(at + 1) == Some(&'(') => {
                let end = skip_unit(&chars, at);
                out.push(
                    chars[(at + 2).min(end)..end.saturating_sub(1).max(at + 2)].iter().collect(),
                );
                at = end;
            }
            '`' => {
                let end = skip_unit(&chars, at);
                out.push(chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect());
                at = end;
            }
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    out
}

fn in_double(before: &[char]) -> bool {
    before.iter().filter(|&&c| c == '"').count() % 2 == 1
}

/// `text` as one shell word.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
