//! Finds many short texts at once, letter case ignored or not: the prefilter before the regular
//! expressions.
//!
//! Each text is represented by the four neighbouring bytes of it that are rarest in logs. The
//! four bytes at every position of the log are folded, hashed and looked up in a bit table that
//! fits the fastest cache; only where the bit is set is a text really compared. There is no state
//! to carry from byte to byte, so the processor works on many positions at a time.

use std::collections::HashMap;

/// Bytes that are hashed together.
const WINDOW_BYTES: usize = 4;
/// The shortest text that can be searched.
pub(crate) const NEEDLE_BYTES_MIN: usize = WINDOW_BYTES;
/// The bit table has two to this power bits (64 KiB).
const TABLE_BITS: u32 = 19;
/// Words of 64 bits in the table.
const TABLE_WORDS: usize = 1 << (TABLE_BITS - 6);
/// The entries are sorted into two to this power buckets.
const BUCKET_BITS: u32 = 13;
/// An odd number with well-mixed bits (the golden ratio): multiplying by it hashes.
const HASH_FACTOR: u32 = 0x9E37_79B1;
/// Setting this bit in every byte makes upper and lower case equal (and folds some signs, which
/// the comparison then tells apart).
const FOLD: u32 = 0x2020_2020;

/// Bytes of the text that are compared before the text itself is.
const WIDE_BYTES: usize = 8;
/// [`FOLD`] for as many bytes.
const FOLD_WIDE: u64 = 0x2020_2020_2020_2020;
/// Ordinary lines of logs: what is common in them makes a bad window.
const ORDINARY: &str = include_str!("../../ordinary.txt");

/// A text to look for, at one of its windows.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The folded window.
    key: u32,
    needle: u32,
    /// Where in the text the window stands.
    offset: u32,
    /// Where in the text the wide window stands that has the other one in it.
    wide_offset: u32,
    /// The folded wide window; texts that are too short for one have none.
    wide: Option<u64>,
    /// Where the text stands among all texts, and its length.
    start: u32,
    len: u32,
    /// Whether the letter case counts.
    exact: bool,
}

/// A set of texts, ready to be searched for.
#[derive(Debug)]
pub(crate) struct Needles {
    table: Box<[u64; TABLE_WORDS]>,
    /// Where each bucket's entries start; one more than there are buckets.
    starts: Vec<u32>,
    entries: Vec<Entry>,
    /// All texts, one after the other.
    texts: Vec<u8>,
}

impl Needles {
    #[expect(clippy::large_stack_arrays, reason = "64 KiB, once for a set of rules")]
    /// Prepares the texts, each with the word whether its letter case counts. Each must have at
    /// least [`NEEDLE_BYTES_MIN`] bytes and no line break.
    pub(crate) fn new<'a>(given: impl IntoIterator<Item = (&'a str, bool)>) -> Self {
        let ordinary = ordinary();
        let (mut texts, mut entries) = (Vec::new(), Vec::new());
        for (needle, (text, exact)) in (0_u32..).zip(given) {
            let entry = entry_of(needle, text.as_bytes(), &ordinary);
            let start = position(texts.len());
            entries.extend(entry.map(|entry| Entry { start, exact, ..entry }));
            texts.extend_from_slice(text.as_bytes());
        }
        entries.sort_by_key(|entry| bucket(entry.key));
        let mut table = Box::new([0_u64; TABLE_WORDS]);
        let mut starts = vec![0_u32; (1 << BUCKET_BITS) + 1];
        for entry in &entries {
            let (word, bit) = place(entry.key);
            table[word] |= 1 << bit;
            starts[bucket(entry.key) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        Self { table, starts, entries, texts }
    }

    /// Calls `found` with a position inside each occurrence and the number of its text, in
    /// ascending order of windows.
    pub(crate) fn find(&self, block: &[u8], mut found: impl FnMut(usize, usize)) {
        for (at, window) in block.windows(WINDOW_BYTES).enumerate() {
            let key = fold(window);
            let (word, bit) = place(key);
            if self.table[word] >> bit & 1 == 1 {
                self.compare(block, at, key, &mut found);
            }
        }
    }

    #[inline(never)]
    fn compare(&self, block: &[u8], at: usize, key: u32, found: &mut impl FnMut(usize, usize)) {
        let bucket = bucket(key);
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        for entry in &self.entries[range] {
            if entry.key != key {
                continue;
            }
            let Some(start) = at.checked_sub(entry.offset as usize) else { continue };
            if let Some(wide) = entry.wide {
                let here = block.get(start + entry.wide_offset as usize..);
                let here = here.and_then(<[u8]>::first_chunk::<WIDE_BYTES>);
                if here.is_none_or(|here| u64::from_le_bytes(*here) | FOLD_WIDE != wide) {
                    continue;
                }
            }
            let text = &self.texts[entry.start as usize..][..entry.len as usize];
            let Some(here) = block.get(start..start + text.len()) else { continue };
            if here == text || (!entry.exact && here.eq_ignore_ascii_case(text)) {
                found(at, entry.needle as usize);
            }
        }
    }
}

#[inline]
fn fold(window: &[u8]) -> u32 {
    match window {
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]) | FOLD,
        _ => 0,
    }
}

