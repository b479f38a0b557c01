//! What a write makes of a layer.

use super::document::{By, Document};
use super::scope::Scope;
use meta_domain::fault::{ErrorKind, Fault, InvalidField};
use meta_domain::settings::{Overrides, Rollout, Rollouts, Setting, Value};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The share of the tenants that a rollout reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// See [`Rollout::percent`].
    pub percent: u8,
    /// See [`Rollout::bucket_key`].
    pub bucket_key: String,
}

/// A value, for all or for a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// The value.
    pub value: Value,
    /// For whom, in the layer of rollouts; `None` in all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

/// The terms of a layer.
pub type Terms = BTreeMap<Setting, Term>;

impl Term {
    /// A value for all.
    pub fn of(value: Value) -> Self {
        Self { value, share: None }
    }

    /// The term as a rollout, where it is one.
    pub fn rollout(&self) -> Option<Rollout> {
        let Share { percent, bucket_key } = self.share.clone()?;
        Some(Rollout { value: self.value, percent, bucket_key })
    }

    /// Everything that is wrong with the term for a setting.
    pub fn check(&self, setting: Setting) -> Vec<InvalidField> {
        match self.rollout() {
            Some(rollout) => rollout.check(setting).err().unwrap_or_default(),
            None => setting.check(self.value).err().into_iter().collect(),
        }
    }
}

/// The terms of an override.
pub fn terms(overrides: &Overrides) -> Terms {
    overrides.iter().map(|(setting, value)| (setting, Term::of(value))).collect()
}

/// The terms of rollouts.
pub fn rollout_terms(rollouts: Rollouts) -> Terms {
    let term = |Rollout { value, percent, bucket_key }| Term {
        value,
        share: Some(Share { percent, bucket_key }),
    };
    rollouts.into_iter().map(|(setting, rollout)| (setting, term(rollout))).collect()
}

/// A write to a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// PUT: exactly these terms; what is absent is left to the layer below.
    Replace(Terms),
    /// PATCH: these terms on top of what is there.
    Patch(Terms),
    /// DELETE: these settings are no longer set; all where none is named.
    Clear(BTreeSet<Setting>),
}

impl Write {
    /// Whether every term is valid for a layer.
    ///
    /// # Errors
    /// Names each bad field, its value and what was expected.
    pub fn check(&self, scope: Scope) -> Result<(), Fault> {
        let (Self::Replace(terms) | Self::Patch(terms)) = self else { return Ok(()) };
        let mut faults: Vec<_> = terms.iter().flat_map(|(s, term)| term.check(*s)).collect();
        let on = terms.get(&Setting::AutofixEnabled).is_some_and(|t| t.value == Value::Bool(true));
        if scope == Scope::KillSwitch && on {
            let problem = "true is not valid (expected false: a kill switch can only turn it off)";
            faults.push(InvalidField::new(Setting::AutofixEnabled.as_str(), problem));
        }
        if faults.is_empty() { Ok(()) } else { Err(Fault::invalid(faults)) }
    }

    /// What it sets; nothing where it clears.
    pub fn terms(&self) -> Terms {
        match self {
            Self::Replace(terms) | Self::Patch(terms) => terms.clone(),
            Self::Clear(_) => Terms::new(),
        }
    }

    /// The settings it names; all where it clears everything.
    pub fn settings(&self) -> BTreeSet<Setting> {
        match self {
            Self::Replace(terms) | Self::Patch(terms) => terms.keys().copied().collect(),
            Self::Clear(settings) if settings.is_empty() => Setting::ALL.iter().copied().collect(),
            Self::Clear(settings) => settings.clone(),
        }
    }

    /// The terms afterwards.
    fn applied(&self, before: Terms) -> Terms {
        match self {
            Self::Replace(terms) => terms.clone(),
            Self::Patch(terms) => {
                let mut after = before;
                after.extend(terms.clone());
                after
            }
            Self::Clear(settings) if settings.is_empty() => Terms::new(),
            Self::Clear(settings) => {
                before.into_iter().filter(|(setting, _)| !settings.contains(setting)).collect()
            }
        }
    }
}

/// What is stored and audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The terms before.
    pub before: Terms,
    /// The layer from now on.
    pub after: Document,
    /// Who, when and why.
    pub by: By,
}

impl Change {
    /// The settings that are different afterwards.
    pub fn settings(&self) -> BTreeSet<Setting> {
        differing(&self.before, &self.after.terms())
    }
}

/// The settings in which two sets of terms differ.
pub fn differing(a: &Terms, b: &Terms) -> BTreeSet<Setting> {
    Setting::ALL.iter().copied().filter(|s| a.get(s) != b.get(s)).collect()
}

