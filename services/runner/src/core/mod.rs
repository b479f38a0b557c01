//! Decisions without I/O: amounts, what a log keeps, what is masked, which system calls are refused, how many
//! tests ran, which files are the check itself.

pub mod amount;
pub mod bundle;
pub mod output;
pub mod protected;
pub mod seccomp;
pub mod tally;
