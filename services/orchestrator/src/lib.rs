//! The orchestrator.

pub mod core;
