//! What the documents look like.

use crate::samples::{self, GATE, PLAN, RUN, SPEC, TENANT};
use crate::{Api, request};
use serde_json::{Value, json};

fn types(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|r| r["type"].as_str()).collect()
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> =
        object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_spec_is_created_from_an_envelope_or_from_plain_attributes() {
    let plain = json!({
        "title": "Build it",
        "mode": "guided",
        "guided_input": { "language": "python" },
        "source": { "kind": "git", "url": "https://example.com/a.git", "ref": "main" },
        "steps": [{ "name": "lint", "run": ["ruff", "check"], "timeout": "5m" }],
    });
    for body in [plain.clone(), json!({ "data": { "type": "spec", "attributes": plain } })] {
        let api = Api::new();
        let got = api.post("mb_member", "/specs", &body).await;
        assert_eq!(got.status, 201, "{}", got.text);
        assert_eq!(got.header("content-type"), "application/vnd.api+json");
        assert_eq!(got.header("location"), format!("/api/meta/v2/specs/{SPEC}"));
        let data = &got.json()["data"];
        assert_eq!((&data["type"], &data["id"]), (&json!("spec"), &json!(SPEC)));
        let attributes = &data["attributes"];
        assert_eq!(attributes["mode"], "guided");
        assert_eq!(attributes["guided_input"]["language"], "python");
        assert_eq!(attributes["source"]["ref"], "main");
        assert_eq!(attributes["steps"][0]["timeout_ms"], 300_000);
        assert_eq!(attributes["steps"][0]["run"], json!(["ruff", "check"]));
    }
}

#[tokio::test]
async fn a_spec_comes_with_its_plan_and_recent_runs() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/specs/{SPEC}")).await.json();
    assert_eq!(types(&got["included"]), ["plan", "run", "run"]);
    assert_eq!(got["data"]["relationships"]["plan"]["data"]["id"], PLAN);
    assert_eq!(got["data"]["attributes"]["source"]["files"]["a.py"], "x = 1\n");
    assert!(api.peer.last("ListRuns").contains("page_size: 5"));
}

#[tokio::test]
async fn a_plan_has_the_contracts_attributes() {
    let api = Api::new();
    let got = api.post("mb_member", &format!("/specs/{SPEC}/plan"), "").await;
    assert_eq!(got.status, 201, "{}", got.text);
    let json = got.json();
    let plan = &json["data"]["attributes"];
    assert_eq!((&plan["version"], &plan["risk_score"]), (&json!(2), &json!(12)));
    assert_eq!(plan["agents_used"], json!(["planner"]));
    assert_eq!(plan["plan_graph"]["edges"], json!([{ "from": "lint", "to": "test" }]));
    assert_eq!(plan["plan_graph"]["nodes"][0]["id"], "lint");
    assert_eq!(plan["risk"], json!([{ "reason": "network", "points": 12 }]));
    assert_eq!(plan["steps"][1]["why"], "target \"test\" of the Makefile");
    assert_eq!(plan["settings"], json!({ "max_total_attempts": 3 }));
    assert!(plan["diff_preview"].is_null() && plan["summary"] == "two steps");
}

#[tokio::test]
async fn a_run_comes_with_all_that_hangs_on_it() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN}")).await.json();
    let attributes = &got["data"]["attributes"];
    assert_eq!(attributes["status"], "paused_awaiting_approval");
    assert_eq!(
        (&attributes["total_attempts"], &attributes["pending_approvals"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        types(&got["included"]),
        [
            "spec",
            "plan",
            "step",
            "step",
            "approval",
            "diff",
            "evaluation",
            "evaluation",
            "artifact",
            "artifact",
            "artifact"
        ]
    );
    assert_eq!(
        keys(&got["data"]["relationships"]),
        ["approvals", "artifacts", "diffs", "evaluations", "plan", "spec", "steps"]
    );
    let included = got["included"].as_array().unwrap();
    let step = &included[3]["attributes"];
    assert_eq!((&step["name"], &step["failure_signal"]["type"]), (&json!("test"), &json!("lint")));
    assert_eq!(included[4]["attributes"]["proposed_patch"], samples::PATCH);
    assert_eq!(included[0]["attributes"]["source"], json!({ "kind": "inline", "paths": ["a.py"] }));
    for link in got["data"]["relationships"].as_object().unwrap().values() {
        let data = &link["data"];
        for one in data.as_array().cloned().unwrap_or_else(|| vec![data.clone()]) {
            let there = included.iter().any(|r| r["type"] == one["type"] && r["id"] == one["id"]);
            assert!(there, "{one} is not included");
        }
    }
}

#[tokio::test]
async fn auto_fix_history_has_exactly_the_contracts_fields_newest_first() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/autofix")).await.json();
    let attributes = &got["data"]["attributes"];
    assert_eq!(keys(attributes), ["events", "run_id", "total_attempts"]);
    assert_eq!(attributes["total_attempts"], 2);
    let (newest, oldest) = (&attributes["events"][0], &attributes["events"][1]);
    let fields = [
        "attempt",
        "backoff",
        "created_at",
        "fingerprint",
        "id",
        "outcome",
        "signal_type",
        "step_id",
        "strategy",
    ];
    assert_eq!(keys(oldest), fields);
    assert_eq!(newest["id"], samples::SECOND_ATTEMPT);
    assert_eq!(
        (&newest["outcome"], &newest["patch"]),
        (&"patch_applied".into(), &samples::PATCH.into())
    );
    assert_eq!((&oldest["strategy"], &oldest["backoff"]), (&"retry_step".into(), &1.5.into()));
    assert_eq!((&oldest["signal_type"], &oldest["fingerprint"]), (&"lint".into(), &"f00d".into()));
    assert_eq!(oldest["created_at"], "2023-11-14T22:13:21.000Z");
}

