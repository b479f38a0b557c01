//! The auto-fixer: decides what to do about a failed step, knows the fixers, guards their patches.
//!
//! `core` is pure: it takes a [`meta_domain::autofix::Case`] and returns a decision; it never runs a
//! fixer itself.

pub mod core;
