//! Webhooks: who is told of a tenant's events, and the outbox from which they are told.
//!
//! The rows of the outbox are written in the transaction of the events themselves ([`insert`]), so
//! that nothing is told that did not happen and nothing that happened is forgotten. [`Sender`] sends
//! them at least once.

mod config;
mod grpc;
mod http;
mod key;
mod send;
mod store;

pub use config::Config;
pub use grpc::Webhooks;
pub use http::{Http, Lookup, system_lookup};
pub use key::signing_key;
pub use send::{Events, Sender};
pub use store::{WebhookRow, WebhookStore, insert, subscriptions};

#[cfg(test)]
mod tests;
