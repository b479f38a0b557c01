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
const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The secrets of one step, ready to be looked for.
#[derive(Debug, Default)]
pub struct Needles {
    search: Option<AhoCorasick>,
    longest: usize,
}

impl Needles {
    /// Looks for these values: as they are, line for line, in base64 at any place of a longer text, as
    /// parts of URLs, and as JSON and Rust write them.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = BTreeSet::new();
        for value in values.into_iter().take(SECRETS_MAX) {
            let whole = value.trim();
            if whole.len() <= SECRET_BYTES_MAX {
                add_forms(whole, &mut forms);
            }
            for line in whole.lines().map(str::trim).filter(|line| line.len() <= SECRET_BYTES_MAX) {
                add_forms(line, &mut forms);
            }
        }
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms);
        Self { search: search.ok().filter(|_| !forms.is_empty()), longest }
    }

    /// Bytes of the longest form.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Where secrets stand in a text, in order; commands to a terminal may stand inside of them.
    pub fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let Some(search) = &self.search else { return Vec::new() };
        if !text.contains(&ESCAPE) {
            return search.find_iter(text).map(|found| found.range()).collect();
        }
        let shown = shown(text);
        let plain: Vec<u8> = shown.iter().map(|at| text[*at]).collect();
        let place = |found: Range<usize>| shown[found.start]..shown[found.end - 1] + 1;
        search.find_iter(&plain).map(|found| place(found.range())).collect()
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
