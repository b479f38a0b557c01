//! Known secrets, found in text in every form in which programs print them.
//!
//! The one place that knows these forms: whatever stores or shows what a step said asks here. It is a
//! net, not a wall; a step that wants to can always write a secret in a way that nobody foresees.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

/// Values shorter than this many bytes are not looked for: they would hide ordinary words.
pub const SECRET_BYTES_MIN: usize = 6;
/// Secrets that are looked for; more are not told apart from ordinary text any more.
const SECRETS_MAX: usize = 1_000;
/// Bytes of a secret; a longer one is looked for by its lines alone.
const SECRET_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a line of wrapped base64: what tools and mail do lies between.
const WRAPPED_BYTES_MIN: usize = 40;
const WRAPPED_BYTES_MAX: usize = 128;
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The secrets of one step, ready to be looked for.
#[derive(Debug, Default)]
pub struct Needles {
    search: Option<AhoCorasick>,
    /// The forms in base64 alone, which programs wrap into lines.
    wrapped: Option<AhoCorasick>,
    longest: usize,
}

impl Needles {
    /// Looks for these values: as they are, line for line, in base64 at any place of a longer text, as
    /// parts of URLs, and as JSON and Rust write them.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut forms, mut encoded) = (BTreeSet::new(), BTreeSet::new());
        for value in values.into_iter().take(SECRETS_MAX) {
            let whole = value.trim();
            if whole.len() <= SECRET_BYTES_MAX {
                add_forms(whole, &mut forms);
                add_encoded(whole, &mut encoded);
            }
            for line in whole.lines().map(str::trim).filter(|line| line.len() <= SECRET_BYTES_MAX) {
                add_forms(line, &mut forms);
                add_encoded(line, &mut encoded);
            }
        }
        forms.extend(encoded.iter().cloned());
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        Self { search: search(&forms), wrapped: search(&encoded), longest }
    }

    /// Bytes of the longest form.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Where secrets stand in a text, in order; commands to a terminal may stand inside of them.
    pub fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let Some(search) = &self.search else { return Vec::new() };
        let mut all = if text.contains(&ESCAPE) {
            found_at(search, text, &shown(text))
        } else {
            search.find_iter(text).map(|found| found.range()).collect()
        };
        if let Some(wrapped) = self.wrapped.as_ref().filter(|_| has_wrapped(text)) {
            let places: Vec<usize> =
                shown(text).into_iter().filter(|at| !matches!(text[*at], b'\n' | b'\r')).collect();
            all.extend(found_at(wrapped, text, &places));
            all = merged(all);
        }
        all
    }

    /// How much of a text that ends with a line is not part of a run of wrapped lines which may go
    /// on behind it. A run that is too long is cut where no secret is.
    pub fn settled(&self, text: &[u8]) -> usize {
        if self.wrapped.is_none() {
            return text.len();
        }
        let mut start = text.len();
        while start > 0 {
            let before = &text[..start - 1];
            let from = before.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
            if !is_wrapped(&text[from..start]) {
                break;
            }
            start = from;
        }
        // as many lines as the longest form can be wrapped into
        let most = 2 * self.longest + 2 * WRAPPED_BYTES_MAX;
        if text.len() - start <= most {
            return start;
        }
        let wanted = text.len() - most;
        let line = text[..wanted].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        self.cut(text, line).max(start)
    }

    /// The text with a mask in place of each secret.
    pub fn mask<'t>(&self, text: &'t [u8], mask: &[u8]) -> Cow<'t, [u8]> {
        let found = self.find(text);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut from = 0;
        for range in found {
            masked.extend_from_slice(&text[from..range.start]);
            masked.extend_from_slice(mask);
            from = range.end;
        }
        masked.extend_from_slice(&text[from..]);
        Cow::Owned(masked)
    }

    /// Where to cut a text of which more is to come, at `wanted` or before, so that no secret is cut
    /// in two; 0 when it cannot be cut yet.
    pub fn cut(&self, text: &[u8], wanted: usize) -> usize {
        let settled = text.len().saturating_sub(self.longest.saturating_sub(1));
        let cut = wanted.min(settled);
        let across = |range: &Range<usize>| range.start < cut && cut < range.end;
        self.find(text).into_iter().find(across).map_or(cut, |range| range.start)
    }
}

