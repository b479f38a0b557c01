//! Lines of one rule that have its literal and wait for its expression. They are matched many at
//! a time: an expression that is tried once in a while finds none of its tables in the fast
//! caches, and that costs far more than the matching itself.

use super::text::PIECE_BYTES_MAX;

/// Lines that wait at most.
pub(crate) const WAITING_MAX: usize = 32;
/// Bytes of the lines from which no more wait, so that long lines take little memory.
const WAITING_BYTES_MAX: usize = 32 * 1024;

/// A line that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    pub(crate) section: usize,
    /// The clean line.
    pub(crate) text: &'a [u8],
}

/// The lines that wait, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    places: Vec<Place>,
    /// The texts of all lines, one after the other.
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    number: u64,
    section: usize,
    start: usize,
    end: usize,
}

impl Waiting {
    /// Adds a line.
    pub(crate) fn push(&mut self, line: Line<'_>) {
        let start = self.text.len();
        self.text.extend_from_slice(&line.text[..line.text.len().min(PIECE_BYTES_MAX)]);
        let Line { number, section, .. } = line;
        self.places.push(Place { number, section, start, end: self.text.len() });
    }

    /// Whether no more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.places.len() >= WAITING_MAX || self.text.len() >= WAITING_BYTES_MAX
    }

    /// The lines, the oldest first.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = Line<'_>> {
        self.places.iter().map(|place| Line {
            number: place.number,
            section: place.section,
            text: &self.text[place.start..place.end],
        })
    }

    /// Forgets the lines and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.text.clear();
    }
}
