//! Routes of what a run said and says: events, logs, artifacts.

use crate::contract::schema::{flag, last_event_id, many, number, parameter, text};
use crate::contract::{Routes, op};
use crate::routes::{events, logs};
use serde_json::json;

const LINES: &str = "application/x-ndjson";
const LIVE: &str = "text/event-stream";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Their routes.
pub(super) fn routes() -> Routes {
    let after = parameter("after", number(0, i64::MAX), "Only events after this one");
    let many_events = parameter("per_page", number(1, 1000), "Events in one list");
    let follow = || parameter("follow", flag(), "Go on until the run has ended");
    Routes::default()
        .get(
            "/runs/{run_id}/events",
            events::events,
            op("listEvents", "The run's event log: a list, or a stream as Accept says")
                .query([after, follow(), many_events])
                .headers([last_event_id()])
                .answers(200, "Events", many("Event"))
                .gives(200, "", LIVE, text())
                .gives(200, "", LINES, text()),
        )
        .get(
            "/runs/{run_id}/logs",
            logs::logs,
            op("getLogs", "The steps' logs as text, or as a stream as Accept says")
                .query([parameter("step", text(), "Only this step's"), follow()])
                .headers([last_event_id()])
                .gives(200, "The log", PLAIN, text())
                .gives(200, "", LIVE, text())
                .gives(200, "", LINES, text()),
        )
        .get(
            "/runs/{run_id}/artifacts/{name}",
            logs::artifact,
            op("getArtifact", "Download the workspace, the patch or the log")
                .whatever_is_accepted()
                .gives(200, "The artifact", PLAIN, text())
                .gives(200, "", "text/x-diff; charset=utf-8", text())
                .gives(200, "", "application/gzip", json!({ "type": "string", "format": "binary" }))
                .refuses(&[409]),
        )
}
