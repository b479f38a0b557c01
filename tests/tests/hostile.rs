//! Hostile requests over REST: each has a defined result, and the next one is answered.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Answer, Up};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn up() -> Result<(Up, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    Ok((Up::start(&folder.path().join("data"), &[]).await?, folder))
}

fn spec(steps: Value) -> Value {
    json!({ "title": "t", "mode": "freeform", "steps": steps })
}

#[tokio::test(flavor = "multi_thread")]
async fn h20_specs_that_cannot_be_planned_are_refused_at_once() -> Result<()> {
    let (up, _folder) = up().await?;
    let many: Vec<Value> =
        (0..100_000).map(|n| json!({ "name": format!("s{n}"), "run": "t" })).collect();
    let cycle = json!([
        { "name": "a", "run": "t", "needs": ["b"] }, { "name": "b", "run": "t", "needs": ["a"] },
    ]);
    let twice = json!([{ "name": "a", "run": "t" }, { "name": "a", "run": "t" }]);
    let leaves = json!([{ "name": "../../x", "run": "t" }]);
    for (what, steps) in
        [("many", json!(many)), ("cycle", cycle), ("twice", twice), ("leaves", leaves)]
    {
        let started = Instant::now();
        let refused = up.rest.post("/specs", &spec(steps)).await?;
        ensure!(refused.status == 400, "{what}: {}", refused.status);
        ensure!(refused.body["errors"][0]["source"]["pointer"].is_string(), "{what}");
        ensure!(started.elapsed() < Duration::from_secs(10), "{what}: {:?}", started.elapsed());
    }
    let deep = format!(
        "{{\"title\":\"t\",\"mode\":\"freeform\",\"guided_input\":{}1{}}}",
        "{\"a\":".repeat(10_000),
        "}".repeat(10_000)
    );
    let refused = up.rest.post_bytes("/specs", deep).await?;
    ensure!((refused.status, refused.error().0.as_str()) == (400, "malformed_json"));
    up.rest.post("/specs", &spec(json!([{ "name": "a", "run": "t" }]))).await?.with(201)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h22_headers_and_numbers_that_mean_something_elsewhere_mean_nothing_here() -> Result<()> {
    let (up, _folder) = up().await?;
    let made = up.rest.post("/tenants", &json!({ "name": "other" })).await?.with(201)?;
    let other = made["data"]["id"].as_str().context("an id")?.to_owned();
    let own = up.rest.get("/caller").await?.with(200)?["data"]["id"].clone();
    for (name, value) in [
        ("x-tenant", other.as_str()),
        ("x-metabuilder-tenant", other.as_str()),
        ("x-metabuilder-role", "viewer"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/api/meta/v2/tenants"),
    ] {
        let request = up.rest.request(Method::GET, "/caller").header(name, value);
        let answer = Answer::of(request.send().await?).await?.with(200)?;
        ensure!(answer["data"]["id"] == own, "{name}: {answer:#}");
        ensure!(answer["data"]["attributes"]["role"] == "platform_admin", "{name}");
    }
    let path = "/settings/validate";
    for (body, status, code) in [
        (r#"{"max_total_attempts":1,"max_total_attempts":2}"#, 400, "malformed_json"),
        (r#"{"__proto__":{"a":1}}"#, 400, "unknown_field"),
        (r#"{"max_total_attempts":1e309}"#, 400, "malformed_json"),
        (r#"{"max_total_attempts":-0}"#, 400, "invalid_field"),
        (r#"{"max_total_attempts":9007199254740993}"#, 400, "invalid_field"),
        (r#"{"max_total_attempts":3.5}"#, 400, "invalid_field"),
        (r#"{"max_total_attempts":"6"}"#, 400, "invalid_field"),
        (r#"{"max_total_attempts":null}"#, 400, "invalid_field"),
        (r#"{"max_total_attempts":true}"#, 400, "invalid_field"),
    ] {
        let refused = up.rest.post_bytes(path, body).await?;
        ensure!(
            (refused.status, refused.error().0.as_str()) == (status, code),
            "{body}: {:#}",
            refused.body
        );
    }
    up.rest.get("/caller").await?.with(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h26_sql_in_every_text_is_kept_as_it_is() -> Result<()> {
    let (up, _folder) = up().await?;
    let text = "'; DROP TABLE specs; -- \"$1\" %s \\' \u{202e} é";
    let asked = json!({
        "title": text, "description": text, "mode": "freeform",
        "guided_input": { text: text }, "attachments": [text],
        "steps": [{ "name": "s", "run": text, "env": { "A": text } }],
    });
    let made = up.rest.post("/specs", &asked).await?.with(201)?;
    let id = made["data"]["id"].as_str().context("an id")?;
    let kept = up.rest.get(&format!("/specs/{id}")).await?.with(200)?;
    let kept = &kept["data"]["attributes"];
    for name in ["title", "description", "guided_input", "attachments"] {
        ensure!(kept[name] == asked[name], "{name}: {kept:#}");
    }
    ensure!(kept["steps"][0]["run"] == text && kept["steps"][0]["env"]["A"] == text, "{kept:#}");
    let tenant = up.rest.post("/tenants", &json!({ "name": text })).await?.with(201)?;
    ensure!(tenant["data"]["attributes"]["name"] == text);
    for path in
        ["/runs?page_token='", "/specs?page_token=%27%3B--", "/runs?status='", "/runs?spec_id=%00"]
    {
        ensure!(up.rest.get(path).await?.status == 400, "{path}");
    }
    up.rest.get("/specs").await?.with(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h19_a_hostile_log_is_kept_within_its_limit_and_written_as_text() -> Result<()> {
    let (up, _folder) = up().await?;
    let print = r#"printf 'a\rb\033]8;;http://evil\033\\link\033]52;c;aGk=\007\377\376<script>x</script>\n'; \
        i=0; while [ $i -lt 20000 ]; do echo "$i"; i=$((i+1)); done"#;
    let spec = up.rest.planned(&spec(json!([{ "name": "s", "run": print }]))).await?;
    let run = up.rest.run(&spec, &json!({ "async": false })).await?;
    up.rest.until_status(&run, "succeeded").await?;
    let path = format!("/runs/{run}/logs");
    let log = up.rest.request(Method::GET, &path).send().await?;
    ensure!(log.headers()["content-type"] == "text/plain; charset=utf-8");
    ensure!(log.headers()["x-content-type-options"] == "nosniff");
    let bytes = log.bytes().await?;
    let whole = String::from_utf8_lossy(&bytes);
    ensure!(whole.contains("<script>x</script>") && whole.contains("19999"), "{}", whole.len());
    let lines = up.rest.request(Method::GET, &path).header("accept", "application/x-ndjson");
    let lines = lines.send().await?.text().await?;
    for line in lines.lines() {
        let piece: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(piece["step"] == "s" && piece["text"].is_string(), "{piece:#}");
        ensure!(!line.contains('\u{1b}') && !line.contains('\u{7}'), "raw control characters");
    }
    let live = up.rest.request(Method::GET, &path).header("accept", "text/event-stream");
    let live = live.send().await?.text().await?;
    ensure!(live.contains("event: end\n") && !live.contains('\u{1b}') && !live.contains('\r'));
    Ok(())
}
