//! The reference of the metrics, made from the catalogue.

use crate::catalogue::ALL;
use crate::definition::{Kind, Values};
use crate::exposition::word;
use crate::instrument::Metric;

/// What stands before the tables.
const HEAD: &str = "# Metrics

Made from `services/shared/telemetry/src/catalogue.rs` by `make docs-metrics`; a test fails when it is stale. How they are served and sent, and what reads them: [OBSERVABILITY.md](OBSERVABILITY.md).

No label carries a tenant, a run, a user or anything else without bounds: the values below are all there are. A value outside of them is not shown but counted in `metabuilder_telemetry_lost_total`. Where the name for OTLP is another one, it stands below the first. Beside these every process shows `process_cpu_seconds_total`, `process_resident_memory_bytes` and `process_open_fds`.

`autofix_success_ratio` is a recording rule (`ops/prometheus/recording.yml`) over `autofix_attempts_passed_total` and `autofix_attempts_total`: a ratio of a process would mean nothing.
";

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    let mut of = "";
    for metric in ALL {
        if metric.definition.of != of {
            of = metric.definition.of;
            text.push_str(&format!("\n## Shown by {of}\n\n| metric | type, unit | labels | what it says |\n| --- | --- | --- | --- |\n"));
        }
        text.push_str(&row(metric));
    }
    text
}

fn row(metric: &Metric) -> String {
    let definition = &metric.definition;
    let prometheus = definition.prometheus();
    let mut name = format!("`{prometheus}`");
    if prometheus != definition.name {
        name.push_str(&format!("<br>`{}`", definition.name));
    }
    let mut kind = format!("{}, `{}`", word(definition.kind), definition.unit);
    if let Kind::Histogram(bounds) = definition.kind {
        let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
        kind.push_str(&format!("<br>{}", bounds.join(" ")));
    }
    let labels: Vec<_> = definition
        .labels
        .iter()
        .map(|label| match &label.values {
            Values::Words(words) => format!("`{}`: {}", label.prometheus(), words.join(", ")),
            Values::Table(table) => format!("`{}`: {}", label.prometheus(), table.what),
        })
        .collect();
    let labels = if labels.is_empty() { "-".to_owned() } else { labels.join("<br>") };
    format!("| {name} | {kind} | {labels} | {} |\n", definition.help)
}
