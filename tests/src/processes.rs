//! Real processes of the product, on loopback: built once, started with a clean environment, asked
//! over REST and gRPC, and always ended.

mod binaries;
mod calls;
pub mod collector;
mod deployment;
mod events;
mod flags;
mod folder;
pub mod place;
mod process;
pub mod prometheus;
mod rest;
mod standalone;

pub use binaries::{only, program};
pub use calls::{any_call, reflected, reflected_alpha};
pub use deployment::{Deployment, SERVICES, ServiceProcess, TOKEN, alone};
pub use events::{broken_promises, follow_up};
pub use flags::{FlagResolver, Writer, run_id};
pub use folder::{Snapshot, git, snapshot, write_files};
pub use process::{Ended, Process};
pub use rest::{Answer, EventStream, Rest};
pub use standalone::{Up, metabuilder};

use std::time::Duration;

/// How long any wait of a test may take. Generous: two cores may be busy with a build.
pub const LIMIT: Duration = Duration::from_secs(90);
