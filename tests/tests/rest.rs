//! Every route of the HTTP API, one after another, over `metabuilder up` and over five services and
//! a gateway as processes of their own. The OpenAPI document says which routes there are.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Answer, Deployment, Rest, Up};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// An id that nothing has.
const NOBODY: &str = "01890000-0000-7000-8000-00000000dead";
const SCAN: &str = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";
const FLAKY: &str = "if [ -f c/seen ]; then echo ok; else touch c/seen; \
    echo 'curl: (7) Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";

/// Calls routes and remembers which.
struct Walk<'a> {
    rest: &'a Rest,
    walked: Mutex<BTreeSet<String>>,
    paths: Value,
}

impl<'a> Walk<'a> {
    async fn start(rest: &'a Rest) -> Result<Self> {
        let document = rest.outside("/openapi.json").await?.with(200)?;
        let paths = document["paths"].clone();
        Ok(Self { rest, walked: Mutex::default(), paths })
    }

    fn note(&self, method: &Method, path: &str) {
        let path = path.split('?').next().unwrap_or(path);
        let fits = |template: &str| {
            let (a, b): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
        };
        let all = self.paths.as_object().into_iter().flatten().map(|(t, _)| t);
        let found = all.filter(|t| fits(t)).min_by_key(|t| t.matches('{').count());
        let word = method.as_str().to_lowercase();
        let known = found.filter(|t| self.paths[*t].get(&word).is_some());
        if let (Some(template), Ok(mut walked)) = (known, self.walked.lock()) {
            walked.insert(format!("{method} {template}"));
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value, status: u16) -> Result<Value> {
        self.note(&method, &format!("/api/meta/v2{path}"));
        let mut request = self.rest.request(method.clone(), path);
        if !body.is_null() {
            request = request.json(&json!({ "data": { "attributes": body } }));
        }
        let answer = Answer::of(request.send().await?).await?;
        ensure!(answer.headers.contains_key("x-request-id"), "{method} {path} has no request id");
        ensure!(answer.headers.contains_key("traceparent"), "{method} {path} has no trace");
        answer.with(status).with_context(|| format!("{method} {path}"))
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, Value::Null, 200).await
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Result<Value> {
        self.call(Method::POST, path, body, status).await
    }

    async fn outside(&self, path: &str) -> Result<()> {
        self.note(&Method::GET, path);
        self.rest.outside(path).await?.with(200)?;
        Ok(())
    }

    /// Operations of the document that nothing called.
    fn missing(&self) -> Vec<String> {
        let walked = self.walked.lock().map(|w| w.clone()).unwrap_or_default();
        let all = self.paths.as_object().into_iter().flatten().flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
        });
        all.filter(|operation| !walked.contains(operation)).collect()
    }
}

fn id(document: &Value) -> Result<String> {
    Ok(document["data"]["id"].as_str().context("an id")?.to_owned())
}

fn in_an_hour() -> String {
    meta_runtime::now().plus_ms(3_600_000).to_string()
}

async fn every_route(rest: &Rest) -> Result<()> {
    let walk = Walk::start(rest).await?;
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs", "/docs/docs.js", "/docs/docs.css"]
    {
        walk.outside(path).await?;
    }
    let tenant = id(&walk.get("/caller").await?)?;
    tenants_and_settings(&walk, &tenant).await?;
    let (spec, run) = specs_and_runs(&walk).await?;
    gates(&walk, &spec).await?;
    run_settings(&walk, &run).await?;
    run_actions(&walk).await?;
    others(&walk).await?;
    ensure!(walk.missing().is_empty(), "nothing called {:#?}", walk.missing());
    Ok(())
}

async fn keys_and_audit(walk: &Walk<'_>, tenant: &str) -> Result<()> {
    let path = format!("/tenants/{tenant}/keys");
    let new = json!({ "name": "ci", "role": "member", "scopes": ["read", "specs"],
        "expires_at": in_an_hour() });
    let made = walk.post(&path, new, 201).await?;
    let key = made["data"]["attributes"]["api_key"].as_str().context("a key")?.to_owned();
    ensure!(key.starts_with("mb_"), "{made:#}");
    let listed = walk.get(&path).await?.to_string();
    ensure!(listed.contains("\"ci\"") && !listed.contains(&key), "{listed}");
    let one = format!("{path}/{}", id(&made)?);
    let ended = walk.call(Method::DELETE, &one, Value::Null, 200).await?;
    ensure!(ended["data"]["attributes"]["revoked_at"].is_string(), "{ended:#}");
    walk.call(Method::DELETE, &format!("{path}/{NOBODY}"), Value::Null, 404).await?;
    let bad = json!({ "name": "ci", "role": "runner" });
    walk.post(&path, bad, 403).await?;
    let found = walk.get("/audit/verify").await?;
    ensure!(found["data"]["attributes"]["problems"] == json!([]), "{found:#}");
    Ok(())
}

