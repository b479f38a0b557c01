//! The classifier: from the log of a failed step to one failure signal.
//!
//! `core` decides and does nothing else; `rules` reads a user's own rule files from disk, `store`
//! keeps those in force and follows changes; `grpc` speaks the wire.

mod config;
pub mod core;
mod grpc;
pub mod labelled;
pub mod rules;
mod store;

pub use config::Config;
pub use store::Store;

use meta_domain::fault::InvalidField;
use meta_domain::limits::MESSAGE_BYTES_MAX;
use meta_proto::classifier::classifier_service_server::ClassifierServiceServer;
use meta_runtime::{Host, Service, StartError, Wiring};
use std::sync::Arc;

/// The service.
pub struct Classifier;

impl Service for Classifier {
    const NAME: &'static str = "classifier";
    const PORT: u16 = 50052;
    type Config = Config;

    async fn wire(config: Config, _host: &Host) -> Result<Wiring, StartError> {
        let store = Store::open(config.rules_dir).map_err(|error| {
            let why = format!("{error}{}", error.source_text());
            StartError::Config(vec![InvalidField::new("rules_dir", why)])
        })?;
        tracing::info!(rules = store.rules().len(), "rules are loaded");
        let store = Arc::new(store);
        let server = ClassifierServiceServer::new(grpc::Grpc { store: Arc::clone(&store) })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Wiring::default().serve(server).background("rules", move |stop| store.watch(stop)))
    }
}
