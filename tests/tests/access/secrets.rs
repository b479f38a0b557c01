//! A registered secret is kept and sent nowhere, however a step shows it.

use crate::people::text;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use meta_tests::processes::collector::{Collector, Kept};
use meta_tests::processes::{Deployment, LIMIT, SERVICES};
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The secret, which no file of the test spells in one piece.
fn secret() -> String {
    ["qW7zR2", "pL9xK4", "vT8mB3", "nY6cH1"].concat()
}

/// A step that puts the secret together from pieces and shows it in this way.
fn step(name: &str, show: &str) -> serde_json::Value {
    let run = format!("a=qW7zR2; b=pL9xK4; c=vT8mB3; d=nY6cH1; s=\"$a$b$c$d\"; {show}");
    json!({ "name": name, "run": run })
}

/// Every way in which a step shows it.
fn steps() -> Vec<serde_json::Value> {
    let last = |name: &str, show: &str| {
        let mut step = step(name, show);
        step["needs"] = json!([]);
        step
    };
    vec![
        last("raw", "echo \"$s\"; echo \"x${s}y\" >&2"),
        last("base64", "printf %s \"$s\" | base64; printf 'user:%s' \"$s\" | base64"),
        last("url", "printf %s \"$s\" | od -An -tx1 | tr -d ' \\n' >/dev/null; echo \"?t=$s&x=1\""),
        last(
            "wrapped",
            "i=0; while [ $i -lt 12 ]; do printf '%s=%s;' $i \"$s\"; i=$((i+1)); done | base64 -w 60; \
             i=0; while [ $i -lt 12 ]; do printf 'u%s=%s;' $i \"$s\"; i=$((i+1)); done | base64 -w 76",
        ),
        last(
            "bytes",
            "t=$s; while [ -n \"$t\" ]; do r=${t#?}; printf %s \"${t%\"$r\"}\"; t=$r; done; echo",
        ),
        last("colours", "printf '%s\\033[31m%s\\033[0m%s%s\\n' $a $b $c $d"),
        last(
            "long",
            "head -c 10000000 /dev/zero | tr '\\0' x; printf %s \"$s\"; \
                      head -c 10000000 /dev/zero | tr '\\0' y; echo",
        ),
        last("json", "printf '{\"k\":\"%s\"}\\n' \"$s\""),
        last("file", "mkdir -p src; echo \"$s\" >src/made.txt; cat src/made.txt"),
        last(
            "error",
            "echo \"FAILED tests/test_a.py::test_a - AssertionError: assert '$s' == 'x'\"; \
             echo \"E       AssertionError: assert '$s' == 'x'\"; \
             echo \"E   src/a.py:3: AssertionError: $s\"; exit 1",
        ),
    ]
}

type Told = Arc<Mutex<Vec<Vec<u8>>>>;

/// Listens, and keeps each body that comes.
async fn receiver() -> Result<(Told, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (told, port) = (Told::default(), listener.local_addr()?.port());
    let kept = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move { receive(stream, &kept).await.is_ok() });
        }
    });
    Ok((told, port))
}

async fn receive(stream: TcpStream, told: &Told) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        told.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        stream.write_all(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n").await?;
    }
}

/// The forms of the secret that may be nowhere: as it is, as parts of other texts hold it in base64,
/// in hex, and backwards over line ends.
fn forms(secret: &str) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![("raw".to_owned(), secret.as_bytes().to_vec())];
    for before in 0..3_usize {
        let text = [&"\0\0"[..before.min(2)], secret].concat();
        for (name, shown) in [
            ("base64", BASE64_STANDARD.encode(&text)),
            ("base64url", BASE64_URL_SAFE_NO_PAD.encode(&text)),
        ] {
            // whole digits of the secret alone
            let from = [0, 2, 3][before];
            let to = text.len() * 8 / 6;
            forms.push((format!("{name} at {before}"), shown.as_bytes()[from..to].to_vec()));
        }
    }
    forms
}