async fn tenants_and_settings(walk: &Walk<'_>, tenant: &str) -> Result<()> {
    let made = id(&walk.post("/tenants", json!({ "name": "acme" }), 201).await?)?;
    let listed = walk.get("/tenants?per_page=100").await?;
    ensure!(listed["data"].to_string().contains(&made), "{listed:#}");
    let user = json!({ "email": "ann@example.org", "role": "viewer" });
    let user = walk.post(&format!("/tenants/{made}/users"), user, 201).await?;
    ensure!(user["data"]["attributes"]["api_key"].is_string(), "{user:#}");
    keys_and_audit(walk, &made).await?;

    let settings = format!("/tenants/{tenant}/settings");
    let six = json!({ "max_total_attempts": 6 });
    walk.call(Method::PUT, &settings, six.clone(), 200).await?;
    let patched = json!({ "backoff_cap_seconds": 0 });
    let now = walk.call(Method::PATCH, &settings, patched, 200).await?;
    ensure!(now["data"]["attributes"]["override"]["max_total_attempts"] == 6, "{now:#}");
    ensure!(now["data"]["attributes"]["resolved"]["max_total_attempts"]["layer"] == "tenant");
    walk.get(&settings).await?;
    walk.get(&format!("{settings}/history?setting=max_total_attempts")).await?;
    let later = format!("{settings}?effective_at={}", in_an_hour());
    let scheduled = id(&walk.call(Method::PATCH, &later, six.clone(), 202).await?)?;
    let path = format!("{settings}/scheduled/{scheduled}");
    walk.call(Method::DELETE, &path, Value::Null, 200).await?;
    let cleared = format!("{settings}?settings=max_total_attempts");
    walk.call(Method::DELETE, &cleared, Value::Null, 200).await?;
    let checked = walk.post("/settings/validate", json!({ "max_total_attempts": 99 }), 200).await?;
    ensure!(checked["data"]["attributes"]["valid"] == false, "{checked:#}");

    let platform = "/settings/platform";
    walk.get(platform).await?;
    let layer = format!("{platform}/platform?reason=test");
    walk.call(Method::PUT, &layer, six.clone(), 200).await?;
    walk.call(Method::PATCH, &layer, six.clone(), 200).await?;
    let later = format!("{layer}&effective_at={}", in_an_hour());
    let scheduled =
        id(&walk.call(Method::PATCH, &later, json!({ "max_total_attempts": 7 }), 202).await?)?;
    let path = format!("{platform}/scheduled/{scheduled}");
    walk.call(Method::DELETE, &path, Value::Null, 200).await?;
    walk.call(Method::DELETE, &layer, Value::Null, 200).await?;
    walk.get(&format!("{platform}/history")).await?;
    Ok(())
}

