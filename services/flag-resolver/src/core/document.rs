//! A stored override: each field with who set it and when.

use meta_domain::fault::InvalidField;
use meta_domain::settings::Overrides;
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A value with who set it and when. It stays when the same value is written again: it says since
/// when the value has been so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authored<T> {
    /// The value.
    pub value: T,
    /// Who set it.
    pub author: String,
    /// When, in milliseconds since the epoch.
    pub set_at: Timestamp,
}

/// The override of a tenant or a run as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// See [`Overrides::autofix_enabled`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autofix_enabled: Option<Authored<bool>>,
    /// See [`Overrides::max_total_attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_attempts: Option<Authored<u32>>,
    /// See [`Overrides::max_per_step_attempts`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_step_attempts: Option<Authored<u32>>,
    /// See [`Overrides::backoff_cap_seconds`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_cap_seconds: Option<Authored<u32>>,
}

impl Document {
    /// The values alone.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            autofix_enabled: self.autofix_enabled.as_ref().map(|a| a.value),
            max_total_attempts: self.max_total_attempts.as_ref().map(|a| a.value),
            max_per_step_attempts: self.max_per_step_attempts.as_ref().map(|a| a.value),
            backoff_cap_seconds: self.backoff_cap_seconds.as_ref().map(|a| a.value),
        }
    }

    /// This document with other values: what changes is by `author` at `now`, what stays equal
    /// keeps its own author and time.
    #[must_use]
    pub fn rewritten(&self, values: &Overrides, author: &str, now: Timestamp) -> Self {
        Self {
            autofix_enabled: field(
                self.autofix_enabled.as_ref(),
                values.autofix_enabled,
                author,
                now,
            ),
            max_total_attempts: field(
                self.max_total_attempts.as_ref(),
                values.max_total_attempts,
                author,
                now,
            ),
            max_per_step_attempts: field(
                self.max_per_step_attempts.as_ref(),
                values.max_per_step_attempts,
                author,
                now,
            ),
            backoff_cap_seconds: field(
                self.backoff_cap_seconds.as_ref(),
                values.backoff_cap_seconds,
                author,
                now,
            ),
        }
    }

    /// Reads a stored document; its values must be in range, as they were when it was written.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(json: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(json).map_err(|e| e.to_string())?;
        document.overrides().check().map_err(|faults| {
            faults.iter().map(InvalidField::to_string).collect::<Vec<_>>().join("; ")
        })?;
        Ok(document)
    }
}

fn field<T: PartialEq + Clone>(
    before: Option<&Authored<T>>,
    value: Option<T>,
    author: &str,
    now: Timestamp,
) -> Option<Authored<T>> {
    let value = value?;
    match before {
        Some(same) if same.value == value => Some(same.clone()),
        _ => Some(Authored { value, author: author.to_owned(), set_at: now }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_value_keeps_its_author_and_time() {
        let a = Overrides { max_total_attempts: Some(8), ..Overrides::default() };
        let b = Overrides { autofix_enabled: Some(false), ..a };
        let first = Document::default().rewritten(&a, "ann", Timestamp(1));
        let second = first.rewritten(&b, "bob", Timestamp(2));
        assert_eq!(second.max_total_attempts, first.max_total_attempts);
        let flag = second.autofix_enabled.clone().unwrap();
        assert_eq!((flag.author.as_str(), flag.set_at), ("bob", Timestamp(2)));
        assert_eq!(second.rewritten(&Overrides::default(), "c", Timestamp(3)), Document::default());
    }

    #[test]
    fn a_stored_document_is_read_back_and_a_bad_one_is_refused() {
        let values = Overrides { backoff_cap_seconds: Some(30), ..Overrides::default() };
        let document = Document::default().rewritten(&values, "ann", Timestamp(1));
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(Document::parse(&json), Ok(document));
        for (bad, part) in [
            (json.replace("30", "301"), "301 is out of range"),
            (json.replace("30", "-1"), "expected u32"),
            (json.replace("30", "\"30\""), "expected u32"),
            (json.replace("backoff_cap", "backoff_cup"), "unknown field"),
            (String::new(), "EOF"),
        ] {
            let problem = Document::parse(&bad).unwrap_err();
            assert!(problem.contains(part), "{bad}: {problem}");
        }
    }
}
