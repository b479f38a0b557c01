//! Logs on standard error: JSON for machines, pretty for people.

mod lines;

pub(crate) use lines::{before_park, end};

use meta_telemetry::otlp::Bridge;
use meta_telemetry::trace;
use serde::{Deserialize, Serialize};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// For a terminal.
    Pretty,
}

/// Where logs go and how much is said.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `json` or `pretty`.
    pub format: Format,
    /// A level or filter such as `info` or `info,orchestrator=debug`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { format: Format::Json, level: "info".to_owned() }
    }
}

/// Installs the log subscriber of the process; a second call changes nothing.
///
/// # Errors
/// When the level is no filter.
pub fn install(config: &Config) -> Result<(), String> {
    install_with(config, None)
}

/// The same, with what gives logs to a collector.
pub(crate) fn install_with(config: &Config, bridge: Option<Bridge>) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|e| format!("log.level: {:?} is not a filter ({e})", config.level))?;
    let lines = fmt::layer().with_writer(lines::Stderr::new());
    let lines = match config.format {
        Format::Json => {
            let format = Traced(fmt::format().json().flatten_event(true));
            lines.json().event_format(format).boxed()
        }
        Format::Pretty => lines.compact().boxed(),
    };
    let bridge = bridge.map(|b| b.with_filter(filter_fn(|about| !is_sending(about.target()))));
    let layers = tracing_subscriber::registry().with(filter).with(lines).with(bridge);
    if let Err(error) = layers.try_init() {
        tracing::debug!(%error, "the log subscriber was installed before");
    }
    Ok(())
}

/// Whether a line is about what sends lines: sending it would make the next one.
fn is_sending(target: &str) -> bool {
    ["h2", "hyper", "hyper_util", "tonic", "tower", "reqwest", "opentelemetry", "meta_telemetry"]
        .iter()
        .any(|name| target.split("::").next().is_some_and(|first| first.starts_with(name)))
}

/// JSON lines that say which trace and which span they belong to.
struct Traced<F>(F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some(of) = trace::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) if !rest.contains("\"trace_id\":") => {
                let (trace, span) = (of.trace, of.span);
                write!(writer, "{{\"trace_id\":\"{trace:032x}\",\"span_id\":\"{span:016x}\",{rest}")
            }
            Some(_) | None => writer.write_str(&line),
        }
    }
}
