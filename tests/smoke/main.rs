//! Does an installation work at all? Against the one at SMOKE_BASE_URL (with the key SMOKE_TOKEN),
//! or with RUN_SMOKE=true against a `metabuilder up` of its own. Without either it is skipped, and
//! says so: it needs an installation, which a build of the code is not.
//!
//! It leaves a spec and two runs behind in the key's tenant, and changes nothing else.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Rest, Up};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;

const LINT: &str = "if grep -q ' $' app/a.txt; then \
    echo 'app/a.txt:1:1: W291 trailing whitespace'; exit 1; fi; echo 'All checks passed!'";
const SCAN: &str = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|a| a == "--list") {
        // runners of tests ask first which there are
        if !arguments.iter().any(|a| a == "--ignored") {
            println!("smoke: test");
        }
        return Ok(());
    }
    let vars = meta_runtime::start::vars();
    let set = |name: &str| vars.get(name).cloned().filter(|value| !value.is_empty());
    let base = set("SMOKE_BASE_URL");
    let own = set("RUN_SMOKE").is_some_and(|v| v == "true");
    if base.is_none() && !own {
        println!("SKIPPED: smoke tests run with RUN_SMOKE=true, or against SMOKE_BASE_URL");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(base) = base {
            let key = set("SMOKE_TOKEN").context("SMOKE_BASE_URL needs SMOKE_TOKEN, an API key")?;
            return all(&Rest::new(base.trim_end_matches('/'), &key)?).await;
        }
        let folder = tempfile::tempdir()?;
        let up = Up::start(&folder.path().join("data"), &[]).await?;
        all(&up.rest).await
    })
}

/// Says how a check went.
async fn check(what: &str, checked: impl Future<Output = Result<()>>) -> Result<()> {
    let started = Instant::now();
    let result = checked.await;
    let word = if result.is_ok() { "ok" } else { "FAILED" };
    println!("smoke: {what} ... {word} ({} ms)", started.elapsed().as_millis());
    std::io::stdout().flush()?;
    result.with_context(|| what.to_owned())
}

async fn all(rest: &Rest) -> Result<()> {
    check("it lives and is ready", healthy(rest)).await?;
    check("it describes its API", described(rest)).await?;
    check("it asks for a key", guarded(rest)).await?;
    check("a log is classified", classified(rest)).await?;
    check("a run heals, and waits for a person", heals(rest)).await?;
    check("a run fails with a reason", fails(rest)).await
}

async fn healthy(rest: &Rest) -> Result<()> {
    rest.outside("/healthz").await?.with(200)?;
    rest.outside("/readyz").await?.with(200)?;
    Ok(())
}

async fn described(rest: &Rest) -> Result<()> {
    let document = rest.outside("/openapi.json").await?.with(200)?;
    ensure!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{document:.200}");
    let page = rest.outside("/sign-in").await?.with(200)?;
    ensure!(page.as_str().is_some_and(|p| p.contains("<form")), "the sign-in page has no form");
    Ok(())
}

async fn guarded(rest: &Rest) -> Result<()> {
    rest.with_key("mb_not_a_key").get("/runs").await?.with(401)?;
    rest.get("/runs").await?.with(200)?;
    Ok(())
}

async fn classified(rest: &Rest) -> Result<()> {
    let log = json!({ "step_name": "fetch", "exit_code": 7,
        "logs": "curl: (7) Failed to connect to registry port 443: Connection refused" });
    let answer = rest.post("/classify-failure", &log).await?.with(200)?;
    ensure!(answer.to_string().contains("\"transient\""), "{answer:#}");
    Ok(())
}

async fn planned(rest: &Rest, steps: Value) -> Result<String> {
    rest.planned(&json!({
        "title": "smoke", "mode": "freeform", "steps": steps,
        "source": { "kind": "inline", "files": { "app/a.txt": "a \n" } },
    }))
    .await
}

async fn heals(rest: &Rest) -> Result<()> {
    let fix = "sed -i 's/ *$//' app/a.txt";
    let spec = planned(
        rest,
        json!([
            { "name": "lint", "run": LINT, "fix": fix },
            { "name": "scan", "run": SCAN, "needs": ["lint"] },
        ]),
    )
    .await?;
    let settings = json!({ "settings": { "autofix_enabled": true } });
    let run = rest.run(&spec, &settings).await?;
    rest.until_status(&run, "paused_awaiting_approval").await?;
    let steps = rest.steps(&run).await?;
    ensure!(steps["lint"]["status"] == "succeeded", "{:#}", steps["lint"]);
    rest.post(&format!("/runs/{run}/approve"), &json!({ "notes": "smoke" })).await?.with(200)?;
    rest.until_status(&run, "succeeded").await?;
    let patch = rest.get(&format!("/runs/{run}/artifacts/patch")).await?.with(200)?;
    ensure!(patch.as_str().is_some_and(|p| p.contains("app/a.txt")), "{patch}");
    Ok(())
}

async fn fails(rest: &Rest) -> Result<()> {
    let broken = "echo 'FAILED tests/test_a.py::test_a - assert 1 == 2'; exit 1";
    let spec = planned(rest, json!([{ "name": "test", "run": broken }])).await?;
    let run = rest.run(&spec, &json!({ "settings": { "autofix_enabled": false } })).await?;
    let ended = rest.until_status(&run, "failed").await?;
    ensure!(ended["reason"].as_str().is_some_and(|r| !r.is_empty()), "{ended:#}");
    Ok(())
}
