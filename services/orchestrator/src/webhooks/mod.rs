//! Webhooks: who is told of a tenant's events, and the outbox from which they are told.
//!
//! The rows of the outbox are written in the transaction of the events themselves
//! ([`WebhookStore::tell`]), so
//! that nothing is told that did not happen and nothing that happened is forgotten. [`Sender`] sends
//! them at least once.

mod config;
mod grpc;
mod http;
mod key;
mod send;
mod store;
mod subscribers;

pub use config::Config;
pub use grpc::Webhooks;
pub use http::{Http, Lookup, system_lookup};
pub use key::signing_key;
pub use send::{Events, Sender, events_of};
pub use store::{WebhookRow, WebhookStore, insert};
pub use subscribers::Written;

#[cfg(test)]
mod tests;
