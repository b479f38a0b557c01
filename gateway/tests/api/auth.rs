//! Who may do what, and whose tenant it is.

use crate::samples::{OTHER_TENANT, RUN, RUN_UNKNOWN, SPEC, TENANT};
use crate::{Api, request, with_header};
use axum::body::Body;
use gateway::Config;
use http::Request;
use serde_json::json;

#[tokio::test]
async fn without_a_known_key_there_is_a_challenge() {
    let api = Api::new();
    for value in ["", "mb_admin", "Basic bWI=", "Bearer mb", "Bearer mb_Admin", "Bearer mb_admi"] {
        let request = Request::get("/api/meta/v2/runs").header("authorization", value);
        let got = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.error().0, 401, "{value}");
        assert_eq!(got.error().1, "unauthenticated");
        assert!(got.header("www-authenticate").starts_with("Bearer "), "{value}");
    }
}

#[tokio::test]
async fn two_credentials_are_none() {
    let api = Api::new();
    let twice =
        with_header(request("GET", "mb_admin", "/runs", ""), "authorization", "Bearer mb_admin");
    assert_eq!(api.send(twice).await.status, 401);
    assert_eq!(api.peer.calls("Authenticate"), 0);
}

#[tokio::test]
async fn a_key_is_checked_once_in_a_while_and_revocation_comes_into_force() {
    let api = Api::new();
    for _ in 0..3 {
        assert_eq!(api.get("mb_viewer", "/runs").await.status, 200);
    }
    assert_eq!(api.peer.calls("Authenticate"), 1);

    let strict = Api::with(Config { key_cache_ms: 0, ..Config::default() });
    assert_eq!(strict.get("mb_viewer", "/runs").await.status, 200);
    strict.peer.revoke_all_keys();
    assert_eq!(strict.get("mb_viewer", "/runs").await.status, 401);
}

#[tokio::test]
async fn roles_are_enforced_behind_the_gateway() {
    let api = Api::new();
    let spec = json!({ "title": "t", "mode": "guided" });
    let user = json!({ "email": "a@example.com", "role": "viewer" });
    for (key, path, body) in [
        ("mb_viewer", "/specs".to_owned(), spec.to_string()),
        ("mb_viewer", format!("/specs/{SPEC}/plan"), String::new()),
        ("mb_viewer", "/classify-failure".into(), r#"{"step_name":"s","logs":"x"}"#.into()),
        ("mb_member", format!("/specs/{SPEC}/runs"), String::new()),
        ("mb_member", format!("/runs/{RUN}/cancel"), String::new()),
        ("mb_member", format!("/runs/{RUN}/approve"), String::new()),
        ("mb_admin", format!("/tenants/{TENANT}/users"), user.to_string()),
        ("mb_owner", "/tenants".into(), r#"{"name":"Acme"}"#.into()),
    ] {
        let got = api.post(key, &path, body).await;
        assert_eq!(got.error().0, 403, "{key} {path}: {}", got.text);
        assert_eq!(got.error().1, "role_too_low");
    }
    let path = format!("/tenants/{TENANT}/settings");
    let put = request("PUT", "mb_member", &path, r#"{"autofix_enabled":true}"#);
    assert_eq!(api.send(put).await.status, 403);
}

#[tokio::test]
async fn nobody_makes_a_user_stronger_than_himself() {
    let api = Api::new();
    let user = json!({ "email": "a@example.com", "role": "platform_admin" });
    let got = api.post("mb_owner", &format!("/tenants/{TENANT}/users"), &user).await;
    assert_eq!(got.error().1, "role_too_high");
    assert_eq!(api.peer.calls("CreateUser"), 0);
}

#[tokio::test]
async fn another_tenant_does_not_exist() {
    let api = Api::new();
    let foreign = api.get("mb_viewer", &format!("/tenants/{OTHER_TENANT}/settings")).await;
    assert_eq!(foreign.error().0, 404);
    assert_eq!(foreign.error().1, "tenant_not_found");
    assert_eq!(api.peer.calls("Explain"), 0);
    let own = api.get("mb_platform", &format!("/tenants/{OTHER_TENANT}/settings")).await;
    assert_eq!(own.status, 200);
    assert_eq!(api.peer.metadata("x-metabuilder-tenant"), OTHER_TENANT);
    assert_eq!(api.peer.metadata("x-metabuilder-role"), "platform_admin");
}

#[tokio::test]
async fn the_tenant_comes_from_the_key_and_from_nowhere_else() {
    let api = Api::new();
    let mut asked = request("GET", "mb_other", "/runs", "");
    for name in ["x-tenant", "x-metabuilder-tenant", "x-http-method-override", "x-forwarded-for"] {
        asked = with_header(asked, name, TENANT);
    }
    assert_eq!(api.send(asked).await.status, 200);
    assert_eq!(api.peer.metadata("x-metabuilder-tenant"), OTHER_TENANT);
    assert_eq!(api.peer.metadata("x-metabuilder-actor"), "key:mb_other");
}

#[tokio::test]
async fn a_key_says_whose_it_is() {
    let answer = Api::new().get("mb_other", "/caller").await;
    let data = &answer.json()["data"];
    assert_eq!((answer.status.as_u16(), &data["id"]), (200, &OTHER_TENANT.into()));
    assert_eq!(data["attributes"]["actor"], "key:mb_other");
}

#[tokio::test]
async fn every_route_wants_a_credential_before_anything_else() {
    let api = Api::new();
    for (method, path) in [
        ("GET", format!("/runs/{RUN_UNKNOWN}")),
        ("GET", "/runs/not-a-uuid".into()),
        ("GET", "/caller".into()),
        ("POST", "/specs".into()),
        ("POST", "/classify-failure".into()),
        ("PUT", format!("/runs/{RUN}/settings")),
        ("DELETE", format!("/tenants/{TENANT}/settings")),
        ("GET", format!("/runs/{RUN}/events")),
        ("GET", format!("/runs/{RUN}/artifacts/patch")),
    ] {
        let got = api.send(request(method, "mb_nobody", &path, "{")).await;
        assert_eq!(got.status, 401, "{method} {path}");
    }
}
