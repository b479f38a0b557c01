//! The pure part of the auto-fixer: no clock, no randomness, no I/O.

pub mod check;
pub mod command;
pub mod decide;
pub mod evidence;
pub mod explain;
pub mod fixer;
pub mod guard;
pub mod learn;
pub mod model;
pub mod patch;
pub mod registry;
mod render;
pub mod replan;
