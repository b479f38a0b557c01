//! The auto-fixer: decides what to do about a failed step, knows the fixers, guards their patches.
//!
//! `core` is pure: it takes a [`meta_domain::autofix::Case`] and returns a decision; it never runs a
//! fixer itself. `grpc` speaks the wire.

mod config;
pub mod core;
mod grpc;

pub use config::Config;

use crate::core::registry::Registry;
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_proto::autofixer::autofixer_service_server::AutofixerServiceServer;
use meta_runtime::{Host, Service, StartError, Wiring};
use std::sync::Arc;

/// The service.
pub struct Autofixer;

impl Service for Autofixer {
    const NAME: &'static str = "autofixer";
    const PORT: u16 = 50053;
    type Config = Config;

    async fn wire(_config: Config, _host: &Host) -> Result<Wiring, StartError> {
        let registry = Registry::builtin().map_err(StartError::Config)?;
        tracing::info!(fixers = registry.fixers().len(), "fixers are loaded");
        let server = AutofixerServiceServer::new(grpc::Grpc { registry: Arc::new(registry) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Wiring::default().serve(server))
    }
}
