//! Conversions between the wire and the domain, one file a noun.
//!
//! To the wire they cannot fail (`From`); from the wire each names the field that is wrong
//! (`TryFrom` with [`InvalidField`]).

mod autofix;
mod caller;
mod failure;
mod plan;
pub mod settings;
mod status;

use meta_domain::fault::InvalidField;
use meta_domain::time::Timestamp;

/// Puts the name of the enclosing field before the path of a fault.
pub trait Field<T> {
    /// See [`Field`].
    ///
    /// # Errors
    /// The same fault, with the longer path.
    fn field(self, name: &str) -> Result<T, InvalidField>;
}

impl<T> Field<T> for Result<T, InvalidField> {
    fn field(self, name: &str) -> Result<T, InvalidField> {
        self.map_err(|e| e.within(name))
    }
}

/// A message field that must be there.
pub trait Required<T> {
    /// See [`Required`].
    ///
    /// # Errors
    /// Names the missing field.
    fn required(self, name: &str) -> Result<T, InvalidField>;
}

impl<T> Required<T> for Option<T> {
    fn required(self, name: &str) -> Result<T, InvalidField> {
        self.ok_or_else(|| InvalidField::new(name, "is missing (expected a value)"))
    }
}

/// Parses an id or another word from a text field.
///
/// # Errors
/// Names the field and says what was expected.
pub fn parse<T>(name: &str, text: &str) -> Result<T, InvalidField>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| InvalidField::new(name, e.to_string()))
}

/// Like [`parse`], but an empty text means `None`.
///
/// # Errors
/// Names the field and says what was expected.
pub fn parse_opt<T>(name: &str, text: &str) -> Result<Option<T>, InvalidField>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() { Ok(None) } else { parse(name, text).map(Some) }
}

/// Converts every element, naming the index of the first bad one.
///
/// # Errors
/// The fault of that element.
pub fn all<W, D>(name: &str, wire: Vec<W>) -> Result<Vec<D>, InvalidField>
where
    D: TryFrom<W, Error = InvalidField>,
{
    wire.into_iter()
        .enumerate()
        .map(|(i, w)| D::try_from(w).map_err(|e| e.within(&format!("{name}[{i}]"))))
        .collect()
}

/// A list for the wire.
pub fn list<D, W: From<D>>(items: Vec<D>) -> Vec<W> {
    items.into_iter().map(W::from).collect()
}

/// An instant for the wire.
pub fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.0.div_euclid(1000),
        nanos: i32::try_from(at.0.rem_euclid(1000)).unwrap_or(0) * 1_000_000,
    }
}

/// An instant from the wire.
pub fn instant(at: &prost_types::Timestamp) -> Timestamp {
    Timestamp(at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos / 1_000_000)))
}

/// An enum whose variants have the same names on both sides; UNSPECIFIED and unknown numbers are
/// refused.
macro_rules! enum_map {
    ($domain:path, $wire:path, [$($variant:ident),+ $(,)?]) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                use $domain as D;
                use $wire as W;
                match value { $(D::$variant => W::$variant),+ }
            }
        }
        impl TryFrom<$wire> for $domain {
            type Error = meta_domain::fault::InvalidField;
            fn try_from(value: $wire) -> Result<Self, Self::Error> {
                use $domain as D;
                use $wire as W;
                match value {
                    $(W::$variant => Ok(D::$variant),)+
                    W::Unspecified => Err(meta_domain::fault::InvalidField::new(
                        "",
                        "is unspecified (expected a named value)",
                    )),
                }
            }
        }
        impl $crate::convert::Number for $domain {
            fn from_number(number: i32) -> Result<Self, meta_domain::fault::InvalidField> {
                <$wire>::try_from(number)
                    .map_err(|_| meta_domain::fault::InvalidField::new(
                        "",
                        format!("{number} is not a known value"),
                    ))?
                    .try_into()
            }
            fn number(self) -> i32 {
                <$wire>::from(self).into()
            }
        }
    };
}
pub(crate) use enum_map;

/// A domain enum as the number that stands in a message.
pub trait Number: Sized {
    /// # Errors
    /// Unknown and unspecified numbers.
    fn from_number(number: i32) -> Result<Self, InvalidField>;
    /// The number on the wire.
    fn number(self) -> i32;
}

/// Reads an enum field.
///
/// # Errors
/// Names the field when the number is unknown or unspecified.
pub fn word<D: Number>(name: &str, number: i32) -> Result<D, InvalidField> {
    D::from_number(number).map_err(|e| e.within(name))
}

/// Reads an enum field in which UNSPECIFIED (0) means absent.
///
/// # Errors
/// Names the field when the number is unknown.
pub fn word_opt<D: Number>(name: &str, number: i32) -> Result<Option<D>, InvalidField> {
    if number == 0 { Ok(None) } else { word(name, number).map(Some) }
}
