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

/// A page size from a request: 0 means the default, and no more than the maximum.
fn page_size(asked: u32, default: u32, most: u32) -> u32 {
    if asked == 0 { default } else { asked.min(most) }
}
