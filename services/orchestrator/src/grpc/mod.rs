//! The gRPC shells: decode, call, encode.

pub mod answers;
pub mod asking;
pub mod audit;
pub mod control;
pub mod encode;
mod inspect;
pub mod keys;
pub mod quota;
pub mod runs;
pub mod sessions;
pub mod specs;
pub mod stream;
pub mod tenants;
pub mod work;

use meta_domain::fault::{Fault, InvalidField};
use meta_proto::status::to_status;
use tonic::Status;

fn refuse(fault: impl Into<Fault>) -> Status {
    to_status(&fault.into())
}

fn invalid(field: InvalidField) -> Status {
    to_status(&field.into())
}

fn store(error: meta_storage::Error) -> Status {
    to_status(&error.into())
}

/// A text that somebody writes for people. A terminal takes other control characters for commands,
/// and PostgreSQL no U+0000 at all.
fn check_text(field: &str, text: &str) -> Result<(), InvalidField> {
    let bad = text.chars().find(|c| c.is_control() && !"\n\r\t".contains(*c));
    no_control(field, bad)
}

/// The same on one line.
fn check_line(field: &str, text: &str) -> Result<(), InvalidField> {
    no_control(field, text.chars().find(|c| c.is_control()))
}

fn no_control(field: &str, bad: Option<char>) -> Result<(), InvalidField> {
    let Some(bad) = bad else { return Ok(()) };
    let problem = format!("holds U+{:04X} (expected no control characters)", u32::from(bad));
    Err(InvalidField::new(field, problem))
}

/// A page size from a request: 0 means the default, and no more than the maximum.
fn page_size(asked: u32, default: u32, most: u32) -> u32 {
    if asked == 0 { default } else { asked.min(most) }
}
