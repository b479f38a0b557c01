//! What a write makes of an override.

use super::document::Document;
use meta_domain::fault::Fault;
use meta_domain::settings::Overrides;
use meta_domain::time::Timestamp;

/// A write to the override of a tenant or a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// PUT: exactly these values; what is absent is left to the layer below.
    Replace(Overrides),
    /// PATCH: these values on top of what is there.
    Patch(Overrides),
    /// DELETE: nothing is overridden.
    Clear,
}

impl Write {
    /// Whether every value is in range.
    ///
    /// # Errors
    /// Names each bad field, its value and its range.
    pub fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Replace(values) | Self::Patch(values) => values.check().map_err(Fault::invalid),
            Self::Clear => Ok(()),
        }
    }
}

/// What is stored and audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The values before.
    pub before: Overrides,
    /// The override from now on.
    pub after: Document,
    /// Who changed it.
    pub actor: String,
    /// When.
    pub changed_at: Timestamp,
}

/// The change that a write makes; `None` when everything already is as asked, so that a repeated
/// request is not a second change.
pub fn change(before: &Document, write: &Write, actor: &str, now: Timestamp) -> Option<Change> {
    let values = before.overrides();
    let wanted = match write {
        Write::Replace(wanted) => *wanted,
        Write::Patch(patch) => values.patched(patch),
        Write::Clear => Overrides::default(),
    };
    if wanted == values {
        return None;
    }
    Some(Change {
        before: values,
        after: before.rewritten(&wanted, actor, now),
        actor: actor.to_owned(),
        changed_at: now,
    })
}

/// The change that a write makes of a stored override that cannot be read: it is written anew
/// whatever was there. `None` for a patch, which would have to know.
pub fn repair(write: &Write, actor: &str, now: Timestamp) -> Option<Change> {
    let wanted = match write {
        Write::Replace(wanted) => *wanted,
        Write::Patch(_) => return None,
        Write::Clear => Overrides::default(),
    };
    Some(Change {
        before: Overrides::default(),
        after: Document::default().rewritten(&wanted, actor, now),
        actor: actor.to_owned(),
        changed_at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(n: u32) -> Overrides {
        Overrides { max_total_attempts: Some(n), ..Overrides::default() }
    }

    #[test]
    fn a_write_replaces_patches_or_clears() {
        let both = Overrides { autofix_enabled: Some(false), ..total(8) };
        let before = Document::default().rewritten(&both, "ann", Timestamp(1));
        for (write, expected) in [
            (Write::Replace(total(9)), Some(total(9))),
            (Write::Patch(total(9)), Some(Overrides { max_total_attempts: Some(9), ..both })),
            (Write::Clear, Some(Overrides::default())),
            (Write::Replace(both), None),
            (Write::Patch(total(8)), None),
            (Write::Patch(Overrides::default()), None),
        ] {
            let got = change(&before, &write, "bob", Timestamp(2));
            assert_eq!(got.as_ref().map(|c| c.after.overrides()), expected, "{write:?}");
            assert!(got.is_none_or(|c| c.before == both && c.actor == "bob"));
        }
        assert_eq!(change(&Document::default(), &Write::Clear, "bob", Timestamp(2)), None);
    }

    #[test]
    fn a_write_out_of_range_is_refused() {
        assert_eq!(Write::Patch(total(21)).check().unwrap_err().fields.len(), 1);
        assert!(Write::Replace(total(20)).check().is_ok());
        assert!(Write::Clear.check().is_ok());
    }
}
