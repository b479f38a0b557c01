//! A layer as it is stored: each setting with who set it, when and why.

use super::write::{Term, Terms};
use meta_domain::id::TenantId;
use meta_domain::settings::{Overrides, Rollouts, Setting, Value};
use meta_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A term with who set it. It stays when the same is written again: it says since when the value
/// has been so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// What holds.
    #[serde(flatten)]
    pub term: Term,
    /// Who set it.
    pub author: Arc<str>,
    /// When, in milliseconds since the epoch.
    pub set_at: Timestamp,
    /// Why; empty where nobody said.
    #[serde(default)]
    pub reason: Arc<str>,
}

/// Who writes, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// Why; may be empty.
    pub reason: Arc<str>,
}

/// By which credential and with which request something is written. It goes on record and decides
/// nothing; whatever nobody named is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Such as `key:0197...`.
    pub credential: String,
    /// The credential's own tenant, where it acted in another one.
    pub home: Option<TenantId>,
    /// Names the request.
    pub request_id: String,
    /// The W3C trace that it belongs to.
    pub trace_id: String,
}

/// The settings of a layer. What cannot be read is kept apart: it falls to the layer below, but for
/// `autofix_enabled`, which then counts as off. It may have been forbidden.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// What can be read.
    pub fields: BTreeMap<Setting, Field>,
    /// What is wrong with the rest.
    pub bad: BTreeMap<Setting, String>,
}

impl Document {
    /// Reads a stored document. Names that are not known are of a later version, and passed over.
    pub fn parse(json: &str) -> Self {
        let stored = match serde_json::from_str::<BTreeMap<String, serde_json::Value>>(json) {
            Ok(stored) => stored,
            Err(error) => {
                let bad = Setting::ALL.iter().map(|s| (*s, error.to_string())).collect();
                return Self { fields: BTreeMap::new(), bad };
            }
        };
        let mut document = Self::default();
        for (name, value) in stored {
            let Ok(setting) = name.parse::<Setting>() else { continue };
            match read(setting, value) {
                Ok(field) => drop(document.fields.insert(setting, field)),
                Err(problem) => drop(document.bad.insert(setting, problem)),
            }
        }
        document
    }

    /// The document as it is stored; what could not be read is gone.
    ///
    /// # Errors
    /// Never for a document of this program.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.fields)
    }

    /// What holds, without who and when.
    pub fn terms(&self) -> Terms {
        self.fields.iter().map(|(setting, field)| (*setting, field.term.clone())).collect()
    }

    /// The values, of a layer that is no rollout.
    pub fn overrides(&self) -> Overrides {
        let read: Overrides = self.fields.iter().map(|(s, f)| (*s, f.term.value)).collect();
        if self.bad.contains_key(&Setting::AutofixEnabled) {
            return read.with(Setting::AutofixEnabled, Some(Value::Bool(false)));
        }
        read
    }

    /// The rollouts, of the layer that holds them.
    pub fn rollouts(&self) -> Rollouts {
        self.fields.iter().filter_map(|(s, f)| Some((*s, f.term.rollout()?))).collect()
    }

    /// This document with other terms: what changes is by the writer, what stays equal keeps its
    /// own author, time and reason.
    #[must_use]
    pub fn rewritten(&self, terms: &Terms, by: &By) -> Self {
        let field = |(setting, term): (&Setting, &Term)| {
            let same = self.fields.get(setting).filter(|field| field.term == *term);
            let new = || Field {
                term: term.clone(),
                author: by.actor.clone(),
                set_at: by.at,
                reason: by.reason.clone(),
            };
            (*setting, same.cloned().unwrap_or_else(new))
        };
        Self { fields: terms.iter().map(field).collect(), bad: BTreeMap::new() }
    }
}

fn read(setting: Setting, value: serde_json::Value) -> Result<Field, String> {
    let field: Field = serde_json::from_value(value).map_err(|e| e.to_string())?;
    match field.term.check(setting).as_slice() {
        [] => Ok(field),
        [fault, ..] => Err(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(actor: &str, at: i64) -> By {
        By { actor: actor.into(), at: Timestamp(at), reason: "".into() }
    }

    fn terms(values: &[(Setting, Value)]) -> Terms {
        values.iter().map(|(s, v)| (*s, Term::of(*v))).collect()
    }

    const TOTAL: (Setting, Value) = (Setting::MaxTotalAttempts, Value::Int(8));
    const OFF: (Setting, Value) = (Setting::AutofixEnabled, Value::Bool(false));

    #[test]
    fn an_equal_value_keeps_its_author_and_time() {
        let first = Document::default().rewritten(&terms(&[TOTAL]), &by("ann", 1));
        let second = first.rewritten(&terms(&[TOTAL, OFF]), &by("bob", 2));
        assert_eq!(second.fields[&TOTAL.0], first.fields[&TOTAL.0]);
        let flag = &second.fields[&OFF.0];
        assert_eq!((&*flag.author, flag.set_at), ("bob", Timestamp(2)));
        assert_eq!(second.rewritten(&Terms::new(), &by("c", 3)), Document::default());
    }

    #[test]
    fn a_stored_document_is_read_back() {
        let document = Document::default().rewritten(&terms(&[TOTAL, OFF]), &by("ann", 1));
        assert_eq!(Document::parse(&document.to_json().unwrap()), document);
        assert_eq!(Document::parse("{}"), Document::default());
        let later = r#"{"colour":{"value":"red"}}"#;
        assert_eq!(Document::parse(later), Document::default());
    }

    #[test]
    fn what_cannot_be_read_falls_away_and_auto_fix_is_then_off() {
        let good = r#"{"value":true,"author":"a","set_at":1}"#;
        for (json, bad, autofix, total) in [
            (
                r#"{"max_total_attempts":{"value":21,"author":"a","set_at":1}}"#.to_owned(),
                1,
                None,
                None,
            ),
            (
                r#"{"max_total_attempts":{"value":-1,"author":"a","set_at":1}}"#.to_owned(),
                1,
                None,
                None,
            ),
            (
                format!(r#"{{"autofix_enabled":{good},"max_total_attempts":7}}"#),
                1,
                Some(true),
                None,
            ),
            (
                r#"{"autofix_enabled":{"value":1,"author":"a","set_at":1}}"#.to_owned(),
                1,
                Some(false),
                None,
            ),
            (String::new(), 4, Some(false), None),
            ("[]".to_owned(), 4, Some(false), None),
        ] {
            let document = Document::parse(&json);
            assert_eq!(document.bad.len(), bad, "{json}");
            let values = document.overrides();
            assert_eq!(
                (values.autofix_enabled, values.max_total_attempts),
                (autofix, total),
                "{json}"
            );
        }
    }
}
