//! What errors look like.

use crate::samples::{
    GATE_DECIDED, RUN, RUN_BROKEN, RUN_LIMITED, RUN_PANIC, RUN_UNKNOWN, SPEC, TENANT,
};
use crate::{Api, request, with_header};
use gateway::{Config, Peers};
use serde_json::json;

#[tokio::test]
async fn malformed_ids_name_their_parameter() {
    let api = Api::new();
    for (method, path, parameter) in [
        ("GET", "/runs/42", "run_id"),
        ("GET", "/runs/42/events", "run_id"),
        ("GET", "/runs/42/logs", "run_id"),
        ("GET", "/runs/42/settings", "run_id"),
        ("POST", "/runs/0197a2c4-0000-7c11-9f6d-00000000003/cancel", "run_id"),
        ("GET", "/specs/42", "spec_id"),
        ("POST", "/specs/42/plan", "spec_id"),
        ("POST", "/approvals/42/approve", "gate_id"),
        ("GET", "/tenants/42/settings", "tenant_id"),
    ] {
        let got = api.send(request(method, "mb_owner", path, "")).await;
        let error = got.error();
        assert_eq!((error.0, error.1.as_str()), (400, "malformed_id"), "{path}");
        assert_eq!(error.2, json!({ "parameter": parameter }), "{path}");
    }
}

#[tokio::test]
async fn a_peers_fault_keeps_its_reason() {
    let api = Api::new();
    let unknown = api.get("mb_viewer", &format!("/runs/{RUN_UNKNOWN}")).await;
    assert_eq!(unknown.error(), (404, "run_not_found".into(), json!(null)));
    assert_eq!(unknown.json()["errors"][0]["title"], "Run not found");
    let retry = api.post("mb_admin", &format!("/runs/{RUN}/retry"), "").await;
    assert_eq!(retry.error(), (409, "run_not_retryable".into(), json!(null)));
    let second = api.post("mb_admin", &format!("/approvals/{GATE_DECIDED}/approve"), "").await;
    assert_eq!(second.error(), (409, "gate_already_decided".into(), json!(null)));
    let limited = api.get("mb_viewer", &format!("/runs/{RUN_LIMITED}")).await;
    assert_eq!(limited.error(), (429, "runs_per_hour".into(), json!(null)));
    assert_eq!(limited.header("retry-after"), "7");
}

#[tokio::test]
async fn what_broke_inside_stays_inside() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN_BROKEN}")).await;
    assert_eq!(got.error(), (500, "internal".into(), json!(null)));
    assert!(!got.text.contains("hunter2"));
    let id = got.json()["errors"][0]["meta"]["request_id"].as_str().unwrap().to_owned();
    assert_eq!(got.header("x-request-id"), id);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_works() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN_PANIC}")).await;
    assert_eq!(got.error().0, 500);
    assert_eq!(api.get("mb_viewer", &format!("/runs/{RUN}")).await.status, 200);
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_json() {
    let api = Api::new();
    let got = api.get("mb_viewer", "/nothing").await;
    assert_eq!(got.error(), (404, "route_not_found".into(), json!(null)));
    let got = api.send(request("DELETE", "mb_viewer", &format!("/runs/{RUN}"), "")).await;
    assert_eq!(got.error(), (405, "method_not_allowed".into(), json!(null)));
    assert!(got.header("allow").contains("GET"));
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/artifacts/secrets")).await;
    assert_eq!(got.error().1, "artifact_not_found");
}

#[tokio::test]
async fn every_bad_field_of_a_spec_is_pointed_at() {
    let api = Api::new();
    let body = json!({
        "title": " ",
        "mode": "wild",
        "source": { "kind": "inline", "files": { "../x": "" } },
        "steps": [{ "name": "a", "run": "" }, { "name": "a b", "run": "x", "needs": ["z"] }],
    });
    let got = api.post("mb_member", "/specs", &body).await;
    assert_eq!(got.status, 400);
    let json = got.json();
    let mut pointers: Vec<_> = json["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["source"]["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/data/attributes/mode",
            "/data/attributes/source/files",
            "/data/attributes/steps/0/run",
            "/data/attributes/steps/1/name",
            "/data/attributes/steps/1/needs/0",
            "/data/attributes/title",
        ]
    );
    assert_eq!(api.peer.calls("CreateSpec"), 0);
}

#[tokio::test]
async fn unknown_fields_are_refused_wherever_they_stand() {
    let api = Api::new();
    let source = json!({ "kind": "git", "url": "u", "branch": "b" });
    for (key, path, body, pointer) in [
        (
            "mb_member",
            "/specs".to_owned(),
            json!({ "title": "t", "mode": "guided", "owner": 1 }),
            "owner",
        ),
        (
            "mb_member",
            "/specs".into(),
            json!({ "title": "t", "mode": "guided", "source": source }),
            "source/branch",
        ),
        (
            "mb_member",
            "/specs".into(),
            json!({ "title": "t", "mode": "guided", "steps": [{ "nam": "" }] }),
            "steps/0/nam",
        ),
        ("mb_admin", format!("/specs/{SPEC}/runs"), json!({ "iterations": 3 }), "iterations"),
        (
            "mb_admin",
            format!("/specs/{SPEC}/runs"),
            json!({ "settings": { "autofix": true } }),
            "settings/autofix",
        ),
        ("mb_admin", format!("/runs/{RUN}/cancel"), json!({ "force": true }), "force"),
        ("mb_admin", format!("/runs/{RUN}/approve"), json!({ "note": "" }), "note"),
        ("mb_viewer", "/settings/validate".into(), json!({ "autofix": true }), "autofix"),
        (
            "mb_member",
            "/classify-failure".into(),
            json!({ "step_name": "s", "logs": "", "log": "" }),
            "log",
        ),
    ] {
        let got = api.post(key, &path, &body).await;
        let expected = json!({ "pointer": format!("/data/attributes/{pointer}") });
        assert_eq!(got.error(), (400, "unknown_field".into(), expected), "{}", got.text);
    }
}

