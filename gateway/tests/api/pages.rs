//! The web pages without a browser: who gets in, what a form needs, and that nothing of a build ever
//! becomes part of a page.

use crate::samples::{GATE, GATE_DECIDED, RUN, RUN_BROKEN, RUN_LIMITED, RUN_UNKNOWN};
use crate::{Api, Got};
use axum::body::Body;
use gateway::Config;
use http::{Request, request::Builder};

const ORIGIN: &str = "http://builder.test";

fn page(path: &str, cookie: &str) -> Request<Body> {
    asked("GET", path, cookie).body(Body::empty()).expect("a request")
}

fn asked(method: &str, path: &str, cookie: &str) -> Builder {
    let request = Request::builder().method(method).uri(path).header("host", "builder.test");
    let request = request.header("accept", "text/html");
    if cookie.is_empty() { request } else { request.header("cookie", cookie) }
}

fn form(path: &str, cookie: &str, fields: &str) -> Request<Body> {
    asked("POST", path, cookie)
        .header("origin", ORIGIN)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(fields.to_owned().into())
        .expect("a request")
}

/// Signs in; answers the cookie as a browser sends it back.
async fn sign_in(api: &Api, key: &str) -> String {
    let got = api.send(form("/sign-in", "", &format!("key={key}&to=%2Fapprovals"))).await;
    assert_eq!((got.status.as_u16(), got.header("location")), (303, "/approvals"), "{}", got.text);
    let set = got.header("set-cookie");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    set.split(';').next().expect("a cookie").to_owned()
}

fn csrf(got: &Got) -> String {
    let (_, rest) = got.text.split_once("name=\"csrf\" value=\"").expect("a form");
    rest.split('"').next().expect("a value").to_owned()
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_shown_the_way() {
    let api = Api::new();
    for (path, to) in [
        ("/runs".to_owned(), "/sign-in".to_owned()),
        ("/approvals?x=1".into(), "/sign-in?to=%2Fapprovals%3Fx%3D1".into()),
        (format!("/runs/{RUN}"), format!("/sign-in?to=%2Fruns%2F{RUN}")),
    ] {
        let got = api.send(page(&path, "")).await;
        assert_eq!((got.status.as_u16(), got.header("location")), (303, to.as_str()), "{path}");
    }
    let cookie = format!("mb_session={}", "0".repeat(64));
    assert_eq!(api.send(page("/runs", &cookie)).await.status, 303);
    assert_eq!(api.send(page("/", "")).await.header("location"), "/runs");
}

#[tokio::test]
async fn a_failed_sign_in_does_not_say_why_and_leads_nowhere_else() {
    let api = Api::new();
    for key in ["mb_nobody", "", "%00", "x"] {
        let got = api.send(form("/sign-in", "", &format!("key={key}&to=//evil.example"))).await;
        assert_eq!(got.status, 422, "{key}");
        assert!(got.text.contains("This key does not sign in."));
        assert!(got.text.contains("name=\"to\" value=\"/\""), "{}", got.text);
        assert_eq!(got.header("set-cookie"), "");
    }
    let got = api.send(form("/sign-in", "", "key=mb_admin&to=https%3A%2F%2Fevil.example")).await;
    assert_eq!(got.header("location"), "/");
}

#[tokio::test]
async fn a_session_is_new_at_every_sign_in_and_over_after_signing_out() {
    let api = Api::new();
    let planted = format!("mb_session={}", "a".repeat(64));
    let got = api.send(form("/sign-in", &planted, "key=mb_admin&to=/runs")).await;
    let first = got.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_ne!(first, planted);
    assert_ne!(first, sign_in(&api, "mb_admin").await);

    let shown = api.send(page("/runs", &first)).await;
    assert_eq!(shown.status, 200);
    let token = csrf(&shown);
    assert_eq!(api.send(form("/sign-out", &first, "csrf=wrong")).await.status, 403);
    let out = api.send(form("/sign-out", &first, &format!("csrf={token}"))).await;
    assert!(out.header("set-cookie").contains("mb_session=; "), "{}", out.header("set-cookie"));
    assert_eq!(api.send(page("/runs", &first)).await.status, 303);
}

#[tokio::test]
async fn a_session_ends_with_its_key() {
    let api = Api::with(Config { key_cache_ms: 0, ..Config::default() });
    let cookie = sign_in(&api, "mb_admin").await;
    assert_eq!(api.send(page("/runs", &cookie)).await.status, 200);
    api.peer.revoke_all_keys();
    assert_eq!(api.send(page("/runs", &cookie)).await.status, 303);
}

#[tokio::test]
async fn over_tls_the_cookie_never_leaves_it() {
    let public_url = Some("https://builder.example".to_owned());
    let api = Api::with(Config { public_url, ..Config::default() });
    let post = |origin: &str| {
        asked("POST", "/sign-in", "").header("origin", origin).body(Body::from("key=mb_admin"))
    };
    assert_eq!(api.send(post(ORIGIN).unwrap()).await.status, 403);
    let got = api.send(post("https://builder.example").unwrap()).await;
    let set = got.header("set-cookie");
    assert!(set.starts_with("__Host-mb_session=") && set.contains("; Secure"), "{set}");
}

#[tokio::test]
async fn a_form_has_to_come_from_our_own_page() {
    let api = Api::new();
    let cookie = sign_in(&api, "mb_admin").await;
    let token = csrf(&api.send(page("/approvals", &cookie)).await);
    let path = format!("/approvals/{GATE}/decide");
    let fields = format!("decision=approve&back=/approvals&csrf={token}");
    for origin in ["", "null", "http://evil.example", "http://builder.test.evil.example"] {
        let mut request = form(&path, &cookie, &fields);
        request.headers_mut().remove("origin");
        if !origin.is_empty() {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        assert_eq!(api.send(request).await.status, 403, "{origin:?}");
    }
    for bad in ["decision=approve", "decision=approve&csrf=", "decision=approve&csrf=0"] {
        assert_eq!(api.send(form(&path, &cookie, bad)).await.status, 403, "{bad}");
    }
    assert_eq!(api.peer.calls("DecideGate"), 0);
    let done = api.send(form(&path, &cookie, &fields)).await;
    assert_eq!(done.header("location"), "/approvals?done=approved", "{}", done.text);
    assert_eq!(api.peer.calls("DecideGate"), 1);
    let late = format!("/approvals/{GATE_DECIDED}/decide");
    let got = api.send(form(&late, &cookie, &fields)).await;
    assert_eq!(got.status, 409);
    assert!(got.text.contains("Somebody was faster"), "{}", got.text);
}

#[tokio::test]
async fn by_cookie_the_api_is_read_and_only_with_the_token_changed() {
    let api = Api::new();
    let cookie = sign_in(&api, "mb_admin").await;
    let of_api = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).header("host", "builder.test");
        request.header("origin", ORIGIN).header("cookie", &cookie)
    };
    let runs = of_api("GET", "/api/meta/v2/runs").body(Body::empty()).unwrap();
    assert_eq!(api.send(runs).await.status, 200);
    let path = format!("/api/meta/v2/runs/{RUN}/cancel");
    let post = || of_api("POST", &path);
    let without = api.send(post().body(Body::empty()).unwrap()).await;
    assert_eq!(without.error().1, "csrf_token");
    let token = csrf(&api.send(page("/runs", &cookie)).await);
    let with = post().header("x-csrf-token", token).body(Body::empty()).unwrap();
    assert_eq!(api.send(with).await.status, 200);
}

