//! Hostile requests over REST: each has a defined result, and the next one is answered.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Answer, LIMIT, Up};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// A spec of one step, of which this is otherwise.
fn step(part: Value) -> Value {
    let mut step = json!({ "name": "a", "run": "true" });
    if let (Value::Object(step), Value::Object(part)) = (&mut step, part) {
        step.extend(part);
    }
    spec(json!([step]))
}

/// What is answered to these bytes on a connection of their own: the status, and all of it.
async fn raw(up: &Up, request: &str) -> Result<(u16, String)> {
    let address = up.url.strip_prefix("http://").context("an address")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(LIMIT, read).await.context("the connection stays open")??;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).with_context(|| format!("{answer:?}"))?.parse()?;
    Ok((status, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_two_servers_may_read_differently_are_refused() -> Result<()> {
    let (up, _folder) = up().await?;
    let path = "/api/meta/v2";
    let key = format!("authorization: Bearer {}\r\nconnection: close", up.key);
    let json = "content-type: application/json";
    let two_lengths = format!(
        "host: a\r\nauthorization: Bearer {}\r\n{json}\r\ncontent-length: 5\r\n\
         transfer-encoding: chunked",
        up.key
    );
    let second = format!("0\r\n\r\nGET {path}/caller HTTP/1.1\r\nhost: a\r\n{key}\r\n\r\n");
    for (what, request, status) in [
        ("one host", format!("GET {path}/caller HTTP/1.1\r\nhost: a\r\n{key}\r\n\r\n"), 200),
        ("no host", format!("GET {path}/caller HTTP/1.1\r\n{key}\r\n\r\n"), 400),
        (
            "two hosts",
            format!("GET {path}/caller HTTP/1.1\r\nhost: a\r\nhost: b\r\n{key}\r\n\r\n"),
            400,
        ),
        ("no host over HTTP/1.0", format!("GET {path}/caller HTTP/1.0\r\n{key}\r\n\r\n"), 200),
        // the second request is not read: after two lengths nobody knows where it begins
        (
            "two lengths",
            format!("POST {path}/specs HTTP/1.1\r\n{two_lengths}\r\n\r\n{second}"),
            400,
        ),
        (
            "two content types",
            format!(
                "POST {path}/specs HTTP/1.1\r\nhost: a\r\n{key}\r\n{json}\r\n\
                 content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}"
            ),
            415,
        ),
    ] {
        let (found, answer) = raw(&up, &request).await?;
        ensure!(found == status, "{what}: {answer}");
        ensure!(answer.matches("HTTP/1.").count() == 1, "{what}: more than one answer: {answer}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_request_gets_a_small_answer_that_still_says_what_was_expected() -> Result<()> {
    const ANSWER_BYTES_MAX: usize = 5_000;
    let (up, _folder) = up().await?;
    let long = "x".repeat(200_000);
    for (what, path, body) in [
        ("a name", "/specs", step(json!({ "name": long }))),
        ("a key", "/specs", json!({ long.as_str(): 1 })),
        ("a word", "/specs", json!({ "title": "t", "mode": long, "steps": [] })),
        ("another step", "/specs", step(json!({ "needs": [long] }))),
        ("a folder", "/specs", step(json!({ "cache": [format!("/{long}")] }))),
        ("a variable", "/specs", step(json!({ "env": { format!("{long} "): "a" } }))),
        ("a type", "/specs", step(json!({ "network": long }))),
        ("an address", "/webhooks", json!({ "url": long })),
    ] {
        let refused = up.rest.post(path, &body).await?;
        let size = refused.body.to_string().len();
        ensure!(refused.status == 400 && size < ANSWER_BYTES_MAX, "{what}: {size} bytes");
        let detail = refused.body["errors"][0]["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains("expected"), "{what}: {detail}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_holds_what_commands_a_terminal_or_what_a_database_does_not_take() -> Result<()> {
    let (up, _folder) = up().await?;
    let steps = json!([{ "name": "s", "run": "true", "approval": "before" }]);
    let made = up.rest.planned(&spec(steps.clone())).await?;
    let run = up.rest.run(&made, &json!({ "async": false })).await?;
    for bad in ["a\u{0}b", "a\u{1b}]52;c;aGk=\u{7}b"] {
        for (field, path, body) in [
            ("title", "/specs", json!({ "title": bad, "mode": "freeform", "steps": steps })),
            (
                "description",
                "/specs",
                json!({ "title": "t", "mode": "freeform", "steps": steps, "description": bad }),
            ),
            ("name", "/tenants", json!({ "name": bad })),
            ("notes", &format!("/runs/{run}/reject"), json!({ "notes": bad })),
            ("reason", &format!("/runs/{run}/pause"), json!({ "reason": bad })),
        ] {
            let refused = up.rest.post(path, &body).await?;
            ensure!(refused.status == 400, "{field}: {:#}", refused.body);
            let pointer = &refused.body["errors"][0]["source"]["pointer"];
            ensure!(*pointer == format!("/data/attributes/{field}"), "{field}: {:#}", refused.body);
        }
        let path = format!("/audit?action={}", bad.replace('\0', "%00").replace('\u{1b}', "%1B"));
        ensure!(up.rest.get(&path).await?.status == 400, "{path}");
    }
    for (field, part) in [
        ("run", json!({ "run": "a\u{0}b" })),
        ("run", json!({ "run": ["a", "\u{0}"] })),
        ("fix", json!({ "fix": "a\u{0}b" })),
        ("env", json!({ "env": { "A": "\u{0}" } })),
    ] {
        let refused = up.rest.post("/specs", &step(part)).await?;
        ensure!(refused.status == 400, "{field}: {:#}", refused.body);
        let pointer = &refused.body["errors"][0]["source"]["pointer"];
        ensure!(*pointer == format!("/data/attributes/steps/0/{field}"), "{:#}", refused.body);
    }
    let lines = json!({ "notes": "two\r\n\tlines" });
    up.rest.post(&format!("/runs/{run}/approve"), &lines).await?.with(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_writes_into_its_error_is_on_record_without_what_no_database_takes()
-> Result<()> {
    let (up, _folder) = up().await?;
    let run = "printf 'src/a.c:1:1: error: expected \\000 before x\\n' >&2; exit 1";
    let spec = up.rest.planned(&spec(json!([{ "name": "s", "run": run }]))).await?;
    let run = up.rest.run(&spec, &json!({ "async": false })).await?;
    up.rest.until_status(&run, "failed").await?;
    let told = up.rest.get("/audit?action=autofix.").await?.with(200)?;
    let told = told["data"].as_array().context("a list")?;
    ensure!(!told.is_empty(), "nothing of the loop is on record");
    ensure!(!json!(told).to_string().contains("\\u0000"), "{told:#?}");
    Ok(())
}