#[tokio::test]
async fn escalations_and_plan_deltas_have_the_contracts_fields() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/escalation")).await.json();
    let attributes = &got["data"]["attributes"];
    assert_eq!(keys(attributes), ["escalations", "has_pending_approvals", "run_id"]);
    assert_eq!(attributes["has_pending_approvals"], true);
    let one = &attributes["escalations"][0];
    let fields = ["created_at", "gate_type", "id", "metadata", "proposed_patch", "step_id"];
    assert_eq!(keys(one), fields);
    assert_eq!((&one["gate_type"], &one["step_id"]), (&json!("patch"), &json!("test")));

    let got = api.get("mb_viewer", &format!("/runs/{RUN}/plan-delta")).await.json();
    let attributes = &got["data"]["attributes"];
    assert_eq!(keys(attributes), ["deltas", "run_id", "total_deltas"]);
    let one = &attributes["deltas"][0];
    let fields =
        ["created_at", "delta_data", "id", "new_plan_id", "original_plan_id", "triggered_by"];
    assert_eq!(keys(one), fields);
    assert_eq!(one["delta_data"]["ops"][0]["kind"], "clean_cache");
}

#[tokio::test]
async fn runs_are_filtered_and_paged() {
    let api = Api::new();
    let query = format!(
        "status=failed&spec_id={SPEC}&failure_type=lint&created_after=2026-01-02T03:04:05Z&page=2&per_page=2"
    );
    let got = api.get("mb_viewer", &format!("/runs?{query}")).await.json();
    let asked = api.peer.last("ListRuns");
    for part in ["page_size: 2", "offset: 2", "Failed", "Lint", SPEC, "seconds: 1767323045"] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    assert_eq!(got["meta"]["total"], 7);
    let (next, prev) = (got["links"]["next"].as_str(), got["links"]["prev"].as_str());
    assert!(next.unwrap().contains("page=3&") && next.unwrap().contains("status=failed"));
    assert!(prev.unwrap().contains("page=1&"));
    let next = next.unwrap().strip_prefix("/api/meta/v2").unwrap().to_owned();
    assert_eq!(api.get("mb_viewer", &next).await.status, 200);
    assert!(api.peer.last("ListRuns").contains("offset: 4"));

    let last = api.get("mb_viewer", "/runs?page=4&per_page=2").await.json();
    assert!(last["links"].get("next").is_none());
    let by_cursor = api.get("mb_viewer", "/runs?page_token=abc").await.json();
    assert!(by_cursor["links"]["next"].as_str().unwrap().ends_with("page_token=cursor"));
}

