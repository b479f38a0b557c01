//! What platform administrators do: the layers of the whole platform, and the list of tenants.

use crate::samples::{OTHER_TENANT, RUN, SCHEDULED, TENANT, THIRD_TENANT};
use crate::{Api, Got, request, with_header};
use serde_json::{Value, json};

const LAYERS: [&str; 3] = ["platform", "kill-switch", "rollouts"];
const WHY: &str = "reason=drill";

impl Api {
    async fn administer(&self, method: &str, path: &str, body: impl ToString) -> Got {
        self.send(request(method, "mb_platform", path, &body.to_string())).await
    }
}

fn body(layer: &str) -> Value {
    match layer {
        "kill-switch" => json!({ "autofix_enabled": false }),
        "rollouts" => json!({ "max_total_attempts": { "value": 4, "percent": 25 } }),
        _ => json!({ "max_total_attempts": 7 }),
    }
}

#[tokio::test]
async fn the_layers_are_shown_as_they_are_set() {
    let api = Api::new();
    let got = api.administer("GET", "/settings/platform", "").await;
    assert_eq!(got.status, 200, "{}", got.text);
    let attributes = &got.json()["data"]["attributes"];
    assert_eq!(attributes["environment"]["max_total_attempts"], 6);
    let layers = &attributes["layers"];
    assert_eq!(layers["platform"]["overrides"], json!({ "max_total_attempts": 7 }));
    assert_eq!(layers["kill-switch"]["overrides"], json!({ "autofix_enabled": false }));
    assert_eq!(layers["kill-switch"]["layer"], "kill_switch");
    assert_eq!(layers["rollouts"]["rollouts"]["max_total_attempts"]["percent"], 25);
    assert_eq!(layers["rollouts"]["override_version"], 2);
    assert_eq!(attributes["version"], 9);
}

#[tokio::test]
async fn each_layer_is_replaced_patched_and_cleared() {
    let api = Api::new();
    for (layer, number) in
        LAYERS.into_iter().zip(["layer: Platform", "layer: KillSwitch", "layer: Rollout"])
    {
        for method in ["PUT", "PATCH"] {
            let path = format!("/settings/platform/{layer}?{WHY}");
            let got = api.administer(method, &path, body(layer)).await;
            assert_eq!((got.status.as_u16(), got.header("etag")), (200, "\"8\""), "{}", got.text);
            assert_eq!(got.json()["data"]["type"], "platform_settings");
            assert_eq!(got.json()["meta"], json!({ "changed": true, "override_version": 8 }));
            let asked = api.peer.last("SetPlatform");
            assert!(asked.contains(number) && asked.contains("tenant_ids: []"), "{asked}");
            assert_eq!(asked.contains("patch: true"), method == "PATCH");
            assert!(asked.contains("reason: \"drill\""));
        }
        let path = format!("/settings/platform/{layer}?{WHY}&settings=max_total_attempts");
        let got = api.administer("DELETE", &path, "").await;
        assert_eq!(got.status, 200, "{}", got.text);
        let asked = api.peer.last("ClearPlatform");
        assert!(asked.contains(number) && asked.contains("[\"max_total_attempts\"]"), "{asked}");
    }
    let body =
        json!({ "max_total_attempts": { "value": 4, "percent": 25, "bucket_key": "canary" } });
    let path = format!("/settings/platform/rollouts?{WHY}");
    assert_eq!(api.administer("PUT", &path, body).await.status, 200);
    let asked = api.peer.last("SetPlatform");
    for part in ["Number(4)", "percent: 25", "bucket_key: \"canary\"", "overrides: None"] {
        assert!(asked.contains(part), "{asked}");
    }
}

