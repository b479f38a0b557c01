//! Parameters that several routes take.

use super::{Schema, flag, id, number, text, text_of, time, words};
use crate::params::PER_PAGE_MAX;
use meta_domain::failure::FailureType;
use meta_domain::settings::Setting;
use meta_domain::status::RunStatus;
use serde_json::{Value, json};

/// A query parameter or a request header.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(in crate::contract) name: &'static str,
    pub(in crate::contract) schema: Schema,
    pub(in crate::contract) what: &'static str,
}

/// A parameter of that name.
pub(crate) fn parameter(name: &'static str, schema: Schema, what: &'static str) -> Parameter {
    Parameter { name, schema, what }
}

/// A parameter of a path by its name: those that end in `_id` are UUIDs.
pub(in crate::contract) fn path_parameter(name: &'static str) -> Value {
    let schema = match name {
        "layer" => words(&["platform", "rollouts", "kill-switch"]),
        "step" => text_of(1, 200),
        _ if name.ends_with("_id") => id(),
        _ => text(),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

/// Resources on a page.
pub(crate) fn per_page() -> Parameter {
    parameter("per_page", number(1, i64::from(PER_PAGE_MAX)), "Resources on a page; 25 by default")
}

/// The cursor of the next page.
pub(crate) fn page_token() -> Parameter {
    parameter("page_token", text(), "From meta.next_page_token of the page before")
}

/// The page by its number.
pub(crate) fn page() -> Parameter {
    parameter("page", number(1, 42_949_672), "The page by its number, from 1")
}

/// The filters of runs.
pub(crate) fn run_filters() -> [Parameter; 4] {
    [
        parameter("status", words(RunStatus::ALL), "Only runs with this status"),
        parameter("spec_id", id(), "Only runs of this spec"),
        parameter("created_after", time(), "Only runs made after this instant"),
        parameter("failure_type", words(&FailureType::ALL), "Only runs with such a failure"),
    ]
}

/// One setting of a history.
pub(crate) fn setting() -> Parameter {
    let names: Vec<_> = Setting::ALL.iter().map(|s| s.as_str()).collect();
    parameter("setting", words(&names), "Only changes of this setting")
}

/// How a write of settings is asked for.
pub(crate) fn write_options() -> [Parameter; 4] {
    [
        parameter("dry_run", flag(), "Only say what would change"),
        parameter("if_version", number(0, i64::MAX), "409 unless this version is in force"),
        parameter("effective_at", time(), "When it takes effect"),
        parameter("reason", text_of(0, 500), "Why, for the history"),
    ]
}

/// What a removal clears.
pub(crate) fn cleared() -> Parameter {
    parameter("settings", text(), "Names of settings with commas between; all unless given")
}

/// The version that a write expects.
pub(crate) fn if_match() -> Parameter {
    parameter("If-Match", text(), "The ETag that was read; 412 when it is another by now")
}

/// Makes a repeated request get the first answer.
pub(crate) fn idempotency_key() -> Parameter {
    let schema = json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$" });
    parameter("Idempotency-Key", schema, "The same key and body gets the first answer for 24 hours")
}

/// Where a stream of server-sent events goes on.
pub(crate) fn last_event_id() -> Parameter {
    let schema = json!({ "type": "string", "pattern": "^[0-9]{1,15}$" });
    parameter("Last-Event-ID", schema, "The last event that was seen")
}
