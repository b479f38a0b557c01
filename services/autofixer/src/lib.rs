//! The auto-fixer: decides what to do about a failed step, knows the fixers, guards their patches,
//! asks a model where one is configured, and remembers what helped.
//!
//! `core` is pure: it takes a [`meta_domain::autofix::Case`] and returns a decision; it never runs a
//! fixer itself. `memory` holds the only SQL, `endpoint` calls the model, `drafts` converses with it,
//! `fixers` reads a user's own fixers, `grpc` speaks the wire.

mod config;
pub mod core;
mod drafts;
mod endpoint;
pub mod fixers;
mod grpc;
mod memory;

pub use config::Config;

use crate::core::model::Terms;
use endpoint::{Endpoint, Settings};
use memory::Store;
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

    async fn wire(config: Config, host: &Host) -> Result<Wiring, StartError> {
        let settings = Settings::from_vars(host.vars()).map_err(StartError::Config)?;
        let location = config.location().map_err(|fault| StartError::Config(vec![fault]))?;
        let terms = settings
            .as_ref()
            .map(|s| Terms { name: s.model.clone(), approval_always: s.approval_always });
        let registry = fixers::load(config.own_fixers().as_deref()).map_err(StartError::Config)?;
        let registry = registry.with_model(terms);
        let endpoint = settings.map(Endpoint::new).transpose();
        let endpoint = endpoint.map_err(|e| StartError::failed("model endpoint", e))?;
        let memory = Store::open(&location)
            .await
            .map_err(|e| StartError::failed(&format!("database {location}"), e))?;
        tracing::info!(
            fixers = registry.fixers().len(),
            model = endpoint.as_ref().map_or("none", |e| e.settings.model.as_str()),
            "fixers are loaded"
        );
        let grpc = grpc::Grpc { registry: Arc::new(registry), endpoint, memory };
        let server = AutofixerServiceServer::new(grpc)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Wiring::default().serve(server))
    }

    async fn migrate(config: Config) -> Result<(), StartError> {
        let location = config.location().map_err(|fault| StartError::Config(vec![fault]))?;
        let opened = Store::open(&location).await;
        opened.map(drop).map_err(|e| StartError::failed(&format!("database {location}"), e))
    }
}
