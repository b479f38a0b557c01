//! What every service needs to be a service: configuration, logs, health, reflection, who is
//! calling, deadlines, draining, and one kind of client for peers in this process or elsewhere.

mod accept;
pub mod access;
mod admin;
pub mod auth;
pub mod clock;
pub mod config;
mod deadline;
pub mod flags;
pub mod logs;
mod observed;
pub mod probe;
pub mod serve;
pub mod service;
pub mod start;
pub mod telemetry;
pub mod transport;

pub use auth::{asked, call, call_as, identity, principal, trace_id};
pub use clock::{jitter, new_id, now};
pub use flags::Flags;
pub use service::{Host, Service, StartError, Wiring};
pub use start::main;
pub use transport::Transport;