#[tokio::test]
async fn starting_a_run_passes_plan_iterations_and_settings_on() {
    let api = Api::new();
    let body =
        json!({ "plan_id": PLAN, "max_iterations": 7, "settings": { "autofix_enabled": false } });
    let got = api.post("mb_admin", &format!("/specs/{SPEC}/runs"), &body).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert_eq!(got.header("location"), format!("/api/meta/v2/runs/{RUN}"));
    assert_eq!(got.json()["data"]["attributes"]["status"], "pending");
    let asked = api.peer.last("CreateRun");
    for part in [PLAN, "max_iterations: 7", "autofix_enabled: Some(false)"] {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
}

#[tokio::test]
async fn a_synchronous_run_answers_when_it_is_settled() {
    let api = Api::new();
    let got = api.post("mb_admin", &format!("/specs/{SPEC}/runs"), json!({ "async": false })).await;
    assert_eq!(got.status, 201, "{}", got.text);
    assert_eq!(got.json()["data"]["attributes"]["status"], "paused_awaiting_approval");
}

#[tokio::test]
async fn gates_are_listed_and_decided() {
    let api = Api::new();
    let list = api.get("mb_viewer", "/approvals").await.json();
    assert_eq!(
        (&list["data"][0]["type"], &list["data"][0]["id"]),
        (&"approval".into(), &GATE.into())
    );
    let path = format!("/approvals/{GATE}/reject");
    let got = api.post("mb_admin", &path, json!({ "notes": "not this way" })).await.json();
    assert_eq!(got["data"]["attributes"]["status"], "rejected");
    assert_eq!(got["data"]["attributes"]["notes"], "not this way");
    let got = api.post("mb_admin", &format!("/runs/{RUN}/approve"), "").await.json();
    assert_eq!(got["data"]["attributes"]["status"], "approved");
    assert!(api.peer.last("DecideGate").contains(&format!("run_id: {RUN:?}")));
}

#[tokio::test]
async fn settings_show_values_layers_and_the_override() {
    let api = Api::new();
    let got = api.get("mb_viewer", &format!("/tenants/{TENANT}/settings")).await.json();
    let attributes = &got["data"]["attributes"];
    assert_eq!(attributes["override"], json!({ "max_total_attempts": 8 }));
    assert_eq!(attributes["resolved"]["autofix_enabled"]["value"], true);
    assert_eq!(attributes["resolved"]["max_total_attempts"]["layer"], "run");

    let got = api.get("mb_viewer", &format!("/runs/{RUN}/settings")).await.json();
    assert_eq!(got["data"]["attributes"]["override"], json!({ "max_total_attempts": 4 }));

    for (method, patch) in [("PUT", "patch: false"), ("PATCH", "patch: true")] {
        let body = r#"{"max_total_attempts":8}"#;
        let path = format!("/tenants/{TENANT}/settings");
        let got = api.send(request(method, "mb_admin", &path, body)).await;
        assert_eq!(got.status, 200, "{}", got.text);
        let asked = api.peer.last("SetOverrides");
        assert!(asked.contains(patch) && asked.contains("max_total_attempts: Some(8)"), "{asked}");
    }
    let path = format!("/tenants/{TENANT}/settings");
    assert_eq!(api.send(request("DELETE", "mb_admin", &path, "")).await.status, 200);
    assert_eq!(api.peer.calls("ClearOverrides"), 1);
}

#[tokio::test]
async fn an_override_is_validated_without_being_stored() {
    let api = Api::new();
    let body = json!({ "max_total_attempts": 99, "backoff_cap_seconds": 5 });
    let got = api.post("mb_viewer", "/settings/validate", &body).await.json();
    let attributes = &got["data"]["attributes"];
    assert_eq!(attributes["valid"], false);
    assert_eq!(attributes["problems"][0]["field"], "max_total_attempts");
    assert_eq!(attributes["problems"].as_array().unwrap().len(), 2);
    assert_eq!(api.peer.calls("SetOverrides"), 0);
}

#[tokio::test]
async fn a_log_is_classified_with_its_artifacts() {
    let api = Api::new();
    let body = json!({
        "step_name": "lint",
        "logs": "a.py:1:1 E302",
        "artifacts": ["more", { "name": "report.xml", "content": "<x/>" }],
        "exit_code": 1,
    });
    let got = api.post("mb_member", "/classify-failure", &body).await.json();
    let signal = &got["data"]["attributes"]["failure_signal"];
    assert_eq!((&signal["type"], &signal["severity"]), (&json!("lint"), &json!("low")));
    assert_eq!(signal["evidence"][0], json!({ "line": 3, "text": "a.py:1:1 E302" }));
    assert_eq!(signal["locations"][0]["column"], Value::Null);
    assert_eq!(signal["runner_up"], Value::Null);
    let passed = json!({ "step_name": "lint", "logs": "error", "exit_code": 0 });
    let got = api.post("mb_member", "/classify-failure", &passed).await.json();
    assert!(got["data"]["attributes"]["failure_signal"].is_null());
}

#[tokio::test]
async fn a_user_gets_a_key_and_a_platform_administrator_a_tenant() {
    let api = Api::new();
    let body = json!({ "email": "a@example.com", "role": "member" });
    let got = api.post("mb_owner", &format!("/tenants/{TENANT}/users"), &body).await;
    assert_eq!(got.status, 201, "{}", got.text);
    let json = got.json();
    assert!(json["data"]["attributes"]["api_key"].as_str().unwrap().starts_with("mb_"));
    assert_eq!(json["data"]["attributes"]["role"], "member");
    let got = api.post("mb_platform", "/tenants", json!({ "name": "Acme" })).await;
    assert_eq!(
        (got.status.as_u16(), got.json()["data"]["attributes"]["name"].as_str()),
        (201, Some("Acme"))
    );
}

#[tokio::test]
async fn a_run_can_be_stopped_and_its_patch_downloaded() {
    let api = Api::new();
    let got = api.post("mb_admin", &format!("/runs/{RUN}/cancel"), "").await.json();
    assert_eq!(got["data"]["attributes"]["status"], "canceled");
    let got = api.get("mb_viewer", &format!("/runs/{RUN}/artifacts/patch")).await;
    assert_eq!(got.text, samples::PATCH);
    assert!(got.header("content-type").starts_with("text/x-diff"));
    assert!(got.header("content-disposition").contains(&format!("run-{RUN}.patch")));
}
