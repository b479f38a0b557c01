//! A transaction that begins when it is needed.

use crate::store::Tables;
use meta_storage::{Error, Tx};

/// A write transaction that begins with what is first read in it. Most batches read nothing, and
/// are then stored in one call.
pub(crate) struct Opening {
    tables: Tables,
    tx: Option<Tx>,
}

impl Opening {
    /// One that has not begun.
    pub(crate) fn new(tables: &Tables) -> Self {
        Self { tables: tables.clone(), tx: None }
    }

    /// The transaction, begun now if it was not.
    ///
    /// # Errors
    /// When it cannot be had in time.
    pub(crate) async fn tx(&mut self) -> Result<&mut Tx, Error> {
        let tx = match self.tx.take() {
            Some(tx) => tx,
            None => self.tables.begin().await?,
        };
        Ok(self.tx.insert(tx))
    }

    /// The transaction, if it has begun.
    pub(super) fn begun(self) -> Option<Tx> {
        self.tx
    }
}
