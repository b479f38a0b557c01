//! Regions of a text, as SARIF names them.

use serde::Deserialize;

/// What columns and characters are counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Unit {
    /// Half a character outside of the basic plane: what a log counts in that does not say.
    #[default]
    #[serde(rename = "utf16CodeUnits")]
    Utf16,
    /// A character.
    #[serde(rename = "unicodeCodePoints")]
    CodePoint,
}

impl Unit {
    /// How many units a character counts for.
    pub(super) fn width(self, char: char) -> usize {
        match self {
            Self::Utf16 => char.len_utf16(),
            Self::CodePoint => 1,
        }
    }
}

/// A region: by lines and columns (from 1), by characters (from 0), or by bytes (from 0).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Region {
    pub(super) start_line: Option<usize>,
    pub(super) start_column: Option<usize>,
    pub(super) end_line: Option<usize>,
    pub(super) end_column: Option<usize>,
    pub(super) char_offset: Option<usize>,
    pub(super) char_length: Option<usize>,
    pub(super) byte_offset: Option<usize>,
    pub(super) byte_length: Option<usize>,
}