fn add_forms(value: &str, forms: &mut BTreeSet<Vec<u8>>) {
    if value.len() < SECRET_BYTES_MIN {
        return;
    }
    let json = serde_json::to_string(value).unwrap_or_default();
    let rust = format!("{value:?}");
    let texts = [
        value.to_owned(),
        inner(&json).to_owned(),
        inner(&rust).to_owned(),
        percent(value, true),
        percent(value, false),
        percent(value, true).replace("%20", "+"),
    ];
    forms.extend(texts.into_iter().map(String::into_bytes));
}

/// The value inside of base64, at any place of a longer text.
fn add_encoded(value: &str, forms: &mut BTreeSet<Vec<u8>>) {
    if value.len() < SECRET_BYTES_MIN {
        return;
    }
    for before in 0..3 {
        let bytes = [&[0; 2][..before], value.as_bytes()].concat();
        // Digits that hold no bit of what stands before or behind the value.
        let digits = [0, 2, 3][before]..bytes.len() * 8 / 6;
        for text in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
            let form = &text[digits.clone()];
            if form.len() >= SECRET_BYTES_MIN {
                forms.insert(form.as_bytes().to_vec());
            }
        }
    }
}

fn search(forms: &BTreeSet<Vec<u8>>) -> Option<AhoCorasick> {
    if forms.is_empty() {
        return None;
    }
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(forms).ok()
}

/// Where something stands in a text of which only these places are looked at.
fn found_at(search: &AhoCorasick, text: &[u8], places: &[usize]) -> Vec<Range<usize>> {
    let plain: Vec<u8> = places.iter().map(|at| text[*at]).collect();
    let place = |found: Range<usize>| places[found.start]..places[found.end - 1] + 1;
    search.find_iter(&plain).map(|found| place(found.range())).collect()
}

/// The ranges in order, those that touch each other as one.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

/// Whether there are two lines of which the first may be the start of wrapped base64.
fn has_wrapped(text: &[u8]) -> bool {
    let end = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines = end.split(|b| *b == b'\n');
    let Some(mut line) = lines.next() else { return false };
    for next in lines {
        if is_wrapped(line) {
            return true;
        }
        line = next;
    }
    false
}

/// A line as programs make them that wrap base64.
fn is_wrapped(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let digit = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_".contains(b);
    (WRAPPED_BYTES_MIN..=WRAPPED_BYTES_MAX).contains(&line.len()) && line.iter().all(digit)
}

fn inner(quoted: &str) -> &str {
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(quoted)
}

fn percent(value: &str, upper: bool) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        let _infallible = match (byte, upper) {
            (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', _) => {
                text.write_char(char::from(byte))
            }
            (_, true) => write!(text, "%{byte:02X}"),
            (_, false) => write!(text, "%{byte:02x}"),
        };
    }
    text
}

/// Places of the bytes that a terminal shows.
fn shown(text: &[u8]) -> Vec<usize> {
    let mut places = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == ESCAPE {
            at += command(&text[at..]);
        } else {
            places.push(at);
            at += 1;
        }
    }
    places
}

