//! Decisions without I/O: what a log keeps, what is masked, which system calls are refused.

pub mod mask;
pub mod output;
pub mod seccomp;
