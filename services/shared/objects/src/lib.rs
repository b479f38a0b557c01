//! The object store: what has to be seen by more than one machine and does not belong in a
//! database, such as the commits of a run's workspace and the logs of its steps.
//!
//! A store is named by a URL and opened with [`Objects::open`]. Keys are relative, lower-case paths
//! such as `runs/<tenant>/<run>/logs/<name>/<offset>`; whatever prefix the URL has is put before
//! them. Calls are tried again by themselves where the store is away for a moment, are bounded in
//! time, and never say a credential in an error.
//!
//! It promises what the weakest of the stores does: an object appears whole or not at all, it can be
//! read as soon as writing it was acknowledged, and of several writers with
//! [`Objects::put_if_absent`] exactly one wins.

mod error;
mod files;
mod location;
mod secrets;
mod store;

pub use error::Error;
pub use location::FIELD;
pub use store::{Entry, Objects, Put};
