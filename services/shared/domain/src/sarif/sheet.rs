//! A text with what is to be replaced in it.

use super::region::{Region, Unit};
use std::collections::BTreeMap;
use std::ops::Range;

/// New text for a range of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replacement {
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

impl Replacement {
    /// Whether both cannot be: they share text, or insert at one place.
    pub(super) fn meets(&self, other: &Range<usize>) -> bool {
        self.range == *other || (self.range.start < other.end && other.start < self.range.end)
    }
}

/// A text, its lines, and replacements that do not meet.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    /// By their ranges' beginnings and ends.
    replacements: BTreeMap<(usize, usize), String>,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let behind = text.match_indices('\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(behind).collect();
        Self { text, lines, replacements: BTreeMap::new() }
    }

    /// The bytes of a region; why not, when the text has no such region.
    pub(super) fn range(&self, region: &Region, unit: Unit) -> Result<Range<usize>, String> {
        let range = if let Some(line) = region.start_line {
            let start = self.place(line, region.start_column.unwrap_or(1), unit)?;
            let last = region.end_line.unwrap_or(line);
            let end = match region.end_column {
                Some(column) => self.place(last, column, unit)?,
                None => self.line(last)?.end,
            };
            start..end
        } else if let Some(offset) = region.char_offset {
            let start = self.behind(0..self.text.len(), offset, unit)?;
            let length = region.char_length.unwrap_or(0);
            start..self.behind(start..self.text.len(), length, unit)?
        } else if let Some(offset) = region.byte_offset {
            offset..offset.saturating_add(region.byte_length.unwrap_or(0))
        } else {
            return Err("a region says neither its line nor its offset".to_owned());
        };
        if range.start <= range.end && self.text.get(range.clone()).is_some() {
            Ok(range)
        } else {
            Err(format!("the text has no bytes {} to {}", range.start, range.end))
        }
    }

    /// A line (from 1) without its end.
    fn line(&self, number: usize) -> Result<Range<usize>, String> {
        let whole = self.whole_line(number)?;
        let text = self.text.get(whole.clone()).unwrap_or_default();
        let bare = text.strip_suffix('\n').map_or(text, |t| t.strip_suffix('\r').unwrap_or(t));
        Ok(whole.start..whole.start + bare.len())
    }

    /// A line (from 1) with its end.
    fn whole_line(&self, number: usize) -> Result<Range<usize>, String> {
        let index = number.checked_sub(1).ok_or("line 0 (expected lines from 1)")?;
        let start = self.lines.get(index).ok_or_else(|| format!("there is no line {number}"))?;
        Ok(*start..self.lines.get(number).copied().unwrap_or(self.text.len()))
    }

    /// The place of a line and a column, both from 1.
    fn place(&self, line: usize, column: usize, unit: Unit) -> Result<usize, String> {
        let units = column.checked_sub(1).ok_or("column 0 (expected columns from 1)")?;
        let place = self
            .behind(self.whole_line(line)?, units, unit)
            .map_err(|_| format!("line {line} has no column {column}"))?;
        let before = self.text.get(..place).unwrap_or_default();
        let after = self.text.get(place..).unwrap_or_default();
        if before.ends_with('\r') && after.starts_with('\n') {
            return Err(format!("column {column} of line {line} is inside of the line's end"));
        }
        Ok(place)
    }

    /// The place that many units behind the beginning of `within`.
    fn behind(&self, within: Range<usize>, units: usize, unit: Unit) -> Result<usize, String> {
        let start = within.start;
        let text = self.text.get(within).unwrap_or_default();
        if text.is_ascii() && units <= text.len() {
            return Ok(start + units);
        }
        let mut seen = 0;
        for (at, char) in text.char_indices() {
            if seen == units {
                return Ok(start + at);
            }
            seen += unit.width(char);
        }
        if seen == units {
            return Ok(start + text.len());
        }
        Err(format!("there is no character {units}, or it is half of one"))
    }

    /// Whether this very replacement is there already.
    pub(super) fn has(&self, new: &Replacement) -> bool {
        let key = (new.range.start, new.range.end);
        self.replacements.get(&key).is_some_and(|text| *text == new.text)
    }

    /// Whether something in the way of `range` is replaced already.
    pub(super) fn is_taken(&self, range: &Range<usize>) -> bool {
        let meets = |(&(start, end), _): (&(usize, usize), &String)| {
            Replacement { range: start..end, text: String::new() }.meets(range)
        };
        let key = (range.start, range.end);
        // Those there do not meet: only the nearest on each side can be in the way.
        self.replacements.range(..key).next_back().is_some_and(meets)
            || self.replacements.range(key..).next().is_some_and(meets)
            || self.replacements.range((range.start, usize::MAX)..).next().is_some_and(meets)
    }

    /// Takes a replacement that is not in the way of another.
    pub(super) fn replace(&mut self, new: Replacement) {
        self.replacements.insert((new.range.start, new.range.end), new.text);
    }

    /// The text with its replacements; `None` when it stays as it is.
    pub(super) fn rewritten(&self) -> Option<String> {
        let mut out = String::with_capacity(self.text.len());
        let mut from = 0;
        for ((start, end), new) in &self.replacements {
            out.push_str(self.text.get(from..*start).unwrap_or_default());
            out.push_str(new);
            from = *end;
        }
        out.push_str(self.text.get(from..).unwrap_or_default());
        (out != self.text).then_some(out)
    }
}
