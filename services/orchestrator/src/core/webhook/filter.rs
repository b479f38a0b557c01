//! Which events a webhook is told of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Characters of a filter.
const CHARS_MAX: usize = 64;

/// An event type such as `run.created`, or all that begin so: `run.*`, `*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventFilter(String);

impl EventFilter {
    /// Whether an event of this type is told.
    pub fn takes(&self, event_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => event_type.starts_with(start),
            None => event_type == self.0,
        }
    }
}

impl FromStr for EventFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
        let words = text.strip_suffix(".*").unwrap_or(text);
        let fits = text.len() <= CHARS_MAX && !words.is_empty() && words.chars().all(plain);
        if text == "*" || fits {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(CHARS_MAX).collect();
        Err(format!("{shown:?} is no event type (expected a form like run.created, run.* or *)"))
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EventFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EventFilter> for String {
    fn from(filter: EventFilter) -> Self {
        filter.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_type_or_the_start_of_types() {
        let takes = |filter: &str, event: &str| filter.parse::<EventFilter>().unwrap().takes(event);
        assert!(takes("*", "run.created") && takes("run.*", "run.created"));
        assert!(takes("autofix.patch_applied", "autofix.patch_applied"));
        assert!(!takes("run.*", "runner.gone") && !takes("run.created", "run.created.x"));
        for bad in ["", "Run.created", "run*", "*.created", "run.*.x", ".*", "a b", &"x".repeat(65)]
        {
            let error = bad.parse::<EventFilter>().unwrap_err();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