#[tokio::test]
async fn a_write_for_everybody_says_why() {
    let api = Api::new();
    for layer in LAYERS {
        for method in ["PUT", "PATCH", "DELETE"] {
            for query in ["", "?reason=", "?reason=%20", "?dry_run=false"] {
                let path = format!("/settings/platform/{layer}{query}");
                let sent = if method == "DELETE" { String::new() } else { body(layer).to_string() };
                let got = api.administer(method, &path, sent).await;
                let source = json!({ "parameter": "reason" });
                assert_eq!((got.error().0, got.error().2), (400, source), "{method} {path}");
                assert!(got.text.contains("is missing (expected why"), "{}", got.text);
            }
        }
    }
    assert_eq!(api.peer.calls("SetPlatform") + api.peer.calls("ClearPlatform"), 0);
}

#[tokio::test]
async fn a_dry_run_looks_at_every_tenant() {
    let api = Api::new();
    for (method, rpc) in [("PUT", "SetPlatform"), ("DELETE", "ClearPlatform")] {
        let path = "/settings/platform/platform?dry_run=true";
        let sent = if method == "DELETE" { "" } else { r#"{"max_total_attempts":8}"# };
        let got = api.administer(method, path, sent).await;
        assert_eq!(got.status, 200, "{}", got.text);
        assert_eq!(got.json()["data"]["type"], "settings_dry_run");
        assert_eq!(got.json()["data"]["attributes"]["affected"][0]["tenant_id"], TENANT);
        let asked = api.peer.last(rpc);
        for tenant in [TENANT, OTHER_TENANT, THIRD_TENANT] {
            assert!(asked.contains(tenant), "{asked}");
        }
        assert!(asked.contains("dry_run: true"));
    }
    assert_eq!(api.peer.calls("ListTenants"), 4);
    assert_eq!(api.peer.calls("GetPlatform"), 0);
}

#[tokio::test]
async fn platform_changes_are_scheduled_versioned_and_remembered() {
    let api = Api::new();
    let path = format!("/settings/platform/kill-switch?{WHY}");
    let later = format!("{path}&effective_at=2027-01-31T08:00:00Z");
    let got = api.administer("PUT", &later, body("kill-switch")).await;
    assert_eq!((got.status.as_u16(), &got.json()["data"]["id"]), (202, &json!(SCHEDULED)));
    let got =
        api.administer("DELETE", &format!("/settings/platform/scheduled/{SCHEDULED}"), "").await;
    assert_eq!((got.status.as_u16(), &got.json()["data"]["id"]), (200, &json!(SCHEDULED)));
    assert_eq!(api.peer.calls("CancelPlatformScheduled"), 1);

    let old = with_header(
        request("PUT", "mb_platform", &path, &body("kill-switch").to_string()),
        "if-match",
        "\"6\"",
    );
    assert_eq!(api.send(old).await.status, 412);
    let got = api.administer("DELETE", &format!("{path}&if_version=6"), "").await;
    assert_eq!(got.error().0, 409);

    let got = api.administer("GET", "/settings/platform/history?setting=autofix_enabled", "").await;
    assert_eq!((got.status.as_u16(), got.json()["data"].as_array().unwrap().len()), (200, 1));
    assert!(got.json()["links"]["next"].is_null());
    assert!(api.peer.last("ListPlatformChanges").contains("setting: \"autofix_enabled\""));
}

#[tokio::test]
async fn a_bad_rollout_names_every_field() {
    let api = Api::new();
    let document = json!({
        "max_total_attempts": { "value": "4", "percent": 101, "bucket_key": "a b", "colour": 1 },
        "max_per_step_attempts": { "value": 11, "percent": 5, "bucket_key": "a b" },
        "backoff_cap_seconds": 4,
        "autofix_enabled": {},
        "colour": { "value": 1, "percent": 1 },
    });
    let path = format!("/settings/platform/rollouts?{WHY}");
    let got = api.administer("PUT", &path, &document).await;
    assert_eq!(got.status, 400);
    let json = got.json();
    let errors = json["errors"].as_array().unwrap();
    let mut pointers: Vec<_> =
        errors.iter().filter_map(|e| e["source"]["pointer"].as_str()).collect();
    pointers.sort_unstable();
    let expected = [
        "autofix_enabled/percent",
        "autofix_enabled/value",
        "backoff_cap_seconds",
        "colour",
        "max_per_step_attempts/bucket_key",
        "max_per_step_attempts/value",
        "max_total_attempts/bucket_key",
        "max_total_attempts/colour",
        "max_total_attempts/percent",
        "max_total_attempts/value",
    ];
    assert_eq!(pointers, expected.map(|p| format!("/data/attributes/{p}")));
    for percent in ["-1", "101", "3.5", "\"5\"", "null", "true", "2147483648"] {
        let body = format!(r#"{{"max_total_attempts":{{"value":4,"percent":{percent}}}}}"#);
        let got = api.administer("PATCH", &path, body).await;
        assert_eq!(got.status, 400, "{percent}");
        assert!(got.text.contains("expected a whole number from 0 to 100"), "{}", got.text);
    }
    assert_eq!(api.peer.calls("SetPlatform"), 0);
}

#[tokio::test]
async fn a_layer_that_is_not_there_is_404() {
    let api = Api::new();
    for layer in ["tenant", "run", "kill_switch", "rollout", "fail_closed", "x"] {
        let path = format!("/settings/platform/{layer}?{WHY}");
        let got = api.administer("PUT", &path, "{}").await;
        assert_eq!(got.error().1, "layer_not_found", "{layer}");
    }
}

#[tokio::test]
async fn only_platform_administrators_come_near() {
    let api = Api::new();
    let mut routes = vec![
        ("GET", "/tenants".to_owned(), String::new()),
        ("GET", "/settings/platform".into(), String::new()),
        ("GET", "/settings/platform/history".into(), String::new()),
        ("DELETE", format!("/settings/platform/scheduled/{RUN}"), String::new()),
    ];
    for layer in LAYERS {
        let path = format!("/settings/platform/{layer}?{WHY}");
        routes.push(("PUT", path.clone(), body(layer).to_string()));
        routes.push(("PATCH", path.clone(), body(layer).to_string()));
        routes.push(("DELETE", path.clone(), String::new()));
        routes.push(("PUT", format!("{path}&dry_run=true"), body(layer).to_string()));
    }
    for (method, path, body) in &routes {
        for key in ["mb_viewer", "mb_member", "mb_admin", "mb_owner", "mb_other"] {
            let got = api.send(request(method, key, path, body)).await;
            assert_eq!((got.error().0, &*got.error().1), (403, "role_too_low"), "{method} {path}");
        }
        assert_eq!(api.send(request(method, "mb_nobody", path, body)).await.status, 401);
    }
    for rpc in ["SetPlatform", "ClearPlatform", "GetPlatform", "ListTenants"] {
        assert_eq!(api.peer.calls(rpc), 0, "{rpc}");
    }
    for (method, path, body) in &routes {
        let got = api.administer(method, path, body).await;
        assert_eq!(got.status, 200, "{method} {path}: {}", got.text);
    }
}

#[tokio::test]
async fn tenants_are_listed_by_pages() {
    let api = Api::new();
    let got = api.administer("GET", "/tenants?per_page=2", "").await.json();
    assert_eq!(got["data"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&got["data"][0]["id"], &got["data"][0]["type"]),
        (&json!(TENANT), &json!("tenant"))
    );
    assert!(api.peer.last("ListTenants").contains("page_size: 2"));
    let next = got["links"]["next"].as_str().unwrap().strip_prefix("/api/meta/v2").unwrap();
    let rest = api.administer("GET", next, "").await.json();
    assert_eq!(rest["data"][0]["id"], THIRD_TENANT);
    assert!(rest["links"].is_null() || rest["links"].get("next").is_none());
    assert_eq!(api.administer("GET", "/tenants?per_page=101", "").await.error().0, 400);
}
