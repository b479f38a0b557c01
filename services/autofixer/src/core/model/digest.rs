//! The parts of a log that say what failed: lines about errors with their surroundings, and the end.

use meta_domain::masking as secrets;

/// Longest line that is shown, in characters.
const LINE_CHARS_MAX: usize = 400;
/// Lines that are shown before a line about an error.
const BEFORE: usize = 4;
/// Lines that are shown behind it.
const AFTER: usize = 6;
/// Lines of the end that are always shown.
const TAIL: usize = 20;
/// Words that make a line one about an error.
const TELLING: &[&str] = &[
    "error",
    "fail",
    "panic",
    "exception",
    "traceback",
    "assert",
    "expected",
    "undefined",
    "cannot",
    "not found",
    "unexpected",
    "invalid",
    "denied",
    "missing",
    "fatal",
    "mismatch",
    "warning",
    "-->",
];

/// A log without escape codes and secrets, cut to what matters and to `bytes_max`.
pub fn digest(log: &str, evidence: &[String], bytes_max: usize) -> String {
    let masked = secrets::masked(&without_escapes(log));
    let lines: Vec<String> = masked.lines().map(cut).collect();
    let mut chosen = vec![false; lines.len()];
    let mark = |chosen: &mut Vec<bool>, from: usize, to: usize| {
        let to = to.min(chosen.len());
        chosen[from.min(to)..to].fill(true);
    };
    for (index, line) in lines.iter().enumerate() {
        let lower = line.to_lowercase();
        let told = TELLING.iter().any(|w| lower.contains(w))
            || evidence.iter().any(|e| !e.trim().is_empty() && line.contains(e.trim()));
        if told {
            mark(&mut chosen, index.saturating_sub(BEFORE), index + AFTER + 1);
        }
    }
    mark(&mut chosen, lines.len().saturating_sub(TAIL), lines.len());
    let shown = joined(&lines, &chosen);
    end_of(&shown, bytes_max)
}

/// The chosen lines; what is left out, and what is said again and again, is said in one line.
fn joined(lines: &[String], chosen: &[bool]) -> String {
    let mut out = String::new();
    let (mut skipped, mut repeated) = (0, 0);
    let mut last: Option<&String> = None;
    for (line, chosen) in lines.iter().zip(chosen) {
        if !chosen {
            skipped += 1;
            continue;
        }
        if skipped > 0 {
            out.push_str(&format!("[{skipped} lines left out]\n"));
            skipped = 0;
        }
        if last == Some(line) && !line.trim().is_empty() {
            repeated += 1;
            continue;
        }
        if repeated > 0 {
            out.push_str(&format!("[the same line {repeated} more times]\n"));
            repeated = 0;
        }
        out.push_str(line);
        out.push('\n');
        last = Some(line);
    }
    out
}

/// The first third and the last two thirds of a text that is too long.
fn end_of(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let border = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let head = border(bytes_max / 3);
    let tail = border(text.len() - bytes_max * 2 / 3);
    let head = text[..head].rfind('\n').unwrap_or(head);
    let tail = text[tail..].find('\n').map_or(tail, |n| tail + n);
    format!("{}\n[cut]{}", &text[..head], &text[tail..])
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        None => line.to_owned(),
        Some((at, _)) => format!("{} [line cut]", &line[..at]),
    }
}

/// A text without terminal escapes; what a carriage return writes over is gone.
pub fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']' | 'P' | '_' | '^') => {
                    while chars.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')).is_some() {}
                    chars.next_if(|c| *c != '\n');
                    chars.next_if_eq(&'\\');
                }
                _ => {}
            },
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => {
                let start = out.rfind('\n').map_or(0, |at| at + 1);
                out.truncate(start);
            }
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_surroundings_and_the_rest_goes() {
        let mut log: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
        log[50] = "src/a.py:3: error: bad type".to_owned();
        let shown = digest(&log.join("\n"), &[], 10_000);
        assert!(shown.contains("line 46\n") && shown.contains("line 56\n"), "{shown}");
        assert!(!shown.contains("line 60\n") && shown.contains("line 199"), "{shown}");
        assert!(shown.contains("[46 lines left out]"), "{shown}");
    }

    #[test]
    fn escapes_secrets_and_repetitions_go() {
        let log = "\u{1b}[31merror\u{1b}[0m: x\n\u{1b}]8;;http://x\u{7}link\nAPI_TOKEN=abcdefgh1234\nerror: y\nerror: y\nerror: y\n10%\r100%\n";
        let shown = digest(log, &[], 10_000);
        assert!(shown.starts_with("error: x\nlink\n"), "{shown:?}");
        assert!(!shown.contains("abcdefgh1234") && shown.contains("[the same line 2 more times]"));
        assert!(shown.contains("\n100%") && !shown.contains("10%\r"), "{shown:?}");
    }

    #[test]
    fn a_long_digest_keeps_its_beginning_and_its_end() {
        let lines: Vec<String> = (0..5000).map(|n| format!("error {n}")).collect();
        let log = lines.join("\n");
        let shown = digest(&log, &[], 3000);
        assert!(
            shown.len() < 3100 && shown.starts_with("error 0\n") && shown.contains("error 4999")
        );
    }
}