/// A spec whose run is retried and ends well.
async fn specs_and_runs(walk: &Walk<'_>) -> Result<(String, String)> {
    let rest = walk.rest;
    let spec = json!({
        "title": "t", "mode": "freeform", "description": "d",
        "guided_input": { "goal": "g" }, "attachments": [{ "name": "a" }],
        "source": { "kind": "inline", "files": { "word.txt": "hello" } },
        "steps": [{ "name": "fetch", "run": FLAKY, "cache": ["c"] }],
    });
    let spec = id(&walk.post("/specs", spec, 201).await?)?;
    let listed = walk.get("/specs?per_page=1").await?;
    ensure!(listed["data"].as_array().map(Vec::len) == Some(1), "{listed:#}");
    let plan = walk.post(&format!("/specs/{spec}/plan"), json!({}), 201).await?;
    for name in ["version", "summary", "risk_score", "agents_used", "plan_graph", "diff_preview"] {
        ensure!(plan["data"]["attributes"].get(name).is_some(), "{name}: {plan:#}");
    }
    let asked = json!({
        "plan_id": plan["data"]["id"], "max_iterations": 4, "async": false,
        "settings": { "max_total_attempts": 5 }, "priority": 1, "timeout_seconds": 600,
        "gates": { "expires_after_seconds": 600, "on_expiry": "cancel", "four_eyes": false },
    });
    let run = walk.post(&format!("/specs/{spec}/runs"), asked, 201).await?;
    ensure!(run["data"]["attributes"]["status"] == "succeeded", "{run:#}");
    let run = id(&run)?;
    let shown = walk.get(&format!("/specs/{spec}")).await?;
    let types: BTreeSet<_> = included(&shown);
    ensure!(types == BTreeSet::from(["plan", "run"].map(str::to_owned)), "{types:?}");

    let of_spec = format!(
        "/runs?spec_id={spec}&status=succeeded&failure_type=transient\
                           &created_after=2020-01-01T00:00:00Z&page=1&per_page=1"
    );
    let listed = walk.get(&of_spec).await?;
    ensure!(listed["meta"]["total"] == 1 && listed["data"][0]["id"] == run.as_str(), "{listed:#}");
    walk.call(Method::GET, "/runs?page_token=x&page=1", Value::Null, 400).await?;
    let whole = walk.get(&format!("/runs/{run}")).await?;
    for kind in ["spec", "plan", "step", "evaluation", "artifact"] {
        ensure!(included(&whole).contains(kind), "no {kind}: {whole:#}");
    }
    for path in ["autofix", "escalation", "plan-delta", "verify", "steps/fetch/why"] {
        walk.get(&format!("/runs/{run}/{path}")).await?;
    }
    let why = walk.get(&format!("/runs/{run}/steps/fetch/why")).await?;
    let why = &why["data"]["attributes"];
    ensure!(why["attempts"][0]["failure_signal"]["type"] == "transient", "{why:#}");
    ensure!(why["flaky"] == true, "{why:#}");
    walk.get(&format!("/runs/{run}/events?after=1&per_page=5")).await?;
    let log = walk.get(&format!("/runs/{run}/logs?step=fetch")).await?;
    ensure!(log.as_str().is_some_and(|l| l.contains("Connection refused")), "{log}");
    for name in ["log", "patch"] {
        walk.get(&format!("/runs/{run}/artifacts/{name}")).await?;
    }
    let packed =
        rest.request(Method::GET, &format!("/runs/{run}/artifacts/workspace")).send().await?;
    ensure!(packed.status() == 200, "{}", packed.text().await?);
    ensure!(packed.headers()["content-type"] == "application/gzip");
    let packed = packed.bytes().await?;
    ensure!(packed.starts_with(&[0x1f, 0x8b]), "not gzip: {packed:?}");
    let flaky = walk.get("/flaky").await?;
    ensure!(flaky["data"][0]["attributes"]["step"] == "fetch", "{flaky:#}");
    Ok((spec, run))
}

fn included(document: &Value) -> BTreeSet<String> {
    let all = document["included"].as_array().into_iter().flatten();
    all.filter_map(|r| r["type"].as_str().map(str::to_owned)).collect()
}

/// A run that waits for a human.
async fn waiting(walk: &Walk<'_>) -> Result<(String, String)> {
    let steps = json!([{ "name": "scan", "run": SCAN }]);
    let spec = json!({ "title": "t", "mode": "guided", "steps": steps });
    let spec = walk.rest.planned(&spec).await?;
    let run = walk.rest.run(&spec, &json!({ "async": false })).await?;
    let gates = walk.get(&format!("/approvals?run_id={run}&status=pending")).await?;
    Ok((run, gates["data"][0]["id"].as_str().context("a gate")?.to_owned()))
}

async fn gates(walk: &Walk<'_>, _spec: &str) -> Result<()> {
    let (run, gate) = waiting(walk).await?;
    let seen = json!({ "notes": "n", "plan_version": 99 });
    walk.post(&format!("/approvals/{gate}/approve"), seen, 409).await?;
    let path = format!("/approvals/{gate}/approve");
    let decided = walk.post(&path, json!({ "notes": "n" }), 200);
    ensure!(decided.await?["data"]["attributes"]["status"] == "approved");
    walk.post(&format!("/approvals/{gate}/approve"), json!({}), 409).await?;
    walk.post(&format!("/runs/{run}/approve"), json!({}), 409).await?;
    let (_, gate) = waiting(walk).await?;
    walk.post(&format!("/approvals/{gate}/reject"), json!({}), 200).await?;
    let (run, _) = waiting(walk).await?;
    walk.post(&format!("/runs/{run}/approve"), json!({}), 200).await?;
    let (run, _) = waiting(walk).await?;
    walk.post(&format!("/runs/{run}/reject"), json!({}), 200).await?;
    walk.rest.until_status(&run, "failed").await?;
    Ok(())
}

async fn run_settings(walk: &Walk<'_>, run: &str) -> Result<()> {
    let settings = format!("/runs/{run}/settings");
    let two = json!({ "max_total_attempts": 2 });
    walk.call(Method::PUT, &settings, two.clone(), 200).await?;
    let now = walk.call(Method::PATCH, &settings, two, 200).await?;
    ensure!(now["data"]["attributes"]["resolved"]["max_total_attempts"]["layer"] == "run");
    walk.get(&settings).await?;
    walk.get(&format!("{settings}/history")).await?;
    walk.call(Method::DELETE, &settings, Value::Null, 200).await?;
    Ok(())
}