/// Bytes of the command to a terminal with which a text begins.
fn command(text: &[u8]) -> usize {
    let rest = text.get(2..).unwrap_or_default();
    match text.get(1) {
        Some(b'[') => match rest.iter().position(|b| (0x40..=0x7e).contains(b)) {
            Some(end) => end + 3,
            None => 2,
        },
        Some(b']') => {
            let end = rest.iter().position(|b| matches!(*b, BELL | ESCAPE | b'\n'));
            match end {
                Some(end) if rest[end] == BELL => end + 3,
                Some(end) if rest[end] == ESCAPE => end + 4,
                _ => 2,
            }
        }
        Some(_) => 2,
        None => 1,
    }
    .min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "p\"ss w/rd+ü\\1";

    fn masked(text: &[u8]) -> String {
        let needles = Needles::new([VALUE, "first line\nab\nsecond-line\n"]);
        String::from_utf8_lossy(&needles.mask(text, b"***")).into_owned()
    }

    #[test]
    fn every_form_of_a_secret_is_found() {
        for form in [
            VALUE.to_owned(),
            "p\\\"ss w/rd+ü\\\\1".to_owned(),
            format!("{VALUE:?}").trim_matches('"').to_owned(),
            "p%22ss%20w%2Frd%2B%C3%BC%5C1".to_owned(),
            "p%22ss%20w%2frd%2b%c3%bc%5c1".to_owned(),
            "p%22ss+w%2Frd%2B%C3%BC%5C1".to_owned(),
            "first line".to_owned(),
            "second-line".to_owned(),
        ] {
            assert_eq!(masked(format!("a {form} b").as_bytes()), "a *** b", "{form}");
        }
        assert_eq!(masked(b"ab stays"), "ab stays");
    }

    #[test]
    fn a_secret_inside_of_base64_is_found_at_any_place() {
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{VALUE}{after}");
                for shown in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                    let got = masked(shown.as_bytes());
                    assert!(got.contains("***") && got.len() <= 3 + 16, "{shown} {got}");
                }
            }
        }
    }

    #[test]
    fn a_secret_that_is_wrapped_into_lines_of_base64_is_found() {
        let secret = "a-secret-of-some-length-that-wraps";
        let needles = Needles::new([secret]);
        for before in 0..120 {
            let text = format!("{}{secret}{}", "x".repeat(before), "y".repeat(100));
            for width in [40, 60, 64, 76] {
                let encoded = STANDARD.encode(&text);
                let lines: Vec<&str> = encoded
                    .as_bytes()
                    .chunks(width)
                    .map(|line| std::str::from_utf8(line).unwrap())
                    .collect();
                let wrapped = format!("begin\n{}\nend\n", lines.join("\n"));
                let shown = needles.mask(wrapped.as_bytes(), b"***");
                let shown = String::from_utf8_lossy(&shown);
                assert!(shown.contains("***"), "{before} {width}: {shown}");
                assert!(shown.starts_with("begin\n") && shown.ends_with("end\n"), "{shown}");
                // line for line, as it may be read
                let mut kept = String::new();
                let mut waiting = Vec::new();
                for line in wrapped.split_inclusive('\n') {
                    waiting.extend_from_slice(line.as_bytes());
                    let ready: Vec<u8> = waiting.drain(..needles.settled(&waiting)).collect();
                    kept.push_str(&String::from_utf8_lossy(&needles.mask(&ready, b"***")));
                }
                assert_eq!(kept, shown, "{before} {width}");
            }
        }
    }

    #[test]
    fn what_is_no_wrapped_base64_waits_for_nothing() {
        let needles = Needles::new(["a-secret-of-some-length"]);
        for text in ["a line\n", "error: it failed\n  at main\n", "0123456789abcdef\n"] {
            assert_eq!(needles.settled(text.as_bytes()), text.len());
        }
        let long = format!("{}\n", "A".repeat(76)).repeat(500);
        let settled = needles.settled(long.as_bytes());
        assert!(settled > 0 && long.len() - settled < 1_000, "{settled} of {}", long.len());
        assert_eq!(settled % 77, 0, "between lines");
    }

    #[test]
    fn commands_to_a_terminal_do_not_hide_a_secret() {
        let text = b"a \x1b[31msecond\x1b[0m-\x1b]8;;x\x07li\x1b[1mne\x1b[0m b";
        assert_eq!(masked(text), "a \x1b[31m***\x1b[0m b");
        assert_eq!(masked(b"\x1b[31"), "\x1b[31");
        assert_eq!(masked(b"x\x1b"), "x\x1b");
    }

    #[test]
    fn a_text_is_never_cut_inside_of_a_secret() {
        let needles = Needles::new(["second-line"]);
        let text = b"0123456789 second-line and so on and on";
        for wanted in 0..=text.len() {
            let cut = needles.cut(text, wanted);
            assert!(cut <= 11 || cut >= 22, "{wanted} {cut}");
        }
        let begun = b"0123456789 second-li";
        assert!(needles.cut(begun, begun.len()) <= 11);
    }
}
