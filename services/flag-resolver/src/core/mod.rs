//! What the settings are and how they change, without I/O and without a clock.

pub mod affected;
pub mod document;
pub mod explain;
pub mod flagd;
pub mod scope;
pub mod write;
