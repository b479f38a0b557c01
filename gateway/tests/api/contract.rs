//! The OpenAPI document and what is served say the same. Every answer of every other test here is
//! held against the document too.

use crate::{Api, Got, read};
use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, PoisonError};
use tower::ServiceExt;

/// Where the document stands as it was last agreed on.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/openapi.json");

/// The document, with the schemas that were used so far.
pub struct Contract {
    document: Value,
    compiled: Mutex<HashMap<String, jsonschema::Validator>>,
}

pub static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let document = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let asked = Request::get("/openapi.json").body(Body::empty()).expect("a request");
            let answer = Api::new().router.oneshot(asked).await.expect("an answer");
            read(answer).await.json()
        })
    });
    let document = document.join().expect("the document");
    Contract { document, compiled: Mutex::default() }
});

impl Contract {
    fn paths(&self) -> &serde_json::Map<String, Value> {
        self.document["paths"].as_object().expect("paths")
    }

    /// The template of a path; one without parameters goes first.
    fn template(&self, path: &str) -> Option<&str> {
        let fits = |template: &str| {
            let (a, b): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
        };
        let all = self.paths().keys().map(String::as_str).filter(|t| fits(t));
        all.min_by_key(|t| t.matches('{').count())
    }

    /// Holds an answer against the document.
    #[track_caller]
    pub fn check(&self, method: &Method, path: &str, got: &Got) {
        let Some(template) = self.template(path) else { return };
        let word = method.as_str().to_ascii_lowercase();
        let Some(operation) = self.paths()[template].get(&word) else { return };
        let status = got.status.as_str();
        let mut reply = &operation["responses"][status];
        assert!(!reply.is_null(), "{method} {template} does not say {status}: {}", got.text);
        let mut at = format!("/paths/{}/{word}/responses/{status}", escaped(template));
        if let Some(reference) = reply["$ref"].as_str() {
            at = reference.trim_start_matches('#').to_owned();
            reply = self.document.pointer(&at).expect("a reference leads somewhere");
        }
        let content = reply.get("content");
        let Some(media) = got.headers.get("content-type").and_then(|v| v.to_str().ok()) else {
            assert!(content.is_none(), "{method} {template} {status} has no media type");
            return;
        };
        let known = content.and_then(|c| c.get(media));
        assert!(known.is_some(), "{method} {template} {status} does not say {media}: {}", got.text);
        if media.contains("json") && !media.contains("ndjson") {
            self.fits(&format!("{at}/content/{}/schema", escaped(media)), &got.json());
        }
    }

    #[track_caller]
    fn fits(&self, at: &str, value: &Value) {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = compiled.entry(at.to_owned()).or_insert_with(|| {
            let whole = json!({
                "allOf": [self.document.pointer(at).expect("a schema")],
                "components": self.document["components"],
            });
            jsonschema::draft202012::new(&whole).expect("a schema")
        });
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|e| format!("{} at {}", e, e.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{at}: {faults:#?} in {value:#}");
    }
}

fn escaped(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn filled(template: &str) -> String {
    let part = |p: &str| if p.starts_with('{') { "x".to_owned() } else { p.to_owned() };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

async fn ask(api: &Api, method: &str, path: &str) -> Got {
    let asked = Request::builder().method(method).uri(path).body(Body::empty());
    api.send(asked.expect("a request")).await
}

#[tokio::test]
async fn every_documented_operation_is_served_and_no_other_method() {
    let api = Api::new();
    for (template, methods) in CONTRACT.paths() {
        let methods: Vec<String> =
            methods.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
        let path = filled(template);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let got = ask(&api, method, &path).await;
            let served = got.status != 405 && !got.text.contains("route_not_found");
            let promised = methods.iter().any(|m| m == method);
            assert_eq!(served, promised, "{method} {template}: {} {}", got.status, got.text);
        }
        let mut allowed = methods;
        if allowed.contains(&"GET".to_owned()) {
            allowed.push("HEAD".to_owned());
        }
        allowed.push("OPTIONS".to_owned());
        allowed.sort();
        let options = ask(&api, "OPTIONS", &path).await;
        assert_eq!((options.status.as_u16(), options.header("allow")), (204, &*allowed.join(", ")));
        let refused = ask(&api, "TRACE", &path).await;
        assert_eq!(refused.status, 405, "{template}");
        let mut named: Vec<&str> = refused.header("allow").split(',').map(str::trim).collect();
        named.sort_unstable();
        assert_eq!(named, allowed, "{template}");
    }
}

#[tokio::test]
async fn every_operation_but_the_open_ones_asks_for_a_credential() {
    let api = Api::new();
    for (template, methods) in CONTRACT.paths() {
        for (method, operation) in methods.as_object().unwrap() {
            let open = operation["security"] == json!([]);
            assert_eq!(open, operation["x-role"].is_null(), "{method} {template}");
            let got = ask(&api, &method.to_uppercase(), &filled(template)).await;
            assert_eq!(got.status == 401, !open, "{method} {template}: {}", got.text);
        }
    }
}

#[tokio::test]
async fn operations_have_names_of_their_own() {
    let mut names = BTreeMap::new();
    for (template, methods) in CONTRACT.paths() {
        for (method, operation) in methods.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            let before = names.insert(name.clone(), template);
            assert_eq!(before, None, "{method} {template} is called {name} too");
        }
    }
    assert!(names.len() > 50, "{}", names.len());
}

#[tokio::test]
async fn the_document_is_the_one_that_was_agreed_on() {
    let now = format!("{:#}\n", CONTRACT.document);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
    }
    let agreed = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let first = now.lines().zip(agreed.lines()).position(|(a, b)| a != b);
    assert!(now == agreed, "openapi.json differs from line {first:?}; UPDATE_GOLDEN=1 keeps it");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let api = Api::new();
    let page = ask(&api, "GET", "/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    for path in ["/docs", "/docs/docs.js", "/docs/docs.css", "/openapi.json"] {
        let got = ask(&api, "GET", path).await;
        assert_eq!(got.status, 200, "{path}");
        let elsewhere = got.text.contains("http://") || got.text.contains("https://");
        assert!(!elsewhere, "{path} names another server");
    }
}

#[tokio::test]
async fn what_a_route_does_not_give_is_406_and_what_it_does_not_know_400() {
    let api = Api::new();
    let run = format!("/api/meta/v2/runs/{}", crate::samples::RUN);
    for path in ["/autofix", "/escalation", "/plan-delta", "/settings", "/verify"] {
        let got = ask(&api, "GET", &format!("{run}{path}?pretty=1")).await;
        assert_eq!(got.status, 400, "{path}: {}", got.text);
        assert_eq!(got.error().2["parameter"], "pretty", "{path}");
    }
    let asked = |accept: &str| {
        Request::get(format!("{run}/autofix"))
            .header("authorization", "Bearer mb_viewer")
            .header("accept", accept)
            .body(Body::empty())
            .expect("a request")
    };
    let refused = api.send(asked("text/html")).await;
    assert_eq!((refused.error().0, refused.error().1.as_str()), (406, "not_acceptable"));
    for good in ["application/json", "text/html, */*;q=0.1", "application/problem+json"] {
        assert_eq!(api.send(asked(good)).await.status, 200, "{good}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let api = Api::new();
    let path = format!("/api/meta/v2/runs/{}", crate::samples::RUN);
    let asked = Request::head(&path).header("authorization", "Bearer mb_viewer");
    let got = api.send(asked.body(Body::empty()).expect("a request")).await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (200, ""));
    assert_eq!(got.header("content-type"), "application/vnd.api+json");
}