#[inline]
fn hash(key: u32) -> u32 {
    key.wrapping_mul(HASH_FACTOR)
}

/// The word and the bit of a key in the table.
#[inline]
fn place(key: u32) -> (usize, u32) {
    let hash = hash(key) >> (32 - TABLE_BITS);
    ((hash >> 6) as usize, hash & 63)
}

fn bucket(key: u32) -> usize {
    (hash(key) >> (32 - BUCKET_BITS)) as usize
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// How often each folded window stands in ordinary lines.
fn ordinary() -> HashMap<u32, u32> {
    let mut counts = HashMap::new();
    for line in ORDINARY.lines() {
        for window in line.as_bytes().windows(WINDOW_BYTES) {
            *counts.entry(fold(window)).or_default() += 1;
        }
    }
    counts
}

/// A text at its rarest window.
fn entry_of(needle: u32, text: &[u8], ordinary: &HashMap<u32, u32>) -> Option<Entry> {
    let entry = |offset: usize, window: &[u8]| {
        let wide_offset = offset.min(text.len().saturating_sub(WIDE_BYTES));
        let wide = text.get(wide_offset..).and_then(<[u8]>::first_chunk::<WIDE_BYTES>);
        let wide = wide.map(|bytes| u64::from_le_bytes(*bytes) | FOLD_WIDE);
        let (offset, wide_offset) = (position(offset), position(wide_offset));
        let (key, len) = (fold(window), position(text.len()));
        Entry { key, needle, offset, wide_offset, wide, start: 0, len, exact: false }
    };
    let windows = text.windows(WINDOW_BYTES).enumerate();
    let rarest = windows.min_by_key(|(_, window)| commonness(window, ordinary));
    rarest.map(|(offset, window)| entry(offset, window))
}

/// How common four bytes are together in logs: seen in ordinary lines, else guessed.
fn commonness(window: &[u8], ordinary: &HashMap<u32, u32>) -> (u32, u32) {
    // Rulers and empty lines look like one byte over and over (a line break folds to a star).
    let is_ruler = window.windows(3).any(|three| three[0] == three[1] && three[1] == three[2]);
    let seen = if is_ruler { u32::MAX } else { ordinary.get(&fold(window)).copied().unwrap_or(0) };
    let single: u32 = window.iter().map(|byte| weight(*byte)).sum();
    let is_word = window.iter().all(u8::is_ascii_lowercase);
    (seen, single + if is_word { 2 } else { 0 })
}

/// How common a byte is in logs: 0 is rare, 9 is everywhere.
fn weight(byte: u8) -> u32 {
    match byte.to_ascii_lowercase() {
        b' ' => 9,
        b'e' | b't' => 8,
        b's' | b'a' | b'i' | b'r' | b'o' | b'n' => 7,
        b'0' | b'1' | b'-' | b'.' | b'/' | b'c' | b'l' | b'd' => 6,
        b'p' | b'm' | b'u' | b'_' | b':' | b'2' => 5,
        b'=' | b'f' | b'g' | b'h' | b'3'..=b'9' => 4,
        b'b' | b'v' | b'k' | b'y' | b'w' | b'x' | b'(' | b')' | b'"' | b'\'' | b',' => 3,
        b'[' | b']' | b'*' | b'>' | b'<' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Needles;

    fn found(texts: &[&str], block: &str) -> Vec<usize> {
        let mut all = Vec::new();
        let needles = Needles::new(texts.iter().map(|text| (*text, false)));
        needles.find(block.as_bytes(), |_, needle| all.push(needle));
        all
    }

    #[test]
    fn texts_are_found_in_any_case_and_at_both_ends() {
        let texts = ["error: ", " 429", "✓ ok", "FAILED"];
        assert_eq!(found(&texts, "Error: bad\n"), [0]);
        assert_eq!(found(&texts, "status 429\n"), [1]);
        assert_eq!(found(&texts, "✓ ok\nfailed\n"), [2, 3]);
        assert!(found(&texts, "nothing here\n").is_empty());
    }

    #[test]
    fn what_only_folds_to_the_same_bytes_is_told_apart() {
        assert!(found(&["[err]"], "{err}\n").is_empty());
        assert!(found(&["a_b_"], "a\u{7f}b\u{7f}\n").is_empty());
    }

    #[test]
    fn the_case_counts_where_it_was_asked_for() {
        let mut all = Vec::new();
        let needles = Needles::new([("Error", true), ("error", false)]);
        needles.find(b"ERROR Error\n", |_, needle| all.push(needle));
        assert_eq!(all, [1, 0, 1]);
    }

    #[test]
    fn every_overlapping_text_is_found() {
        let mut all = found(&["error", "rror:", "or: b"], "an error: bad\n");
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    }
}
