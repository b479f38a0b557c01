//! Limits: of tenants, of addresses that guess keys, of connections.

use anyhow::{Context, Result, ensure};
use meta_domain::role::Role;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::spec_service_client::SpecServiceClient;
use meta_tests::processes::{LIMIT, Rest, Up};
use meta_tests::stack::{Stack, Without, caller};
use orchestrator::DEFAULT_TENANT;
use orchestrator::config::Limits;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt;

fn spec() -> Value {
    json!({ "title": "t", "mode": "freeform", "steps": [{ "name": "s", "run": "true" }] })
}

/// A user of a new tenant.
async fn user(up: &Up, tenant: &str) -> Result<Rest> {
    let made = up.rest.post("/tenants", &json!({ "name": tenant })).await?.with(201)?;
    let tenant = made["data"]["id"].as_str().context("an id")?;
    let user = json!({ "email": "ann@example.org", "role": "owner" });
    let user = up.rest.post(&format!("/tenants/{tenant}/users"), &user).await?.with(201)?;
    Ok(up.rest.with_key(user["data"]["attributes"]["api_key"].as_str().context("a key")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn h14_the_21st_spec_of_an_hour_is_429_and_no_other_tenant_feels_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let (one, other) = (user(&up, "one").await?, user(&up, "other").await?);
    for n in 1..=19 {
        let made = one.post("/specs", &spec()).await?;
        let left = made.headers.get("ratelimit").context("a RateLimit header")?.to_str()?;
        ensure!(left.starts_with(&format!("\"specs\";r={};t=", 20 - n)), "{n}: {left}");
        ensure!(made.headers["ratelimit-policy"] == "\"specs\";q=20;w=3600");
        made.with(201)?;
    }
    let at_once = (0..20).map(|_| {
        let one = one.clone();
        tokio::spawn(async move { one.post("/specs", &spec()).await })
    });
    let mut made = 0;
    for asked in at_once.collect::<Vec<_>>() {
        let answer = asked.await??;
        if answer.status == 201 {
            made += 1;
            continue;
        }
        ensure!(answer.error().0 == "specs_per_hour", "{:#}", answer.body);
        ensure!(answer.status == 429, "{}", answer.status);
        let wait: u64 = answer.headers["retry-after"].to_str()?.parse()?;
        ensure!((1..=180).contains(&wait), "{wait}");
        ensure!(answer.headers["ratelimit"].to_str()?.starts_with("\"specs\";r=0;t="));
    }
    ensure!(made == 1, "{made} of 20 passed with one left");
    other.post("/specs", &spec()).await?.with(201)?;
    // what is wrong in itself costs nothing, and who operates the installation is not counted
    other.post("/specs", &json!({ "title": "", "mode": "x" })).await?.with(400)?;
    let left = other.post("/specs", &spec()).await?;
    ensure!(left.headers["ratelimit"].to_str()?.starts_with("\"specs\";r=18;"));
    for _ in 0..25 {
        up.rest.post("/specs", &spec()).await?.with(201)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h14_a_used_up_quota_survives_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let vars = [("METABUILDER_LIMITS", "specs=2")];
    let up = Up::start(&data, &vars).await?;
    let one = user(&up, "one").await?;
    one.post("/specs", &spec()).await?.with(201)?;
    one.post("/specs", &spec()).await?.with(201)?;
    up.process.kill().await?;
    let up = Up::start(&data, &vars).await?;
    let refused = up.rest.with_key(one.key()).post("/specs", &spec()).await?;
    ensure!(refused.status == 429, "{:#}", refused.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_caller_is_told_when_to_come_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = orchestrator::Config {
        data_dir: folder.path().to_owned(),
        own_leases: true,
        limits: Limits { specs_per_hour: 1, ..Limits::NONE },
        ..Default::default()
    };
    let stack = Stack::with(config, &[], Without::default()).await?;
    let mut specs = SpecServiceClient::new(stack.orchestrator.clone());
    let ask = || {
        let request = pb::CreateSpecRequest {
            title: "t".into(),
            mode: pb::SpecMode::Freeform.into(),
            ..Default::default()
        };
        meta_runtime::call(&caller(DEFAULT_TENANT, Role::Member), LIMIT, request)
    };
    let made = specs.create_spec(ask()).await?;
    ensure!(made.metadata().get("ratelimit").is_some());
    let refused = specs.create_spec(ask()).await.err().context("refused")?;
    ensure!(refused.code() == Code::ResourceExhausted, "{refused:?}");
    let details = refused.get_error_details();
    let wait = details.retry_info().and_then(|r| r.retry_delay).context("RetryInfo")?;
    ensure!(wait > Duration::from_secs(3_500) && wait <= Duration::from_hours(1), "{wait:?}");
    ensure!(details.quota_failure().is_some(), "{details:?}");
    ensure!(details.error_info().is_some_and(|i| i.reason == "SPECS_PER_HOUR"));
    stack.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_keys_is_stopped_and_known_keys_go_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    up.rest.get("/caller").await?.with(200)?;
    let mut statuses = Vec::new();
    for n in 0..40 {
        let guess = up.rest.with_key(&format!("mb_guess_{n}"));
        // a header that anybody can write makes it no other address
        let request = guess.request(reqwest::Method::GET, "/caller");
        let answer = request.header("x-forwarded-for", format!("198.51.100.{n}")).send().await?;
        if answer.status() == 429 {
            ensure!(answer.headers().contains_key("retry-after"));
        }
        statuses.push(answer.status().as_u16());
    }
    ensure!(statuses[..30].iter().all(|s| *s == 401), "{statuses:?}");
    ensure!(statuses[35..].contains(&429), "{statuses:?}");
    up.rest.get("/caller").await?.with(200)?;
    Ok(())
}

/// Sends bytes and reads until the server closes; how long that took.
async fn closed(address: &str, head: &[u8]) -> Result<(Duration, String)> {
    let started = Instant::now();
    let mut socket = TcpStream::connect(address).await?;
    // the server may answer and close before all is written
    let _ = socket.write_all(head).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_mins(1), socket.read_to_end(&mut answer));
    let _ = read.await.context("the connection stays open")?;
    Ok((started.elapsed(), String::from_utf8_lossy(&answer).into_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn h21_connections_that_say_nothing_or_too_much_are_closed_and_others_are_answered()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let address = up.url.strip_prefix("http://").context("an address")?.to_owned();
    let grpc = up.grpc.strip_prefix("http://").context("an address")?.to_owned();
    let many = "x-a: b\r\n".repeat(10_000);
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let large = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "b".repeat(1 << 20));
    let slow = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ".to_vec();
    let silent: Vec<_> = [b"".to_vec(), b"P".to_vec(), slow]
        .into_iter()
        .flat_map(|head| [(address.clone(), head.clone()), (grpc.clone(), head)])
        .map(|(at, head)| tokio::spawn(async move { closed(&at, &head).await }))
        .collect();
    for (text, what) in [(&many, "10,000 headers"), (&large, "a header of 1 MiB")] {
        let (_, answer) = closed(&address, text.as_bytes()).await?;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
    }
    up.rest.get("/caller").await?.with(200)?;
    for one in silent {
        let (after, answer) = one.await??;
        ensure!(after < Duration::from_secs(40), "{after:?}: {answer}");
    }
    up.rest.get("/caller").await?.with(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h21_a_message_of_100_mb_is_refused_and_the_connection_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let channel = meta_runtime::transport::remote(&up.grpc, &up.key).map_err(anyhow::Error::msg)?;
    let mut specs = SpecServiceClient::new(channel).max_encoding_message_size(usize::MAX);
    let request = |bytes: usize| pb::CreateSpecRequest {
        title: "t".into(),
        mode: pb::SpecMode::Freeform.into(),
        guided_input_json: " ".repeat(bytes),
        ..Default::default()
    };
    let refused = specs.create_spec(request(100 * 1024 * 1024)).await.err().context("refused")?;
    let codes = [Code::ResourceExhausted, Code::OutOfRange, Code::Unknown, Code::Internal];
    ensure!(codes.contains(&refused.code()), "{refused:?}");
    specs.create_spec(request(0)).await?;
    Ok(())
}
