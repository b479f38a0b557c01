//! What the settings are and how they change, without I/O and without a clock.

pub mod change;
pub mod document;
pub mod explain;
