//! What pages show, decided without any of the shell's world: logs, patches, graphs, words.

pub(crate) mod ansi;
pub(crate) mod diff;
pub(crate) mod graph;
pub(crate) mod log;
pub(crate) mod words;
