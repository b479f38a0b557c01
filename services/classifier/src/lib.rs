//! The classifier: from the log of a failed step to one failure signal.
//!
//! `core` decides and does nothing else; `rules` reads a user's own rule files from disk.

pub mod core;
pub mod rules;
