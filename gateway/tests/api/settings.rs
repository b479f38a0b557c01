//! Settings of tenants and runs: how they are written, and what is refused.

use crate::samples::{OTHER_TENANT, RUN, RUN_UNKNOWN, SCHEDULED, TENANT};
use crate::{Api, Got, request, with_header};
use serde_json::{Value, json};

fn both() -> [String; 2] {
    [format!("/tenants/{TENANT}/settings"), format!("/runs/{RUN}/settings")]
}

impl Api {
    async fn write(&self, method: &str, path: &str, body: impl ToString) -> Got {
        self.send(request(method, "mb_admin", path, &body.to_string())).await
    }
}

/// Status and codes of all errors, with their pointers.
fn faults(got: &Got) -> Vec<(String, String)> {
    let json = got.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = json["errors"].as_array().expect("errors");
    errors.iter().map(|e| (text(&e["code"]), text(&e["source"]["pointer"]))).collect()
}

#[tokio::test]
async fn a_document_says_how_each_value_came_about() {
    let api = Api::new();
    for path in both() {
        let got = api.get("mb_viewer", &path).await;
        assert_eq!((got.status.as_u16(), got.header("etag")), (200, "\"7\""));
        let attributes = &got.json()["data"]["attributes"];
        assert_eq!(attributes["override_version"], 7);
        assert_eq!((&attributes["version"], &attributes["stale"]), (&json!(5), &json!(true)));
        assert_eq!(attributes["stale_ms"], 4_000);
        let layer = &attributes["resolved"]["max_total_attempts"]["layers"][0];
        assert_eq!((&layer["layer"], &layer["applies"]), (&json!("platform"), &json!(true)));
        for absent in ["reason", "percent", "bucket_key", "problem", "author", "set_at"] {
            assert_eq!(layer[absent], Value::Null, "{absent}");
        }
        let rollout = &attributes["resolved"]["max_total_attempts"]["layers"][1];
        assert_eq!((&rollout["percent"], &rollout["applies"]), (&json!(25), &json!(false)));
        assert_eq!((&rollout["bucket_key"], &rollout["reason"]), (&json!("canary"), &json!("try")));
        let broken = &attributes["resolved"]["autofix_enabled"]["layers"][1];
        assert_eq!(broken["problem"], "is not a boolean");
        assert!(attributes["override"].get("autofix_enabled").is_none());
        let scheduled = &attributes["scheduled"][0];
        assert_eq!((&scheduled["id"], &scheduled["action"]), (&json!(SCHEDULED), &json!("patch")));
        assert_eq!(scheduled["effective_at"], "2023-11-14T22:14:20.000Z");
        let rollout = json!({ "value": 4, "percent": 25, "bucket_key": "max_total_attempts" });
        assert_eq!(scheduled["rollouts"], json!({ "max_total_attempts": rollout }));
        let got = api.get("mb_viewer", &format!("{path}?verbose=true")).await;
        assert_eq!(got.error().1, "unknown_parameter");
    }
}

