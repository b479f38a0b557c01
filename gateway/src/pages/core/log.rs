//! A window into a log that may be long: the last lines, or the lines from a number on.

use super::ansi::{Piece, Reader};
use std::collections::VecDeque;

/// Lines that a page shows at once.
pub(crate) const WINDOW_LINES: usize = 2_000;
/// Bytes of one line that are kept; what is longer is not read further.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A line with its number, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) pieces: Vec<Piece>,
}

/// Bytes become numbered lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    reader: Reader,
    open: Vec<u8>,
    number: u64,
}

impl Lines {
    /// The lines that these bytes complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut done = Vec::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = LINE_BYTES_MAX.saturating_sub(self.open.len());
            self.open.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                done.push(self.close());
            }
        }
        done
    }

    /// The line that no `\n` ended.
    pub(crate) fn last(&mut self) -> Option<Line> {
        (!self.open.is_empty()).then(|| self.close())
    }

    fn close(&mut self) -> Line {
        self.number += 1;
        let bytes = std::mem::take(&mut self.open);
        Line { number: self.number, pieces: self.reader.line(&bytes) }
    }
}

/// The lines that are shown.
#[derive(Debug, Default)]
pub(crate) struct Window {
    lines: VecDeque<Line>,
    from: Option<u64>,
    total: u64,
}

impl Window {
    /// The lines from this number on, or the last ones.
    pub(crate) fn new(from: Option<u64>) -> Self {
        Self { from, ..Self::default() }
    }

    /// Takes lines in their order.
    pub(crate) fn take(&mut self, lines: impl IntoIterator<Item = Line>) {
        for line in lines {
            self.total = line.number;
            match self.from {
                Some(from) if line.number < from || self.lines.len() >= WINDOW_LINES => {}
                Some(_) => self.lines.push_back(line),
                None => {
                    if self.lines.len() >= WINDOW_LINES {
                        self.lines.pop_front();
                    }
                    self.lines.push_back(line);
                }
            }
        }
    }

    /// What is shown.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// How many lines there are altogether.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether a line is among those shown.
    pub(crate) fn shows(&self, number: u64) -> bool {
        self.first().is_some_and(|first| first <= number) && number <= self.end()
    }

    /// Number of the first line shown.
    pub(crate) fn first(&self) -> Option<u64> {
        self.lines.front().map(|l| l.number)
    }

    /// Number of the last line shown; 0 when there is none.
    pub(crate) fn end(&self) -> u64 {
        self.lines.back().map_or(0, |l| l.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> String {
        line.pieces.iter().map(|p| p.text.as_str()).collect()
    }

    #[test]
    fn lines_are_numbered_however_they_arrive() {
        let whole = b"one\ntwo\r\n\nfour";
        for size in 1..whole.len() {
            let mut lines = Lines::default();
            let mut got: Vec<Line> = whole.chunks(size).flat_map(|c| lines.feed(c)).collect();
            got.extend(lines.last());
            let told: Vec<_> = got.iter().map(|l| (l.number, text(l))).collect();
            let expected = [(1, "one"), (2, "two"), (3, ""), (4, "four")];
            assert_eq!(told, expected.map(|(n, t)| (n, t.to_owned())));
        }
    }

    #[test]
    fn a_window_shows_the_end_or_from_a_line_on() {
        let count = WINDOW_LINES as u64 + 10;
        let all = |window: &mut Window| {
            let mut lines = Lines::default();
            for n in 1..=count {
                window.take(lines.feed(format!("{n}\n").as_bytes()));
            }
        };
        let mut last = Window::new(None);
        all(&mut last);
        assert_eq!((last.first(), last.end(), last.total()), (Some(11), count, count));
        assert!(last.shows(11) && !last.shows(10));
        let mut from = Window::new(Some(5));
        all(&mut from);
        assert_eq!((from.first(), from.end()), (Some(5), WINDOW_LINES as u64 + 4));
    }

    #[test]
    fn an_endless_line_is_not_kept_whole() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.feed(&[b'x'; 10_000]);
        }
        assert!(lines.open.len() <= LINE_BYTES_MAX);
    }
}
