//! Makes lines clean: escape codes, control bytes, progress redraws and the prefixes that
//! continuous-integration systems put before each line are removed.

use memchr::{memchr, memchr3};

/// Bytes of one piece of a line that rules see at a time.
pub(crate) const PIECE_BYTES_MAX: usize = 2048;
/// Bytes of one terminal control sequence; a longer one is taken for text.
const ESCAPE_BYTES_MAX: usize = 512;
/// Prefixes removed from one line at most (a time stamp inside a container name, and so on).
const PREFIXES_MAX: usize = 4;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const NUL: u8 = 0;
const BACKSPACE: u8 = 8;

/// Removes from a block of lines what no rule should see: escape sequences, NUL bytes (text in
/// UTF-16) and backspaces. Line breaks stay where they are. Returns whether there was any; `clean`
/// holds the result only then.
pub(crate) fn clean(block: &[u8], clean: &mut Vec<u8>) -> bool {
    let Some(first) = memchr3(ESC, NUL, BACKSPACE, block) else { return false };
    clean.clear();
    clean.extend_from_slice(&block[..first]);
    let mut rest = &block[first..];
    while let Some((&byte, after)) = rest.split_first() {
        let skipped = if byte == ESC { escape_len(after) } else { 0 };
        rest = &after[skipped..];
        let end = memchr3(ESC, NUL, BACKSPACE, rest).unwrap_or(rest.len());
        clean.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
    }
    true
}

/// Calls `each` with every non-empty piece of one line: redraws of a progress line apart, the
/// prefixes of continuous-integration systems removed, other control bytes removed.
pub(crate) fn for_each_piece(line: &[u8], scratch: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut rest = Some(line);
    while let Some(redraws) = rest {
        let end = memchr(b'\r', redraws);
        let redraw = &redraws[..end.unwrap_or(redraws.len())];
        rest = end.map(|end| &redraws[end + 1..]);
        if has_controls(redraw) {
            scratch.clear();
            scratch.extend(redraw.iter().filter(|byte| **byte >= b' ' || **byte == b'\t'));
            cut(scratch, &mut each);
        } else {
            cut(redraw, &mut each);
        }
    }
}

/// Looks at every byte without a branch, which compiles to many bytes at a time.
fn has_controls(text: &[u8]) -> bool {
    let is_control = |byte: u8| u8::from(byte < b' ') & u8::from(byte != b'\t');
    text.iter().fold(0, |found, byte| found | is_control(*byte)) != 0
}

fn cut(segment: &[u8], each: &mut impl FnMut(&[u8])) {
    for piece in strip_prefixes(segment).chunks(PIECE_BYTES_MAX) {
        if !piece.trim_ascii().is_empty() {
            each(piece);
        }
    }
}

/// How many bytes after an ESC belong to its control sequence; a line break never does.
fn escape_len(after: &[u8]) -> usize {
    let within = &after[..after.len().min(ESCAPE_BYTES_MAX)];
    match within.first() {
        Some(b'[') => {
            let end = within.iter().skip(1).position(|byte| !(0x20..=0x3f).contains(byte));
            end.map_or(1, |at| at + 1 + usize::from((0x40..=0x7e).contains(&within[at + 1])))
        }
        Some(b']' | b'P' | b'_' | b'^') => {
            let end = memchr3(BEL, ESC, b'\n', within);
            end.map_or(1, |at| match within[at] {
                BEL => at + 1,
                ESC => at,
                _ => 1,
            })
        }
        Some(b'(' | b')') => 1 + usize::from(within.get(1).is_some_and(u8::is_ascii_graphic)),
        Some(0x40..=0x7e) => 1,
        _ => 0,
    }
}

/// Removes time stamps and stream names that a CI system put before the tool's own text.
fn strip_prefixes(line: &[u8]) -> &[u8] {
    let mut rest = line;
    for _ in 0..PREFIXES_MAX {
        match prefix_len(rest) {
            0 => break,
            len => rest = &rest[len..],
        }
    }
    rest
}

fn prefix_len(line: &[u8]) -> usize {
    match line.first() {
        Some(b'0'..=b'9') => stamp_len(line).map_or(0, |len| len + spaces(&line[len..])),
        Some(b'[') => {
            let inner = line[1..].strip_prefix(b"task ").unwrap_or(&line[1..]);
            let offset = line.len() - inner.len();
            match stamp_len(inner) {
                Some(len) if inner.get(len) == Some(&b']') => {
                    let end = offset + len + 1;
                    end + spaces(&line[end..])
                }
                _ => 0,
            }
        }
        Some(b'#') => buildkit_len(line),
        _ => 0,
    }
}

