//! Messages as attributes of documents.

pub(crate) mod autofix;
pub(crate) mod evidence;
pub(crate) mod plan;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod signal;
pub(crate) mod spec;

use meta_proto::convert::{Number, instant, word_opt};
use serde_json::Value;
use std::fmt::Display;

/// The word of an enum's number; null when it is unspecified, or newer than this gateway.
pub(crate) fn word<D: Number + Display>(number: i32) -> Value {
    let word = word_opt::<D>("", number).ok().flatten();
    word.map_or(Value::Null, |w| w.to_string().into())
}

/// An instant as RFC 3339 in UTC.
pub(crate) fn at(time: Option<&prost_types::Timestamp>) -> Value {
    time.map_or(Value::Null, |t| instant(t).to_string().into())
}

/// A text; null when it is empty.
pub(crate) fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// A patch as text; null when there is none.
pub(crate) fn patch(bytes: &[u8]) -> Value {
    text(&String::from_utf8_lossy(bytes))
}

/// Free-form JSON that travels as text; null when there is none.
pub(crate) fn json(document: &str) -> Value {
    if document.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(document).unwrap_or_else(|_| document.into())
}
