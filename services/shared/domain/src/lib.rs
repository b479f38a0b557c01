//! The vocabulary of Meta-Builder: what a failure, a signal, a setting, a plan and a gate are.
//!
//! Everything here is plain data and total functions. There is no I/O, no clock, no randomness and
//! no generated code; the wire lives in `meta-proto`, the shells live in the services.

pub mod address;
pub mod autofix;
pub mod failure;
pub mod fault;
pub mod gate;
pub mod id;
pub mod limits;
pub mod masking;
pub mod plan;
pub mod project;
pub mod role;
pub mod sarif;
pub mod secrecy;
pub mod settings;
pub mod signal;
pub mod source;
pub mod status;
pub mod time;
pub mod trace;