/// The length of `2025-01-31T10:20:30.123Z`, `2025-01-31 10:20:30,123` or `10:20:30` at the start.
fn stamp_len(line: &[u8]) -> Option<usize> {
    let date = shape(line, b"dddd-dd-dd");
    let clock_at = if date && matches!(line.get(10), Some(b'T' | b' ')) { 11 } else { 0 };
    let clock = line.get(clock_at..)?;
    if !shape(clock, b"dd:dd:dd") {
        return None;
    }
    let mut len = clock_at + 8;
    if matches!(line.get(len), Some(b'.' | b',')) {
        len += 1 + line[len + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    if line.get(len) == Some(&b'Z') {
        len += 1;
    }
    matches!(line.get(len), None | Some(b' ' | b'\t' | b']')).then_some(len)
}

fn shape(line: &[u8], pattern: &[u8]) -> bool {
    line.len() >= pattern.len()
        && line.iter().zip(pattern).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// The length of BuildKit's `#12 3.456 ` at the start.
fn buildkit_len(line: &[u8]) -> usize {
    let step = line[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let time_at = step + 2;
    if step == 0 || line.get(step + 1) != Some(&b' ') {
        return 0;
    }
    let time = line[time_at..].iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let is_time = line[time_at..time_at + time].contains(&b'.');
    if is_time && line.get(time_at + time) == Some(&b' ') { time_at + time + 1 } else { 0 }
}

fn spaces(line: &[u8]) -> usize {
    usize::from(matches!(line.first(), Some(b' ' | b'\t')))
}

/// Makes a piece of a line printable: valid UTF-8 without control characters (but tabs), no space
/// at its end, at most `chars_max` characters.
pub(crate) fn printable(piece: &[u8], chars_max: usize) -> String {
    let mut text = String::from_utf8_lossy(piece).into_owned();
    text.retain(|c| c == '\t' || !c.is_control());
    text.truncate(text.trim_end().len());
    if let Some((cut, _)) = text.char_indices().nth(chars_max) {
        let last = text[..cut].char_indices().next_back().map_or(0, |(at, _)| at);
        text.truncate(last);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &[u8]) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        let (mut block, mut scratch) = (Vec::new(), Vec::new());
        let text = if clean(log, &mut block) { block.as_slice() } else { log };
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            for_each_piece(line, &mut scratch, |piece| {
                out.push((number, String::from_utf8_lossy(piece).into_owned()));
            });
        }
        out
    }

    #[test]
    fn escape_codes_and_titles_are_removed() {
        let log = b"\x1b[31;1merror\x1b[0m: bad\x1b]0;title\x07!\n\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\";
        assert_eq!(lines(log), [(1, "error: bad!".into()), (2, "link".into())]);
    }

    #[test]
    fn progress_redraws_are_separate_pieces_of_one_line() {
        assert_eq!(
            lines(b"10%\r50%\r100%\r\nnext"),
            [(1, "10%".into()), (1, "50%".into()), (1, "100%".into()), (2, "next".into())]
        );
    }

    #[test]
    fn prefixes_of_ci_systems_are_removed() {
        for line in [
            "2025-01-31T10:20:30.1234567Z error: bad",
            "2025-01-31 10:20:30,123 error: bad",
            "[10:20:30] error: bad",
            "[2025-01-31T10:20:30.123Z] error: bad",
            "[task 2025-01-31T10:20:30.123Z] 10:20:30 error: bad",
            "#12 3.456 error: bad",
        ] {
            assert_eq!(lines(line.as_bytes()), [(1, "error: bad".to_owned())], "{line}");
        }
    }

    #[test]
    fn a_line_that_only_looks_like_a_prefix_stays() {
        for line in ["12:30 is lunch", "# 12 things", "[10:20] x", "2025-01-31", "#12 34 x"] {
            assert_eq!(lines(line.as_bytes()), [(1, line.to_owned())]);
        }
    }

    #[test]
    fn half_an_escape_sequence_loses_no_text_after_it() {
        let mut log = b"\x1b]0;never closed ".to_vec();
        log.extend(vec![b'a'; 2000]);
        assert!(lines(&log).iter().any(|(_, text)| text.ends_with("aaa")));
        assert_eq!(lines(b"\x1b"), []);
        assert_eq!(lines(b"\x1b[31"), [(1, "31".to_owned())]);
        assert_eq!(lines(b"\x1b]0;t\nnext"), [(1, "0;t".to_owned()), (2, "next".to_owned())]);
    }

    #[test]
    fn printable_cuts_on_characters() {
        assert_eq!(printable("äöüß  ".as_bytes(), 4), "äöüß");
        assert_eq!(printable("äöüßx".as_bytes(), 4), "äöü…");
        assert_eq!(printable(b"a\x7fb\xc2\x9bc\td ", 9), "abc\td");
    }
}
