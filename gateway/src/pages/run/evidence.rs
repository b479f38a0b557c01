//! The lines that speak for a verdict, each with the way to its place in the log.

use crate::pages::core::ansi::plain;
use maud::{Markup, html};
use meta_proto::common::{FailureSignal, Location};

/// Lines that are shown at once; the log has all of them.
const LINES_MAX: usize = 8;

/// The page of a step's log, at a line of an execution.
pub(in crate::pages) fn place(
    run_id: &str,
    step: &str,
    execution: Option<u32>,
    line: u64,
) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("step", step);
    if let Some(execution) = execution {
        query.append_pair("execution", &execution.to_string());
    }
    let query = query.finish();
    if line == 0 {
        return format!("/runs/{run_id}?{query}#log");
    }
    format!("/runs/{run_id}?{query}#L{line}")
}

/// The evidence of a failure.
pub(in crate::pages) fn lines(
    signal: &FailureSignal,
    run_id: &str,
    step: &str,
    execution: Option<u32>,
) -> Markup {
    let rest = signal.evidence.len().saturating_sub(LINES_MAX);
    html! {
        @if !signal.evidence.is_empty() {
            ol.evidence tabindex="0" aria-label="Evidence in the log" {
                @for line in signal.evidence.iter().take(LINES_MAX) {
                    li {
                        @if line.line > 0 {
                            a href=(place(run_id, step, execution, line.line)) { span.sr { "line " } (line.line) }
                        } @else { span {} }
                        code { (plain(&line.text)) }
                    }
                }
                @if rest > 0 { li { span {} span.fine { (rest) " more" } } }
            }
        }
        @if !signal.locations.is_empty() {
            p.locations {
                @for location in signal.locations.iter().take(LINES_MAX) { (one(location)) " " }
            }
        }
    }
}

fn one(location: &Location) -> Markup {
    let mut at = plain(&location.file);
    for number in [location.line, location.column] {
        if number > 0 && !at.is_empty() {
            at.push_str(&format!(":{number}"));
        }
    }
    html! {
        span.location {
            @if !at.is_empty() { code { (at) } }
            @if !location.code.is_empty() { " " span.tag { (plain(&location.code)) } }
            @if !location.test.is_empty() { " test " code { (plain(&location.test)) } }
        }
    }
}