/// The change that a write makes; `None` when everything already is as asked, so that a repeated
/// request is not a second change. What could not be read is written anew.
pub fn change(before: &Document, write: &Write, by: &By) -> Option<Change> {
    let terms = before.terms();
    let wanted = write.applied(terms.clone());
    if wanted == terms && before.bad.is_empty() {
        return None;
    }
    Some(Change { before: terms, after: before.rewritten(&wanted, by), by: by.clone() })
}

/// Whether the layer still is what the writer has read.
///
/// # Errors
/// `VERSION_CHANGED` when it is not.
pub fn unchanged(version: u64, if_version: Option<u64>) -> Result<(), Fault> {
    match if_version {
        Some(expected) if expected != version => {
            let text = format!(
                "if_version is {expected}, but the override has version {version} by now; read it \
                 again"
            );
            Err(Fault::new(ErrorKind::Conflict, "VERSION_CHANGED", text))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::time::Timestamp;

    fn total(n: u32) -> Terms {
        terms(&Overrides { max_total_attempts: Some(n), ..Overrides::default() })
    }

    fn by() -> By {
        By { actor: "bob".into(), at: Timestamp(2), reason: "".into() }
    }

    #[test]
    fn a_write_replaces_patches_or_clears() {
        let off = Overrides { autofix_enabled: Some(false), ..Overrides::default() };
        let both = terms(&Overrides { max_total_attempts: Some(8), ..off });
        let before = Document::default().rewritten(&both, &by());
        let patched = terms(&Overrides { max_total_attempts: Some(9), ..off });
        let one = BTreeSet::from([Setting::MaxTotalAttempts]);
        for (write, expected) in [
            (Write::Replace(total(9)), Some(total(9))),
            (Write::Patch(total(9)), Some(patched)),
            (Write::Clear(BTreeSet::new()), Some(Terms::new())),
            (Write::Clear(one), Some(terms(&off))),
            (Write::Clear(BTreeSet::from([Setting::BackoffCapSeconds])), None),
            (Write::Replace(both.clone()), None),
            (Write::Patch(total(8)), None),
            (Write::Patch(Terms::new()), None),
        ] {
            let got = change(&before, &write, &by());
            assert_eq!(got.as_ref().map(|c| c.after.terms()), expected, "{write:?}");
            assert!(got.is_none_or(|c| c.before == both && !c.settings().is_empty()));
        }
        let clear = Write::Clear(BTreeSet::new());
        assert_eq!(change(&Document::default(), &clear, &by()), None);
    }

    #[test]
    fn a_write_mends_what_cannot_be_read() {
        let broken = Document::parse("not a document");
        for write in [Write::Clear(BTreeSet::new()), Write::Patch(total(9))] {
            let mended = change(&broken, &write, &by()).unwrap();
            assert!(mended.after.bad.is_empty());
        }
    }

    #[test]
    fn a_write_out_of_range_is_refused() {
        let tenant = Scope::Platform;
        assert_eq!(Write::Patch(total(21)).check(tenant).unwrap_err().fields.len(), 1);
        assert!(Write::Replace(total(20)).check(tenant).is_ok());
        assert!(Write::Clear(BTreeSet::new()).check(tenant).is_ok());
    }

    #[test]
    fn a_kill_switch_can_only_turn_off() {
        let flag = |on| {
            Write::Patch(terms(&Overrides { autofix_enabled: Some(on), ..Overrides::default() }))
        };
        assert!(flag(false).check(Scope::KillSwitch).is_ok());
        let fault = flag(true).check(Scope::KillSwitch).unwrap_err();
        assert_eq!(fault.fields[0].path, "autofix_enabled");
        assert!(flag(true).check(Scope::Platform).is_ok());
    }

    #[test]
    fn a_stale_version_is_a_conflict() {
        assert!(unchanged(3, None).is_ok() && unchanged(3, Some(3)).is_ok());
        let fault = unchanged(3, Some(2)).unwrap_err();
        assert_eq!((fault.kind, fault.reason), (ErrorKind::Conflict, "VERSION_CHANGED"));
    }

    #[test]
    fn a_write_survives_being_stored() {
        let share = Rollout { value: Value::Int(4), percent: 25, bucket_key: "b".to_owned() };
        let rollouts = Rollouts::from([(Setting::MaxTotalAttempts, share)]);
        for write in [
            Write::Patch(rollout_terms(rollouts)),
            Write::Replace(total(3)),
            Write::Clear(BTreeSet::from([Setting::AutofixEnabled])),
        ] {
            let json = serde_json::to_string(&write).unwrap();
            assert_eq!(serde_json::from_str::<Write>(&json).unwrap(), write);
        }
    }
}
