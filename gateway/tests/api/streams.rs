//! Events and logs as they come.

use crate::samples::{RUN, RUN_QUIET, RUN_TORN, RUN_UNKNOWN};
use crate::{Api, request, with_header};
use axum::body::Body;
use gateway::Config;
use http_body_util::BodyExt;
use serde_json::Value;
use std::time::Duration;

fn live(run: &str) -> http::Request<Body> {
    let asked = request("GET", "mb_viewer", &format!("/runs/{run}/events"), "");
    with_header(asked, "accept", "text/event-stream")
}

#[tokio::test]
async fn the_event_log_is_a_list_by_default() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/events?after=1")).await.json();
    let events = got["data"].as_array().unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["attributes"]["seq"], 2);
    assert_eq!(events[0]["attributes"]["data"]["text"], "two\nlines");
    assert!(api.peer.last("StreamEvents").contains("follow: false"));
}

#[tokio::test]
async fn a_long_event_log_has_a_next_link() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/events?per_page=2")).await.json();
    assert_eq!(got["data"].as_array().unwrap().len(), 2);
    let next = got["links"]["next"].as_str().unwrap().strip_prefix("/api/meta/v2").unwrap();
    let rest = api.get("mb_viewer", next).await.json();
    assert_eq!(rest["data"][0]["attributes"]["seq"], 3);
    assert!(rest["links"].get("next").is_none());
}

#[tokio::test]
async fn events_are_followed_and_end_with_the_status() {
    let api = Api::new();
    let got = api.send(live(RUN)).await;
    assert_eq!(got.header("content-type"), "text/event-stream");
    assert_eq!(got.header("x-accel-buffering"), "no");
    for part in ["retry: 2000", "id: 1\n", "id: 3\n", "event: step.started\n", r"two\nlines"] {
        assert!(got.text.contains(part), "{part} is not in {}", got.text);
    }
    let end = got.text.split("event: end\n").nth(1).unwrap();
    assert!(end.contains(r#""status":"paused_awaiting_approval""#), "{end}");
    assert!(api.peer.last("StreamEvents").contains("follow: true"));
}

#[tokio::test]
async fn a_browser_resumes_after_the_last_event_it_saw() {
    let api = Api::new();
    let got = api.send(with_header(live(RUN), "last-event-id", "2")).await;
    assert!(!got.text.contains("id: 2\n") && got.text.contains("id: 3\n"), "{}", got.text);
    let bad = api.send(with_header(live(RUN), "last-event-id", "two")).await;
    assert_eq!((bad.error().0, bad.error().2["header"].as_str()), (400, Some("Last-Event-ID")));
}

#[tokio::test]
async fn a_torn_stream_says_so_and_never_ends_well() {
    let api = Api::new();
    let got = api.send(live(RUN_TORN)).await;
    assert!(got.text.contains("id: 1\n") && got.text.contains("event: problem\n"), "{}", got.text);
    assert!(got.text.contains(r#""code":"unavailable""#) && !got.text.contains("event: end"));
}

#[tokio::test]
async fn an_idle_stream_has_a_heartbeat() {
    let api = Api::with(Config { heartbeat_ms: 50, ..Config::default() });
    let mut body = api.open(live(RUN_QUIET)).await.into_body();
    let mut text = String::new();
    while !text.contains(": heartbeat") {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap();
        let data = frame.unwrap().unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    assert!(text.contains("id: 1\n"));
}

#[tokio::test]
async fn a_followed_stream_ends_without_end_when_its_time_is_over() {
    let api = Api::with(Config { stream_ms: 100, ..Config::default() });
    let whole = tokio::time::timeout(Duration::from_secs(5), api.send(live(RUN_QUIET))).await;
    let text = whole.unwrap().text;
    assert!(text.contains("id: 1\n") && !text.contains("event: end"), "{text}");
}

#[tokio::test]
async fn the_command_line_gets_a_line_for_each_event() {
    let api = Api::new();
    let asked = request("GET", "mb_viewer", &format!("/runs/{RUN}/events"), "");
    let got = api.send(with_header(asked, "accept", "application/x-ndjson")).await;
    let lines: Vec<Value> =
        got.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|l| l["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_stream_of_an_unknown_run_is_404() {
    let api = Api::new();
    assert_eq!(api.send(live(RUN_UNKNOWN)).await.error().0, 404);
    let got = api.get("mb_viewer", &format!("/runs/{RUN_UNKNOWN}/logs")).await;
    assert_eq!(got.error().0, 404);
}

#[tokio::test]
async fn logs_are_text_with_a_heading_for_each_attempt() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/logs?step=lint&follow=true")).await;
    assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    let expected = "==> lint (attempt 1) <==\n<b>E302 expected</b>\n==> lint (attempt 2) <==\nok\n\
                    ==> test (attempt 1) <==\n1 passed\n";
    assert_eq!(got.text, expected);
    let asked = api.peer.last("StreamLogs");
    assert!(asked.contains("step: \"lint\"") && asked.contains("follow: true"), "{asked}");
}
