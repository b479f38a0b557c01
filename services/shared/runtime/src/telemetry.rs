//! The telemetry of a process, from its start to its end.

use crate::{clock, logs, observed};
use meta_domain::fault::InvalidField;
use meta_telemetry::otlp::{Export, Process};
use std::collections::BTreeMap;

/// What the environment is called when nobody says so.
const ENVIRONMENT: &str = "development";

/// What a process tells about itself; [`Telemetry::end`] sends the rest.
#[derive(Debug)]
pub struct Telemetry(Export);

impl Telemetry {
    /// Starts logs, and sends what the standard `OTEL_*` variables ask for. Call it within tokio.
    ///
    /// # Errors
    /// Every setting that does not fit.
    pub fn start(
        service: &str,
        vars: &BTreeMap<String, String>,
        log: &logs::Config,
    ) -> Result<Self, Vec<InvalidField>> {
        observed::tell_tables();
        let environment = vars.get("META_BUILDER_ENV").filter(|name| !name.is_empty());
        let process = Process {
            service: format!("metabuilder-{service}"),
            version: env!("CARGO_PKG_VERSION"),
            environment: environment.map_or(ENVIRONMENT, String::as_str).to_owned(),
            instance: clock::new_id().to_string(),
        };
        let export = Export::start(vars, &process);
        let export = export.map_err(|problem| vec![InvalidField::new("telemetry", problem)])?;
        logs::install_with(log, export.bridge())
            .map_err(|problem| vec![InvalidField::new("log.level", problem)])?;
        Ok(Self(export))
    }

    /// Sends what is left, for a moment; a collector that is away holds nothing up.
    pub async fn end(self) {
        self.0.end().await;
    }
}
