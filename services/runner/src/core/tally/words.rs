//! Small readers of the phrases in which tools count.

/// The number at the start of a text, and what follows it.
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_start()))
}

/// Pairs such as `3 passed`, cut at any of `separators`; `None` when a part is no such pair.
pub(super) fn pairs<'a>(text: &'a str, separators: &[char]) -> Option<Vec<(u64, &'a str)>> {
    text.split(separators)
        .map(|part| number(part).map(|(n, word)| (n, word.trim())))
        .collect::<Option<Vec<_>>>()
        .filter(|pairs| pairs.iter().all(|(_, word)| !word.is_empty()))
}

/// The number after a label such as `Skipped:`.
pub(super) fn after(text: &str, label: &str) -> Option<u64> {
    let at = text.find(label)? + label.len();
    number(&text[at..]).map(|(n, _)| n)
}

/// A line without terminal sequences and control characters.
pub(super) fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
                chars.next();
            }
        } else if c == '\t' || !c.is_control() {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}
