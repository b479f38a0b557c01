//! The OpenFeature Remote Evaluation Protocol.

use crate::samples::{OTHER_TENANT, RUN, TENANT, THIRD_TENANT, snapshot, total};
use crate::{Api, Got, with_header};
use axum::body::Body;
use gateway::Config;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use meta_proto::{common, flags};
use serde_json::{Value, json};
use std::time::Duration;

const FLAGS: &str = "/ofrep/v1/evaluate/flags";
/// How long a test waits for what has to happen.
const LIMIT: Duration = Duration::from_secs(10);

fn request(key: &str, path: &str, body: impl ToString) -> Request<Body> {
    Request::post(format!("{FLAGS}{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .expect("a request")
}

impl Api {
    /// An evaluation, as soon as the settings are known.
    async fn evaluate(&self, key: &str, path: &str, body: impl ToString) -> Got {
        self.until(|| request(key, path, body.to_string()), |got| got.status != 503).await
    }

    /// Asks until the answer is as it should become.
    async fn until(&self, request: impl Fn() -> Request<Body>, fits: impl Fn(&Got) -> bool) -> Got {
        let asking = async {
            loop {
                let got = self.send(request()).await;
                if fits(&got) {
                    return got;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, asking).await.expect("the answer in time")
    }
}

fn at(tenant: &str, run: &str) -> Value {
    json!({ "context": { "targetingKey": null, "tenantId": tenant, "runId": run } })
}

fn tag(got: &Got) -> String {
    assert_eq!(got.status, 200, "{}", got.text);
    got.header("etag").to_owned()
}

#[tokio::test]
async fn a_value_comes_with_its_reason_variant_and_metadata() {
    let api = Api::new();
    let nothing = json!({ "context": {} });
    for (key, flag, body, value, reason, layer) in [
        ("mb_viewer", "max_total_attempts", nothing.clone(), json!(9), "TARGETING_MATCH", "tenant"),
        ("mb_viewer", "max_total_attempts", at(TENANT, RUN), json!(2), "TARGETING_MATCH", "run"),
        ("mb_viewer", "max_total_attempts", at(TENANT, "x"), json!(9), "TARGETING_MATCH", "tenant"),
        ("mb_viewer", "autofix_enabled", nothing.clone(), json!(true), "STATIC", "platform"),
        ("mb_other", "autofix_enabled", nothing.clone(), json!(false), "TARGETING_MATCH", "tenant"),
        ("mb_other", "max_total_attempts", at(OTHER_TENANT, RUN), json!(6), "STATIC", "platform"),
        (
            "mb_platform",
            "autofix_enabled",
            at(OTHER_TENANT, ""),
            json!(false),
            "TARGETING_MATCH",
            "tenant",
        ),
        ("mb_platform", "max_total_attempts", at("nobody", ""), json!(6), "STATIC", "platform"),
        (
            "mb_viewer",
            "max_total_attempts",
            json!({ "context": { "tenantId": 42 } }),
            json!(6),
            "STATIC",
            "platform",
        ),
    ] {
        let got = api.evaluate(key, &format!("/{flag}"), &body).await;
        assert_eq!(got.status, 200, "{}", got.text);
        assert_eq!(got.header("content-type"), "application/json");
        let metadata =
            json!({ "layer": layer, "version": 5, "stale": false, "flagSetId": "meta-builder" });
        let expected = json!({
            "key": flag, "value": value, "reason": reason, "variant": layer, "metadata": metadata,
        });
        assert_eq!(got.json(), expected, "{key} {body}");
    }
    assert_eq!(api.peer.calls("WatchSnapshot"), 1);
    assert_eq!(api.peer.calls("Explain"), 0);
}

#[tokio::test]
async fn a_kill_switch_and_a_rollout_are_said_in_the_variant() {
    let api = Api::new();
    let off = common::Overrides { autofix_enabled: Some(false), ..common::Overrides::default() };
    let everybody = common::Rollout { percent: 100, ..crate::samples::rollout() };
    api.peer.tells(Some(flags::WatchSnapshotResponse {
        kill_switch: Some(off),
        rollouts: vec![everybody],
        ..snapshot()
    }));
    let got = api.evaluate("mb_viewer", "/autofix_enabled", "{}").await.json();
    assert_eq!((&got["value"], &got["variant"]), (&json!(false), &json!("kill-switch")));
    assert_eq!(got["reason"], "TARGETING_MATCH");
    let got = api.evaluate("mb_other", "/max_total_attempts", "{}").await.json();
    assert_eq!((&got["value"], &got["variant"]), (&json!(4), &json!("rollout")));
    assert_eq!(got["reason"], "SPLIT");
}

#[tokio::test]
async fn another_tenants_flags_look_like_a_flag_that_is_not_there() {
    let api = Api::new();
    let unknown = api.evaluate("mb_viewer", "/nope", "{}").await;
    assert_eq!(unknown.status, 404);
    let expected = json!({
        "key": "nope", "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no such flag",
    });
    assert_eq!(unknown.json(), expected);
    for tenant in [OTHER_TENANT, THIRD_TENANT, "nobody", "", "*"] {
        let got = api.evaluate("mb_viewer", "/autofix_enabled", at(tenant, RUN)).await;
        assert_eq!(got.status, 404, "{tenant}");
        assert_eq!(got.text, unknown.text.replace("nope", "autofix_enabled"));
        let got = api.evaluate("mb_viewer", "", at(tenant, RUN)).await;
        assert_eq!(got.status, 404, "{tenant}");
        let json = got.json();
        assert_eq!(json["errorDetails"], expected["errorDetails"]);
        assert!(got.header("etag").is_empty());
    }
}

#[tokio::test]
async fn hostile_keys_and_bodies_are_refused_cleanly() {
    let api = Api::new();
    let long = "x".repeat(5000);
    for (key, status) in [
        ("..%2f..%2fetc%2fpasswd", 404),
        ("%00", 404),
        ("__proto__", 404),
        ("a%20b", 404),
        ("%ff", 400),
        (long.as_str(), 400),
    ] {
        let got = api.evaluate("mb_viewer", &format!("/{key}"), "{}").await;
        assert_eq!(got.status, status, "{key}");
        let json = got.json();
        assert!(json["key"].as_str().unwrap().chars().count() <= 256);
        assert!(!json["errorDetails"].as_str().unwrap().is_empty());
        let code = if status == 404 { "FLAG_NOT_FOUND" } else { "GENERAL" };
        assert_eq!(json["errorCode"], code);
    }
    for (body, code) in [
        ("{nope", "PARSE_ERROR"),
        (r#"{"context":{}} x"#, "PARSE_ERROR"),
        (r#"{"context":"x"}"#, "INVALID_CONTEXT"),
        (r#"{"context":[1]}"#, "INVALID_CONTEXT"),
        ("[]", "INVALID_CONTEXT"),
    ] {
        for path in ["/autofix_enabled", ""] {
            let got = api.evaluate("mb_viewer", path, body).await;
            assert_eq!((got.status.as_u16(), &got.json()["errorCode"]), (400, &json!(code)));
            assert!(got.json()["errorDetails"].as_str().unwrap().contains("line 1"));
            let key = (!path.is_empty()).then_some("autofix_enabled");
            assert_eq!(got.json()["key"].as_str(), key);
        }
    }
    let large = format!(r#"{{"context":{{"pad":"{}"}}}}"#, "x".repeat(64 * 1024));
    let got = api.evaluate("mb_viewer", "/autofix_enabled", large).await;
    assert_eq!((got.status.as_u16(), &got.json()["errorCode"]), (413, &json!("GENERAL")));
    let got = Request::get(format!("{FLAGS}/autofix_enabled")).body(Body::empty()).unwrap();
    assert_eq!(api.send(got).await.status, 405);
    assert_eq!(api.evaluate("mb_viewer", "/autofix_enabled", "{}").await.status, 200);
}

#[tokio::test]
async fn a_key_may_stand_in_either_header_but_in_one_only() {
    let api = Api::new();
    let bare = |path: &str| {
        let request = Request::post(format!("{FLAGS}{path}"));
        request.body(Body::from("{}")).expect("a request")
    };
    let other = || with_header(bare("/autofix_enabled"), "x-api-key", "mb_other");
    let got = api.until(other, |got| got.status != 503).await;
    assert_eq!((got.status.as_u16(), &got.json()["value"]), (200, &json!(false)));
    for (name, value) in [("x-api-key", "mb_nobody"), ("x-api-key", "a b"), ("x-other", "x")] {
        for path in ["/autofix_enabled", ""] {
            let got = api.send(with_header(bare(path), name, value)).await;
            assert_eq!(got.status, 401, "{name}: {value}");
            assert!(got.header("www-authenticate").starts_with("Bearer "));
            assert_eq!(got.json()["errorCode"], "GENERAL");
            assert!(!got.text.contains("mb_nobody"));
        }
    }
    let both = with_header(request("mb_viewer", "", "{}"), "x-api-key", "mb_viewer");
    assert_eq!(api.send(both).await.status, 401);
    let elsewhere = Request::get("/api/meta/v2/runs").header("x-api-key", "mb_viewer");
    assert_eq!(api.send(elsewhere.body(Body::empty()).unwrap()).await.status, 401);
}

#[tokio::test]
async fn before_the_first_snapshot_there_is_no_value_and_no_readiness() {
    let api = Api::new();
    api.peer.tells(None);
    let ready = || Request::get("/readyz").body(Body::empty()).expect("a request");
    let got = api.send(ready()).await;
    assert_eq!((got.status.as_u16(), &got.json()["settings"]), (503, &json!("unknown")));
    for path in ["", "/autofix_enabled"] {
        let got = api.send(request("mb_viewer", path, "{}")).await;
        assert_eq!((got.status.as_u16(), got.header("retry-after")), (503, "1"));
        assert!(got.json()["errorDetails"].is_string());
    }
    assert_eq!(api.send(request("mb_nobody", "", "{}")).await.status, 401);
    api.peer.tells(Some(snapshot()));
    let got = api.until(ready, |got| got.status == StatusCode::OK).await;
    assert_eq!(got.json()["settings"], "fresh");
}

#[tokio::test]
async fn a_kept_snapshot_serves_while_the_flag_resolver_is_silent() {
    let folder = std::env::temp_dir().join(meta_runtime::new_id().to_string());
    let file = folder.join("settings.json");
    let config = || Config { flags_snapshot: Some(file.clone()), ..Config::default() };
    let first = Api::with(config());
    assert_eq!(first.evaluate("mb_viewer", "/max_total_attempts", "{}").await.status, 200);
    let kept = async {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, kept).await.expect("the file in time");
    let away = meta_runtime::transport::remote("http://127.0.0.1:1", "t").expect("an address");
    let peer = crate::Peer::default();
    let (orchestrator, classifier) = (peer.orchestrator(), peer.classifier());
    let peers = gateway::Peers { orchestrator, classifier, flags: away };
    let second =
        Api { router: gateway::router(config(), peers).expect("a configuration that fits"), peer };
    let got = second.evaluate("mb_viewer", "/max_total_attempts", "{}").await;
    assert_eq!((got.status.as_u16(), &got.json()["value"]), (200, &json!(9)));
    let ready = Request::get("/readyz").body(Body::empty()).expect("a request");
    let got = second.send(ready).await;
    assert_eq!((got.status.as_u16(), &got.json()["status"]), (200, &json!("ready")));
    assert_eq!(got.json()["peers"]["flag-resolver"], "unreachable");
    std::fs::remove_dir_all(folder).expect("a folder of this test");
}

#[tokio::test]
async fn what_is_not_confirmed_is_stale_and_after_five_minutes_off() {
    let api = Api::new();
    let fresh = tag(&api.evaluate("mb_viewer", "", "{}").await);
    let said = |stale_ms| flags::WatchSnapshotResponse { stale_ms, ..snapshot() };
    api.peer.tells(Some(said(60_000)));
    let again = || request("mb_viewer", "", "{}");
    let got = api.until(again, |got| got.header("etag") != fresh).await.json();
    assert_eq!(
        (&got["metadata"]["stale"], &got["flags"][0]["value"]),
        (&json!(true), &json!(true))
    );
    api.peer.tells(Some(said(400_000)));
    let off = |got: &Got| got.json()["flags"][0]["variant"] == "fail-closed";
    let got = api.until(again, off).await.json();
    assert_eq!(
        (&got["flags"][0]["value"], &got["flags"][0]["reason"]),
        (&json!(false), &json!("STATIC"))
    );
    assert_eq!(got["flags"][1]["value"], 9);
}

#[tokio::test]
async fn all_flags_come_with_a_tag_that_only_their_owners_changes_move() {
    let api = Api::new();
    let got = api.evaluate("mb_viewer", "", "{}").await;
    let first = tag(&got);
    let json = got.json();
    let keys: Vec<_> = json["flags"].as_array().unwrap().iter().map(|f| &f["key"]).collect();
    let all =
        ["autofix_enabled", "max_total_attempts", "max_per_step_attempts", "backoff_cap_seconds"];
    assert_eq!(keys, all);
    assert_eq!(json["metadata"]["version"], 5);

    let other = tag(&api.evaluate("mb_other", "", "{}").await);
    let run = tag(&api.evaluate("mb_viewer", "", at(TENANT, RUN)).await);
    assert!(first != other && first != run && other != run);
    assert_eq!(tag(&api.evaluate("mb_admin", "", at(TENANT, "")).await), first);

    let mut changed = snapshot();
    changed.version = 6;
    changed.overrides[2].overrides = Some(total(3));
    api.peer.tells(Some(changed.clone()));
    let newer = |got: &Got| got.json()["metadata"]["version"] == 6;
    let got = api.until(|| request("mb_viewer", "", "{}"), newer).await;
    assert_eq!(tag(&got), first);
    assert_ne!(tag(&api.evaluate("mb_other", "", "{}").await), other);

    changed.version = 7;
    changed.overrides[0].overrides = Some(total(8));
    api.peer.tells(Some(changed));
    let got = api.until(|| request("mb_viewer", "", "{}"), |got| got.header("etag") != first).await;
    assert_eq!(got.json()["flags"][1]["value"], 8);
}

#[tokio::test]
async fn a_client_that_has_them_already_gets_304() {
    let api = Api::new();
    let own = tag(&api.evaluate("mb_viewer", "", "{}").await);
    for (given, status) in [
        (own.clone(), 304),
        (format!("\"zzz\", {own}"), 304),
        (format!("W/{own}"), 304),
        ("*".to_owned(), 304),
        ("\"zzz\"".to_owned(), 200),
        (own.trim_matches('"').to_owned(), 200),
    ] {
        let asked = with_header(request("mb_viewer", "", "{}"), "if-none-match", &given);
        let got = api.send(asked).await;
        assert_eq!((got.status.as_u16(), got.header("etag")), (status, own.as_str()), "{given}");
        assert_eq!(got.text.is_empty(), status == 304);
    }
    let foreign = with_header(request("mb_other", "", "{}"), "if-none-match", &own);
    assert_eq!(api.send(foreign).await.status, 200);
}

fn events(key: &str, uri: &str) -> Request<Body> {
    let request = Request::get(uri).header("authorization", format!("Bearer {key}"));
    request.body(Body::empty()).expect("a request")
}

/// Reads a stream until it has said something.
async fn said(body: &mut Body, part: &str) -> String {
    let mut text = String::new();
    while !text.contains(part) {
        let frame = tokio::time::timeout(LIMIT, body.frame()).await.expect("a frame in time");
        let data = frame.expect("a frame").expect("no error").into_data().expect("data");
        text.push_str(std::str::from_utf8(&data).expect("text"));
    }
    text
}

#[tokio::test]
async fn a_change_of_the_callers_own_flags_is_told() {
    let api = Api::with(Config { heartbeat_ms: 20, ..Config::default() });
    let bulk = api.evaluate("mb_viewer", "", at(TENANT, RUN)).await.json();
    let stream = &bulk["eventStreams"][0];
    assert_eq!(stream["type"], "sse");
    let uri = stream["endpoint"]["requestUri"].as_str().unwrap();
    assert_eq!(uri, format!("/ofrep/v1/events?tenantId={TENANT}&runId={RUN}"));
    let response = api.open(events("mb_viewer", uri)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    said(&mut body, ": heartbeat").await;

    let mut changed = snapshot();
    changed.version = 6;
    changed.overrides[2].overrides = Some(total(3));
    api.peer.tells(Some(changed.clone()));
    let newer = |got: &Got| got.json()["metadata"]["version"] == 6;
    api.until(|| request("mb_viewer", "", "{}"), newer).await;
    assert!(!said(&mut body, ": heartbeat").await.contains("data:"));

    changed.version = 7;
    changed.overrides[1].overrides = Some(total(1));
    api.peer.tells(Some(changed));
    let text = said(&mut body, "\n\n").await;
    let text = if text.contains("data:") { text } else { said(&mut body, "data:").await };
    let data = text.lines().find_map(|l| l.strip_prefix("data: ")).unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["type"], "refetchEvaluation");
    assert!(data["lastModified"].as_i64().unwrap() > 1_700_000_000);
    let now = tag(&api.evaluate("mb_viewer", "", at(TENANT, RUN)).await);
    assert_eq!(data["etag"], now.as_str());

    let mut again = with_header(events("mb_viewer", uri), "last-event-id", "\"old\"");
    let mut body = api.open(again).await.into_body();
    assert!(said(&mut body, "refetchEvaluation").await.contains(now.trim_matches('"')));
    again = with_header(events("mb_viewer", uri), "last-event-id", &now);
    let mut body = api.open(again).await.into_body();
    assert!(!said(&mut body, ": heartbeat").await.contains("data:"));
}

#[tokio::test]
async fn a_platform_administrator_hears_of_every_change() {
    let api = Api::new();
    let bulk = api.evaluate("mb_platform", "", at("nobody", "")).await.json();
    let uri = bulk["eventStreams"][0]["endpoint"]["requestUri"].as_str().unwrap().to_owned();
    assert_eq!(uri, "/ofrep/v1/events?tenantId=");
    let mut body = api.open(events("mb_platform", &uri)).await.into_body();
    let mut changed = snapshot();
    changed.version = 6;
    changed.overrides[2].overrides = Some(total(3));
    api.peer.tells(Some(changed));
    said(&mut body, "refetchEvaluation").await;
}

#[tokio::test]
async fn only_ones_own_changes_can_be_followed() {
    let api = Api::new();
    api.evaluate("mb_viewer", "", "{}").await;
    for (key, query, status) in [
        ("mb_nobody", "", 401),
        ("mb_viewer", &*format!("?tenantId={OTHER_TENANT}"), 404),
        ("mb_viewer", "?tenant=x", 400),
        ("mb_viewer", "", 200),
        ("mb_viewer", "?tenantId=", 200),
        ("mb_platform", &*format!("?tenantId={OTHER_TENANT}"), 200),
    ] {
        let response = api.open(events(key, &format!("/ofrep/v1/events{query}"))).await;
        assert_eq!(response.status(), status, "{key} {query}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_time_is_over() {
    let api = Api::with(Config { stream_ms: 50, ..Config::default() });
    api.evaluate("mb_viewer", "", "{}").await;
    let whole = api.send(events("mb_viewer", "/ofrep/v1/events"));
    let got = tokio::time::timeout(LIMIT, whole).await.expect("an end in time");
    assert!(!got.text.contains("data:"), "{}", got.text);
}
