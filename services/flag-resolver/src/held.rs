//! All overrides in memory, so that resolving reads no row.

use crate::core::document::Document;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TenantId};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Whose override.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// The tenant.
    pub tenant: TenantId,
    /// One of its runs; `None` for the tenant itself.
    pub run: Option<RunId>,
}

impl Owner {
    /// The tenant of this owner.
    fn of_tenant(self) -> Self {
        Self { run: None, ..self }
    }
}

/// A stored override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The version that wrote it.
    pub version: u64,
    /// The document, or what is wrong with the row. A bad row concerns its owner alone, and is
    /// never taken for an absent one: the layer below may allow what it forbade.
    pub document: Result<Document, String>,
}

/// What a read of the store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The version of the store at that moment.
    pub version: u64,
    /// The overrides that are new, changed, or (`None`) gone.
    pub rows: Vec<(Owner, Option<Stored>)>,
}

/// The layers above the platform for one owner, of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    /// The version of the snapshot.
    pub version: u64,
    tenant: Option<Arc<Stored>>,
    run: Option<Arc<Stored>>,
}

/// Which overrides an answer was made of; equal when nothing changed for its owner.
pub(crate) type Marks = (Option<u64>, Option<u64>);

impl Layers {
    /// See [`Marks`].
    pub(crate) fn marks(&self) -> Marks {
        (self.tenant.as_ref().map(|s| s.version), self.run.as_ref().map(|s| s.version))
    }

    /// The tenant's and the run's override; empty where there is none.
    ///
    /// # Errors
    /// `OVERRIDE_CORRUPT` when a stored row cannot be read.
    pub(crate) fn documents(&self) -> Result<(&Document, &Document), Fault> {
        Ok((document(self.tenant.as_deref())?, document(self.run.as_deref())?))
    }
}

static ABSENT: Document = Document {
    autofix_enabled: None,
    max_total_attempts: None,
    max_per_step_attempts: None,
    backoff_cap_seconds: None,
};

fn document(stored: Option<&Stored>) -> Result<&Document, Fault> {
    match stored.map(|s| &s.document) {
        None => Ok(&ABSENT),
        Some(Ok(document)) => Ok(document),
        Some(Err(_)) => Err(corrupt()),
    }
}

/// A stored override that cannot be read; the detail is in the log.
pub(crate) fn corrupt() -> Fault {
    Fault::new(
        ErrorKind::Internal,
        "OVERRIDE_CORRUPT",
        "the stored override cannot be read; replace or clear it (see the service's log)",
    )
}

#[derive(Debug, Default)]
struct Snapshot {
    version: u64,
    overrides: HashMap<Owner, Arc<Stored>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Held(RwLock<Snapshot>);

impl Held {
    /// The version in memory.
    pub(crate) fn version(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// The layers of an owner.
    pub(crate) fn layers(&self, owner: Owner) -> Layers {
        let snapshot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Layers {
            version: snapshot.version,
            tenant: snapshot.overrides.get(&owner.of_tenant()).cloned(),
            run: owner.run.and_then(|_| snapshot.overrides.get(&owner).cloned()),
        }
    }

    /// Takes in what a read of the store found. A batch must hold everything since the version
    /// that was in memory when it was read; one that others have overtaken is dropped, as theirs
    /// holds all of it. Returns the version then in memory.
    pub(crate) fn take(&self, batch: Batch) -> u64 {
        let mut snapshot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if batch.version > snapshot.version {
            snapshot.version = batch.version;
            for (owner, stored) in batch.rows {
                match stored {
                    Some(stored) => snapshot.overrides.insert(owner, Arc::new(stored)),
                    None => snapshot.overrides.remove(&owner),
                };
            }
        }
        snapshot.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::settings::Overrides;
    use meta_domain::time::Timestamp;

    fn stored(version: u64, n: u32) -> Stored {
        let values = Overrides { max_total_attempts: Some(n), ..Overrides::default() };
        let document = Document::default().rewritten(&values, "ann", Timestamp(1));
        Stored { version, document: Ok(document) }
    }

    #[test]
    fn an_overtaken_batch_changes_nothing() {
        let held = Held::default();
        let owner = Owner {
            tenant: TenantId("0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f".parse().unwrap()),
            run: None,
        };
        let batch = |version, n| Batch { version, rows: vec![(owner, Some(stored(version, n)))] };
        assert_eq!(held.take(batch(2, 9)), 2);
        assert_eq!(held.take(batch(1, 8)), 2);
        assert_eq!(held.layers(owner).marks(), (Some(2), None));
        assert_eq!(held.take(Batch { version: 3, rows: vec![(owner, None)] }), 3);
        assert_eq!(held.layers(owner).marks(), (None, None));
    }
}