#[tokio::test]
async fn what_is_not_to_be_had_is_a_page_too() {
    let api = Api::new();
    let cookie = sign_in(&api, "mb_viewer").await;
    for (path, status) in [
        (format!("/runs/{RUN_UNKNOWN}"), 404),
        ("/runs/not-an-id".into(), 404),
        ("/nothing/here".into(), 404),
        ("/runs?status=odd".into(), 400),
        (format!("/runs/{RUN_LIMITED}"), 429),
        (format!("/runs/{RUN_BROKEN}"), 500),
    ] {
        let got = api.send(page(&path, &cookie)).await;
        assert_eq!(got.status, status, "{path}");
        assert!(got.header("content-type").starts_with("text/html"), "{path}");
        assert!(got.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert!(!got.text.contains("hunter2"));
    }
    assert_eq!(api.send(page("/api/meta/v2/nothing", &cookie)).await.error().1, "route_not_found");
}

#[tokio::test]
async fn pages_say_what_they_may_load_and_carry_nothing_inside() {
    let api = Api::new();
    let cookie = sign_in(&api, "mb_admin").await;
    let run = format!("/runs/{RUN}");
    for path in ["/runs", &run, "/approvals", "/settings/builder/auto-fix"] {
        let got = api.send(page(path, &cookie)).await;
        assert_eq!(got.status, 200, "{path}: {}", got.text);
        let policy = got.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "script-src 'self'"] {
            assert!(policy.contains(part) && !policy.contains("unsafe"), "{policy}");
        }
        assert_eq!(got.header("cache-control"), "no-store");
        assert!(!got.text.contains(" style=") && !got.text.contains(" onclick="), "{path}");
        assert!(!got.text.contains("<script>") && !got.text.contains("<style"), "{path}");
        assert!(!got.text.contains("<b>E302"), "a log is text: {path}");
    }
    let shown = api.send(page(&format!("{run}?step=lint&execution=1"), &cookie)).await;
    assert!(shown.text.contains("&lt;b&gt;E302"), "{}", shown.text);
}

#[tokio::test]
async fn files_are_kept_by_browsers_for_as_long_as_they_are_the_same() {
    let api = Api::new();
    let shown = api.send(page("/sign-in", "")).await.text;
    let (_, rest) = shown.split_once("href=\"/assets/pages.").expect("a style sheet");
    let path = format!("/assets/pages.{}", rest.split('"').next().unwrap());
    let got = api.send(page(&path, "")).await;
    assert!(got.header("content-type").starts_with("text/css"));
    assert!(got.header("cache-control").contains("immutable"));
    let mut again = page(&path, "");
    again.headers_mut().insert("if-none-match", got.header("etag").parse().unwrap());
    assert_eq!(api.send(again).await.status, 304);
    assert_eq!(api.send(page("/assets/pages.0.css", "")).await.status, 404);
}

#[tokio::test]
async fn a_viewer_reads_and_is_offered_no_decision() {
    let api = Api::new();
    let cookie = sign_in(&api, "mb_viewer").await;
    let got = api.send(page("/approvals", &cookie)).await;
    assert!(got.text.contains("Deciding needs the role admin"), "{}", got.text);
    assert!(!got.text.contains("value=\"approve\""));
    let token = csrf(&api.send(page("/runs", &cookie)).await);
    let path = format!("/approvals/{GATE}/decide");
    let fields = format!("decision=approve&csrf={token}");
    assert_eq!(api.send(form(&path, &cookie, &fields)).await.status, 403);
}