#[tokio::test]
async fn values_out_of_range_are_refused_before_anything_happens() {
    let api = Api::new();
    for (body, pointer) in [
        (json!({ "max_iterations": 0 }), "max_iterations"),
        (json!({ "max_iterations": 21 }), "max_iterations"),
        (json!({ "plan_id": "42" }), "plan_id"),
        (json!({ "settings": { "max_total_attempts": 21 } }), "settings/max_total_attempts"),
        (json!({ "async": "no" }), "async"),
    ] {
        let got = api.post("mb_admin", &format!("/specs/{SPEC}/runs"), &body).await;
        let expected = json!({ "pointer": format!("/data/attributes/{pointer}") });
        assert_eq!((got.error().0, got.error().2), (400, expected), "{}", got.text);
    }
    assert_eq!(api.peer.calls("CreateRun"), 0);
    let path = format!("/tenants/{TENANT}/settings");
    let put = request("PUT", "mb_admin", &path, r#"{"backoff_cap_seconds":9}"#);
    assert_eq!(api.send(put).await.error().1, "override_out_of_range");
    let patch = request("PATCH", "mb_admin", &path, r#"{"autofix_enabled":null}"#);
    assert_eq!(api.send(patch).await.status, 400);
    assert_eq!(api.peer.calls("SetOverrides"), 0);
}

#[tokio::test]
async fn query_parameters_are_checked() {
    let api = Api::new();
    for (query, parameter) in [
        ("per_page=101", "per_page"),
        ("page=0", "page"),
        ("page=2&page_token=x", "page"),
        ("status=done", "status"),
        ("failure_type=lints", "failure_type"),
        ("created_after=yesterday", "created_after"),
        ("spec_id=1", "spec_id"),
        ("state=failed", "state"),
        ("page=1&page=2", "page"),
    ] {
        let got = api.get("mb_viewer", &format!("/runs?{query}")).await;
        let source = json!({ "parameter": parameter });
        assert_eq!((got.error().0, got.error().2), (400, source), "{query}: {}", got.text);
    }
}

#[tokio::test]
async fn broken_json_says_where() {
    let api = Api::new();
    for body in ["{\n  \"title\": }", r#"{"title":"a","title":"b","mode":"guided"}"#, "nonsense"] {
        let got = api.post("mb_member", "/specs", body).await;
        assert_eq!((got.error().0, got.error().1.as_str()), (400, "malformed_json"));
        assert!(got.text.contains("line ") && got.text.contains("column "), "{}", got.text);
    }
}

#[tokio::test]
async fn problem_json_is_given_to_those_who_ask() {
    let api = Api::new();
    let asked = request("POST", "mb_member", "/specs", r#"{"title":"t","mode":"wild"}"#);
    let got = api.send(with_header(asked, "accept", "application/problem+json")).await;
    assert_eq!(got.header("content-type"), "application/problem+json");
    let json = got.json();
    assert_eq!((&json["status"], &json["code"]), (&json!(400), &json!("invalid_field")));
    assert_eq!(json["type"], "urn:metabuilder:error:invalid_field");
    assert_eq!(json["errors"][0]["pointer"], "/data/attributes/mode");
}

#[tokio::test]
async fn ids_of_a_request_are_passed_through_or_made() {
    let api = Api::new();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let asked = with_header(request("GET", "mb_viewer", "/runs", ""), "traceparent", trace);
    let got = api.send(with_header(asked, "x-request-id", "mine-1")).await;
    assert_eq!((got.header("traceparent"), got.header("x-request-id")), (trace, "mine-1"));
    assert_eq!(api.peer.metadata("traceparent"), trace);

    let asked = with_header(request("GET", "mb_viewer", "/nothing", ""), "traceparent", "00-x");
    let got = api.send(with_header(asked, "x-request-id", "a b")).await;
    assert_eq!(got.header("traceparent").len(), 55);
    assert_eq!(got.header("x-request-id").len(), 36);
    assert!(got.text.contains(got.header("x-request-id")));
}

#[tokio::test]
async fn a_backend_that_is_down_is_a_503_with_retry_after() {
    let nobody = || meta_runtime::transport::remote("http://127.0.0.1:1", "t").unwrap();
    let peers = Peers { orchestrator: nobody(), classifier: nobody(), flags: nobody() };
    let api = Api {
        router: gateway::router(Config::default(), peers).expect("a configuration that fits"),
        peer: crate::Peer::default(),
    };
    let got = api.get("mb_viewer", "/runs").await;
    assert_eq!(got.error(), (503, "unavailable".into(), json!(null)));
    assert!(!got.header("retry-after").is_empty());
    assert!(!got.text.contains("127.0.0.1"));

    let ready = http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap();
    let got = api.send(ready).await;
    assert_eq!(got.status, 503);
    assert_eq!(got.json()["peers"]["classifier"], "unreachable");
    let alive = http::Request::get("/healthz").body(axum::body::Body::empty()).unwrap();
    assert_eq!(api.send(alive).await.status, 200);
}