async fn run_actions(walk: &Walk<'_>) -> Result<()> {
    let (run, _) = waiting(walk).await?;
    let held = walk.post(&format!("/runs/{run}/pause"), json!({ "reason": "r" }), 200).await?;
    ensure!(held["data"]["attributes"]["held_by"].is_string(), "{held:#}");
    walk.post(&format!("/runs/{run}/resume"), json!({}), 200).await?;
    let edit = json!({ "plan_version": 99, "ops": [
        { "kind": "extend_timeout", "step": "scan", "timeout": "30m" },
    ]});
    walk.post(&format!("/runs/{run}/plan-edit"), edit, 409).await?;
    walk.post(&format!("/runs/{run}/rollback"), json!({}), 409).await.or_else(|e| {
        // a run without a patch may also take it as done
        if e.to_string().contains("got 200") { Ok(Value::Null) } else { Err(e) }
    })?;
    let canceled = walk.post(&format!("/runs/{run}/cancel"), json!({}), 200).await?;
    ensure!(canceled["data"]["attributes"]["status"] == "canceled", "{canceled:#}");
    let marked = json!({ "status": "skipped", "reason": "not needed" });
    walk.post(&format!("/runs/{run}/steps/scan/mark"), marked, 200).await?;
    walk.post(&format!("/runs/{run}/retry"), json!({}), 200).await?;
    walk.rest.until_status(&run, "succeeded").await?;
    walk.post(&format!("/runs/{run}/retry"), json!({}), 409).await?;
    Ok(())
}

async fn others(walk: &Walk<'_>) -> Result<()> {
    let failure = json!({ "step_name": "t", "logs": "E   assert 1 == 2\n", "exit_code": 1 });
    let found = walk.post("/classify-failure", failure, 200).await?;
    ensure!(found["data"]["attributes"]["failure_signal"].is_object(), "{found:#}");
    let audit = walk.get("/audit?per_page=100&action=meta.").await?.to_string();
    ensure!(audit.contains("meta.run.started"), "{audit}");
    walk.post("/webhooks", json!({ "url": "http://127.0.0.1:1/x" }), 400).await?;
    walk.get("/webhooks").await?;
    let path = format!("/webhooks/{NOBODY}");
    walk.call(Method::GET, &path, Value::Null, 404).await?;
    walk.call(Method::DELETE, &path, Value::Null, 404).await?;
    let again = json!({ "run_id": NOBODY, "seq": 1 });
    walk.post(&format!("{path}/redeliver"), again, 404).await?;
    for (path, method) in [
        ("/ofrep/v1/evaluate/flags", Method::POST),
        ("/ofrep/v1/evaluate/flags/autofix_enabled", Method::POST),
        ("/ofrep/v1/events", Method::GET),
    ] {
        let answer = walk.rest.elsewhere(method.clone(), path).send().await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        walk.note(&method, path);
    }
    unknown_ids(walk).await
}

/// What is not there is 404 and what is no id 400, with the same shape on every route.
async fn unknown_ids(walk: &Walk<'_>) -> Result<()> {
    let paths = walk.paths.as_object().context("paths")?.clone();
    for (template, methods) in &paths {
        let Some(path) = template.strip_prefix("/api/meta/v2") else { continue };
        if !path.contains("_id}") || methods.get("get").is_none() {
            continue;
        }
        for (id, status) in [(NOBODY, 404), ("no-id", 400)] {
            let filled: Vec<&str> = path
                .split('/')
                .map(|p| match p {
                    _ if p.ends_with("_id}") => id,
                    "{name}" => "log",
                    _ if p.starts_with('{') => "s",
                    _ => p,
                })
                .collect();
            let path = filled.join("/");
            if path.starts_with(&format!("/tenants/{NOBODY}")) {
                // a platform administrator may name any tenant
                continue;
            }
            let answer = walk.rest.get(&path).await?;
            ensure!(answer.status == status, "{path}: {:#}", answer.body);
            let request = walk.rest.request(Method::GET, &path);
            let problem = request.header("accept", "application/problem+json").send().await?;
            let media = problem.headers()["content-type"].to_str()?.to_owned();
            ensure!(media == "application/problem+json", "{path}: {media}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_over_the_embedded_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    every_route(&up.rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_over_separate_processes() -> Result<()> {
    let deployment = Deployment::start().await?;
    every_route(&deployment.rest).await
}
