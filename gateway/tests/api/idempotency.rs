//! The same request twice.

use crate::samples::SPEC;
use crate::{Api, Got, request, with_header};
use serde_json::json;
use std::time::Duration;

async fn start(api: &Api, actor: &str, key: &str, body: &str) -> Got {
    let asked = request("POST", actor, &format!("/specs/{SPEC}/runs"), body);
    api.send(with_header(asked, "idempotency-key", key)).await
}

#[tokio::test]
async fn the_same_key_gets_the_first_answer() {
    let api = Api::new();
    let first = start(&api, "mb_admin", "\"k-1\"", "{}").await;
    let again = start(&api, "mb_admin", "k-1", "{}").await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.text, again.text);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(api.peer.calls("CreateRun"), 1);
    assert!(!api.peer.last("CreateRun").contains("request_id: \"\""));
}

#[tokio::test]
async fn the_same_key_with_another_body_is_422() {
    let api = Api::new();
    start(&api, "mb_admin", "k-1", "{}").await;
    let other = start(&api, "mb_admin", "k-1", r#"{"max_iterations":2}"#).await;
    assert_eq!((other.error().0, other.error().1.as_str()), (422, "idempotency_key_reused"));
    assert_eq!(api.peer.calls("CreateRun"), 1);
}

#[tokio::test]
async fn a_second_request_while_the_first_is_at_work_is_409() {
    let api = Api::new();
    api.peer.create_run_takes(Duration::from_millis(300));
    let (first, second) = tokio::join!(start(&api, "mb_admin", "k-1", "{}"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        start(&api, "mb_admin", "k-1", "{}").await
    });
    assert_eq!(first.status, 201);
    assert_eq!((second.error().0, second.error().1.as_str()), (409, "idempotency_in_progress"));
    assert_eq!(start(&api, "mb_admin", "k-1", "{}").await.status, 201);
    assert_eq!(api.peer.calls("CreateRun"), 1);
}

#[tokio::test]
async fn the_work_goes_on_when_the_caller_goes_away() {
    let api = Api::new();
    api.peer.create_run_takes(Duration::from_millis(200));
    let gone =
        tokio::time::timeout(Duration::from_millis(50), start(&api, "mb_admin", "k-1", "{}"));
    assert!(gone.await.is_err());
    tokio::time::sleep(Duration::from_millis(400)).await;
    let again = start(&api, "mb_admin", "k-1", "{}").await;
    assert_eq!((again.status.as_u16(), api.peer.calls("CreateRun")), (201, 1));
}

#[tokio::test]
async fn a_failure_frees_the_key_and_another_actor_has_keys_of_his_own() {
    let api = Api::new();
    let refused = start(&api, "mb_member", "k-1", "{}").await;
    assert_eq!(refused.status, 403);
    assert_eq!(start(&api, "mb_admin", "k-1", "{}").await.status, 201);
    assert_eq!(start(&api, "mb_member", "k-1", "{}").await.status, 403);
}

#[tokio::test]
async fn a_bad_key_is_refused_and_specs_know_keys_too() {
    let api = Api::new();
    let bad = start(&api, "mb_admin", "a b", "{}").await;
    assert_eq!((bad.error().0, bad.error().2["header"].as_str()), (400, Some("Idempotency-Key")));
    let body = json!({ "title": "t", "mode": "guided" }).to_string();
    for _ in 0..2 {
        let asked = request("POST", "mb_member", "/specs", &body);
        let got = api.send(with_header(asked, "idempotency-key", "s-1")).await;
        assert_eq!(got.status, 201);
    }
    assert_eq!(api.peer.calls("CreateSpec"), 1);
}