/// Bytes without line ends and without commands to a terminal, as somebody reads them.
fn plain(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            0x1b if bytes.get(at + 1) == Some(&b'[') => {
                let end = bytes[at + 2..].iter().position(|b| (0x40..=0x7e).contains(b));
                at += end.map_or(2, |end| end + 3);
            }
            // as JSON writes the same
            b'\\' if bytes[at..].starts_with(b"\\u001b[") => {
                let end = bytes[at + 7..].iter().position(|b| (0x40..=0x7e).contains(b));
                at += end.map_or(7, |end| end + 8);
            }
            b'\\' if bytes.get(at + 1) == Some(&b'n') => at += 2,
            b'\n' | b'\r' => at += 1,
            byte => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

fn check(what: &str, bytes: &[u8], secret: &str) -> Result<()> {
    let read = plain(bytes);
    for (name, form) in forms(secret) {
        for (how, bytes) in [("", bytes), (" over line ends", read.as_slice())] {
            let found = bytes.windows(form.len()).position(|w| w == form);
            let around = found.map(|at| {
                let (from, to) = (at.saturating_sub(60), (at + form.len() + 60).min(bytes.len()));
                String::from_utf8_lossy(&bytes[from..to]).into_owned()
            });
            ensure!(around.is_none(), "{what} holds the secret ({name}{how}): {around:?}");
        }
    }
    Ok(())
}

/// Folders of a run with the files that steps made: the tenant's own, secrets and all.
const OF_THE_TENANT: [&str; 5] = ["ws", "history.git", "heal", "states", "restored"];

/// Every file below a folder but the workspaces of steps, which are the tenant's own.
fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let about = path.symlink_metadata()?;
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if about.is_dir() && !OF_THE_TENANT.contains(&name) {
            files(&path, found)?;
        } else if about.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h18_a_registered_secret_is_in_no_database_log_answer_webhook_or_telemetry_in_any_form()
-> Result<()> {
    let (told, port) = receiver().await?;
    let (collector, secret, port) = (Collector::start().await?, secret(), port.to_string());
    let mut vars = vec![
        ("orchestrator", "METABUILDER__WEBHOOKS__ALLOW_HTTP", "true"),
        ("orchestrator", "METABUILDER__WEBHOOKS__NETWORKS", "127.0.0.0/8"),
        ("orchestrator", "METABUILDER__WEBHOOKS__PORTS", port.as_str()),
        ("runner", "DEPLOY_TOKEN", secret.as_str()),
        ("flag-resolver", "META_V3_BACKOFF_CAP_SECONDS", "10"),
    ];
    for (name, value) in collector.vars() {
        let processes = SERVICES.iter().map(|(process, _)| *process).chain(["gateway"]);
        vars.extend(processes.map(|process| (process, name, value)));
    }
    let deployment = Deployment::start_with(&vars).await?;
    let rest = &deployment.rest;
    let hook = json!({ "url": format!("http://127.0.0.1:{port}/hook") });
    rest.post("/webhooks", &hook).await?.with(201)?;
    // a name cannot be masked, since it is how a step is called: it is refused
    let named = ["ghp", "_", &secret].concat();
    let named = json!([{ "name": named, "run": "true" }]);
    let spec = json!({ "title": "t", "mode": "freeform", "steps": named });
    let refused = rest.post("/specs", &spec).await?;
    ensure!(refused.status == 400, "{:#}", refused.body);
    ensure!(refused.body["errors"][0]["source"]["pointer"] == "/data/attributes/steps/0/name");
    check("a refusal", refused.body.to_string().as_bytes(), &secret)?;
    let steps = steps();
    let count = steps.len();
    let spec = json!({ "title": "t", "mode": "freeform", "steps": steps });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    let waited = tokio::time::timeout(LIMIT * 2, async {
        loop {
            let now = rest.run_now(&run).await?;
            if ["failed", "paused_awaiting_approval"].contains(&text(&now["status"])?.as_str()) {
                return anyhow::Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let now = waited.await.context("the run does not end")??;
    let states = rest.steps(&run).await?;
    let passed = states.values().filter(|s| s["status"] == "succeeded").count();
    ensure!(passed == count - 1, "{passed} of {count}: {now:#} {states:#?}");

    // what anybody is shown
    let mut shown = Vec::new();
    for path in [
        "",
        "/autofix",
        "/escalation",
        "/plan-delta",
        "/events?per_page=100",
        "/logs",
        "/steps/error/why",
        "/artifacts/log",
    ] {
        let path = format!("/runs/{run}{path}");
        let answer = rest.request(reqwest::Method::GET, &path).send().await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        shown.push((path, answer.bytes().await?));
    }
    let log = &shown.iter().find(|(path, _)| path.ends_with("/logs")).context("the log")?.1;
    let masked = log.windows(3).filter(|w| w == b"***").count();
    ensure!(
        masked >= count,
        "only {masked} are masked:\n{}",
        String::from_utf8_lossy(&log[..4000.min(log.len())])
    );
    for (path, bytes) in &shown {
        check(path, bytes, &secret)?;
    }
    // what receivers were told
    {
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(told.len() > count, "{} messages", told.len());
        for body in &told {
            check("a webhook's body", body, &secret)?;
        }
    }
    // what is kept, and what the processes said of themselves
    let mut kept = Vec::new();
    files(deployment.folder.path(), &mut kept)?;
    ensure!(kept.iter().any(|f| f.extension().is_some_and(|e| e == "db")), "{kept:?}");
    for file in kept {
        check(&file.display().to_string(), &std::fs::read(&file)?, &secret)?;
    }
    let gateway = ("gateway", &deployment.gateway);
    for (name, service) in deployment.services.iter().map(|(n, s)| (*n, s)).chain([gateway]) {
        let (out, err) = service.process.said();
        check(&format!("{name}'s log"), format!("{out}{err}").as_bytes(), &secret)?;
    }
    sent_nowhere(&collector, &run, &secret).await
}

/// What a collector was sent: spans, lines and measurements, whole messages of them.
async fn sent_nowhere(collector: &Collector, run: &str, secret: &str) -> Result<()> {
    let of_steps = |kept: &Kept| {
        let executed = kept.spans.iter().filter(|t| t.span.name.starts_with("execute ")).count();
        executed >= steps().len() && kept.lines.iter().any(|line| line.body == "a run has ended")
    };
    collector.until("spans of the steps and lines of the processes", of_steps).await?;
    let of_run = |kept: &Kept| kept.messages.iter().any(|(_, bytes)| holds(bytes, run.as_bytes()));
    collector.until("something that names the run", of_run).await?;
    let kept = collector.kept();
    for about in ["spans", "lines", "metrics"] {
        ensure!(kept.messages.iter().any(|(of, _)| *of == about), "no {about} were sent");
    }
    for (about, bytes) in &kept.messages {
        check(&format!("{about} for a collector"), bytes, secret)?;
    }
    Ok(())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