#[tokio::test]
async fn every_write_passes_its_options_on() {
    let api = Api::new();
    let query = "if_version=7&reason=more%20patience";
    for path in both() {
        for (method, rpc) in
            [("PUT", "SetOverrides"), ("PATCH", "SetOverrides"), ("DELETE", "ClearOverrides")]
        {
            let body = if method == "DELETE" { "" } else { r#"{"max_total_attempts":8}"# };
            let got = api.write(method, &format!("{path}?{query}"), body).await;
            assert_eq!((got.status.as_u16(), got.header("etag")), (200, "\"7\""), "{}", got.text);
            assert_eq!(got.json()["data"]["type"], "settings");
            let asked = api.peer.last(rpc);
            for part in ["if_version: Some(7)", "reason: \"more patience\"", "dry_run: false"] {
                assert!(asked.contains(part), "{method} {path}: {asked}");
            }
            assert_eq!(asked.contains("patch: true"), method == "PATCH");
        }
    }
    let path = format!("/runs/{RUN}/settings?settings=autofix_enabled,backoff_cap_seconds");
    assert_eq!(api.write("DELETE", &path, "").await.status, 200);
    let asked = api.peer.last("ClearOverrides");
    assert!(asked.contains(r#"settings: ["autofix_enabled", "backoff_cap_seconds"]"#), "{asked}");
    assert!(asked.contains(&format!("run_id: {RUN:?}")));
}

#[tokio::test]
async fn a_dry_run_lists_who_would_be_affected() {
    let api = Api::new();
    for path in both() {
        for method in ["PUT", "PATCH", "DELETE"] {
            let body = if method == "DELETE" { "" } else { r#"{"max_total_attempts":8}"# };
            let got = api.write(method, &format!("{path}?dry_run=true"), body).await;
            assert_eq!(got.status, 200, "{}", got.text);
            let data = &got.json()["data"];
            assert_eq!(data["type"], "settings_dry_run");
            let attributes = &data["attributes"];
            let affected = json!([{
                "tenant_id": TENANT,
                "run_id": null,
                "before": { "max_total_attempts": 6 },
                "after": { "max_total_attempts": 8 },
            }]);
            assert_eq!(attributes["affected"], affected);
            assert_eq!(attributes["affected_total"], 3);
            assert_eq!(attributes["affects_others"], true);
        }
    }
    assert_eq!(api.peer.calls("Explain"), 0);
}

#[tokio::test]
async fn a_scheduled_change_is_accepted_and_can_be_taken_back() {
    let api = Api::new();
    let when = "effective_at=2027-01-31T08:00:00Z";
    for path in both() {
        let got =
            api.write("PATCH", &format!("{path}?{when}"), r#"{"max_total_attempts":8}"#).await;
        assert_eq!(got.status, 202, "{}", got.text);
        let data = &got.json()["data"];
        assert_eq!((&data["type"], &data["id"]), (&json!("scheduled_change"), &json!(SCHEDULED)));
        assert_eq!(data["attributes"]["effective_at"], "2027-01-31T08:00:00.000Z");
        assert!(api.peer.last("SetOverrides").contains("seconds: 1801382400"));
    }
    let path = format!("/tenants/{TENANT}/settings/scheduled");
    let got = api.write("DELETE", &format!("{path}/{SCHEDULED}"), "").await;
    assert_eq!((got.status.as_u16(), &got.json()["data"]["id"]), (200, &json!(SCHEDULED)));
    assert_eq!(got.json()["data"]["attributes"]["status"], "canceled");
    assert_eq!(api.write("DELETE", &format!("{path}/{RUN}"), "").await.error().0, 404);
    assert_eq!(api.write("DELETE", &format!("{path}/7"), "").await.error().1, "malformed_id");
}

#[tokio::test]
async fn a_version_that_has_passed_is_409_or_412() {
    let api = Api::new();
    for path in both() {
        for (query, header, status) in [
            ("?if_version=7", None, 200),
            ("?if_version=6", None, 409),
            ("", Some("\"7\""), 200),
            ("", Some("*"), 200),
            ("", Some("\"6\""), 412),
            ("?if_version=6", Some("\"6\""), 412),
            ("?if_version=7", Some("\"6\""), 400),
            ("", Some("7"), 400),
            ("?if_version=new", None, 400),
        ] {
            let path = format!("{path}{query}");
            let mut asked = request("PUT", "mb_admin", &path, r#"{"max_total_attempts":8}"#);
            if let Some(header) = header {
                asked = with_header(asked, "if-match", header);
            }
            let got = api.send(asked).await;
            assert_eq!(got.status, status, "{path} {header:?}: {}", got.text);
            if matches!(status, 409 | 412) {
                assert_eq!(got.error().1, "override_changed");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_option_is_named_and_nothing_is_written() {
    let api = Api::new();
    for path in both() {
        for (query, parameter) in [
            ("dry_run=1", "dry_run"),
            ("dry_run", "dry_run"),
            ("if_version=-1", "if_version"),
            ("if_version=3.5", "if_version"),
            ("if_version=18446744073709551616", "if_version"),
            ("effective_at=tomorrow", "effective_at"),
            ("effective_at=1801382400", "effective_at"),
            ("force=true", "force"),
            ("reason=a&reason=b", "reason"),
        ] {
            for method in ["PUT", "DELETE"] {
                let got = api.write(method, &format!("{path}?{query}"), "{}").await;
                let error = got.error();
                let source = json!({ "parameter": parameter });
                assert_eq!((error.0, error.2), (400, source), "{query}: {}", got.text);
                assert!(got.text.contains("expected"), "{}", got.text);
            }
        }
        let got = api.write("DELETE", &format!("{path}?settings=colour"), "").await;
        assert!(got.text.contains("colour") && got.text.contains("max_total_attempts"));
        assert_eq!(got.status, 400);
    }
    assert_eq!(api.peer.calls("SetOverrides") + api.peer.calls("ClearOverrides"), 0);
    let got = api.write("PUT", &format!("{}?reason=bad", both()[0]), "{}").await;
    assert_eq!(got.error().2, json!({ "parameter": "reason" }), "{}", got.text);
}

#[tokio::test]
async fn hostile_documents_get_one_clear_error_each() {
    let api = Api::new();
    for path in both() {
        for method in ["PUT", "PATCH"] {
            for (value, code) in [
                ("0", "override_out_of_range"),
                ("-1", "invalid_field"),
                ("2147483648", "override_out_of_range"),
                ("4294967296", "invalid_field"),
                ("3.5", "invalid_field"),
                ("6.0", "invalid_field"),
                ("\"6\"", "invalid_field"),
                ("null", "invalid_field"),
                ("true", "invalid_field"),
                ("[6]", "invalid_field"),
                ("{}", "invalid_field"),
            ] {
                let body = format!(r#"{{"max_total_attempts":{value}}}"#);
                let got = api.write(method, &path, body).await;
                let pointer = "/data/attributes/max_total_attempts".to_owned();
                assert_eq!(faults(&got), [(code.to_owned(), pointer)], "{value}: {}", got.text);
                assert_eq!(got.status, 400);
                let detail = got.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("1 to 20"), "{detail}");
            }
            let flag = api.write(method, &path, r#"{"autofix_enabled":1}"#).await;
            assert!(flag.text.contains("1 is not valid (expected true or false)"), "{}", flag.text);
        }
    }
    assert_eq!(api.peer.calls("SetOverrides"), 0);
}

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let api = Api::new();
    let body = json!({
        "autofix_enabled": null,
        "max_total_attempts": 0,
        "max_per_step_attempts": "3",
        "backoff_cap_seconds": 301,
        "__proto__": 1,
        "a/b": 2,
    });
    let got = api.write("PATCH", &both()[0], &body).await;
    let mut named = faults(&got);
    named.sort();
    let expected = [
        ("invalid_field", "autofix_enabled"),
        ("invalid_field", "max_per_step_attempts"),
        ("override_out_of_range", "backoff_cap_seconds"),
        ("override_out_of_range", "max_total_attempts"),
        ("unknown_field", "__proto__"),
        ("unknown_field", "a~1b"),
    ];
    let expected = expected.map(|(c, p)| (c.to_owned(), format!("/data/attributes/{p}")));
    assert_eq!(named, expected);
    assert_eq!(api.peer.calls("SetOverrides"), 0);
}

#[tokio::test]
async fn a_huge_document_gets_a_small_answer() {
    let api = Api::new();
    let ten_mb = "9".repeat(10_000_000);
    let unknown: Vec<_> = (0..3_000).map(|n| format!("\"name{n}\":1")).collect();
    for (body, status) in [
        (format!(r#"{{"max_total_attempts":"{ten_mb}"}}"#), 413),
        (format!(r#"{{"max_total_attempts":{ten_mb}}}"#), 413),
        (format!(r#"{{"{}":1}}"#, "k".repeat(60_000)), 400),
        (format!(r#"{{"max_total_attempts":"{}"}}"#, "v".repeat(60_000)), 400),
        (format!("{{{}}}", unknown.join(",")), 400),
        ("{\"max_total_attempts\":6}\0".to_owned(), 400),
        (r#"{"max_total_attempts":6,"max_total_attempts":7}"#.to_owned(), 400),
        (r#"{"max_total_attempts":1e309}"#.to_owned(), 400),
        ("[]".to_owned(), 400),
    ] {
        let got = api.write("PUT", &both()[0], &body).await;
        assert_eq!(got.status, status, "{}", &got.text[..got.text.len().min(300)]);
        assert!(got.text.len() < 16_384, "{}", got.text.len());
    }
    assert_eq!(api.peer.calls("SetOverrides"), 0);
}

#[tokio::test]
async fn the_history_is_a_list_with_a_next_link() {
    let api = Api::new();
    for path in both() {
        let query = "setting=max_total_attempts&per_page=1&page_token=a%2Bb";
        let got = api.get("mb_viewer", &format!("{path}/history?{query}")).await;
        let json = got.json();
        assert_eq!((got.status.as_u16(), &json["data"][0]["id"]), (200, &json!("written:5")));
        let change = &json["data"][0]["attributes"];
        assert_eq!((&change["kind"], &change["layer"]), (&json!("written"), &json!("tenant")));
        assert_eq!((&change["actor"], &change["reason"]), (&json!("ann"), &json!("more patience")));
        assert_eq!(change["before"], json!({ "max_total_attempts": 6 }));
        assert_eq!(change["after"], json!({ "max_total_attempts": 8 }));
        assert_eq!(change["changed_at"], "2023-11-14T22:13:30.000Z");
        assert_eq!(change["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        let next = json["links"]["next"].as_str().unwrap();
        assert!(next.starts_with(&format!("/api/meta/v2{path}/history?page_token=older%2Bpage")));
        assert!(next.contains("setting=max_total_attempts") && next.contains("per_page=1"));
        let asked = api.peer.last("ListChanges");
        for part in ["page_size: 1", "max_total_attempts", "page_token: \"a+b\""] {
            assert!(asked.contains(part), "{asked}");
        }
        for bad in ["setting=colour", "per_page=0", "per_page=101", "page=1"] {
            assert_eq!(api.get("mb_viewer", &format!("{path}/history?{bad}")).await.status, 400);
        }
    }
}

#[tokio::test]
async fn another_tenants_settings_do_not_exist() {
    let api = Api::new();
    let path = format!("/tenants/{OTHER_TENANT}/settings");
    for (method, path, body) in [
        ("GET", path.clone(), ""),
        ("PUT", path.clone(), "{}"),
        ("PATCH", path.clone(), "{}"),
        ("DELETE", path.clone(), ""),
        ("GET", format!("{path}/history"), ""),
        ("DELETE", format!("{path}/scheduled/{SCHEDULED}"), ""),
        ("DELETE", format!("/runs/{RUN_UNKNOWN}/settings"), ""),
        ("GET", format!("/runs/{RUN_UNKNOWN}/settings/history"), ""),
        ("PUT", format!("/runs/{RUN_UNKNOWN}/settings"), "{}"),
    ] {
        let got = api.send(request(method, "mb_owner", &path, body)).await;
        assert_eq!(got.error().0, 404, "{method} {path}: {}", got.text);
    }
    for rpc in ["Explain", "SetOverrides", "ClearOverrides", "ListChanges", "CancelScheduled"] {
        assert_eq!(api.peer.calls(rpc), 0, "{rpc}");
    }
}

#[tokio::test]
async fn viewers_read_and_administrators_write() {
    let api = Api::new();
    for path in both() {
        for read in [path.clone(), format!("{path}/history")] {
            assert_eq!(api.get("mb_viewer", &read).await.status, 200, "{read}");
            assert_eq!(api.get("mb_nobody", &read).await.status, 401, "{read}");
        }
        for (method, body) in [("PUT", "{}"), ("PATCH", "{}"), ("DELETE", "")] {
            for (key, status) in
                [("mb_nobody", 401), ("mb_viewer", 403), ("mb_member", 403), ("mb_admin", 200)]
            {
                let got = api.send(request(method, key, &path, body)).await;
                assert_eq!(got.status, status, "{key} {method} {path}");
            }
        }
    }
    let scheduled = format!("/tenants/{TENANT}/settings/scheduled/{SCHEDULED}");
    for (key, status) in [("mb_nobody", 401), ("mb_member", 403), ("mb_admin", 200)] {
        let got = api.send(request("DELETE", key, &scheduled, "")).await;
        assert_eq!(got.status, status, "{key}");
    }
}
