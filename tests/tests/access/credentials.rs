//! What is no credential, and what is one no more.

use crate::people::{Tenant, text, up};
use anyhow::{Context, Result, bail, ensure};
use meta_domain::role::Role;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::tenant_service_client::TenantServiceClient;
use meta_tests::processes::{Answer, Rest, Up};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Request};

/// How long an ended key may still be believed: what the gateway remembers, and time to ask.
const BELIEVED_MAX: Duration = Duration::from_secs(15);

/// The status of a request with these header lines, sent as they are.
async fn raw(up: &Up, headers: &str) -> Result<u16> {
    let address = up.url.strip_prefix("http://").context("an address")?;
    let mut socket = TcpStream::connect(address).await?;
    let head = format!(
        "GET /api/meta/v2/caller HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
    );
    socket.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).context("a status")?;
    Ok(status.parse()?)
}

/// The code of a call with these metadata.
async fn call(up: &Up, credentials: &[&str]) -> Result<Code> {
    let channel = meta_runtime::transport::remote(&up.grpc, "").map_err(anyhow::Error::msg)?;
    let mut request = Request::new(pb::GetCallerRequest {});
    for credential in credentials {
        request.metadata_mut().append("authorization", credential.parse()?);
    }
    let answer = TenantServiceClient::new(channel).get_caller(request).await;
    Ok(answer.err().map_or(Code::Ok, |status| status.code()))
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_two_credentials_are_none() -> Result<()> {
    let (up, _folder) = up().await?;
    let bearer = format!("authorization: Bearer {}\r\n", up.key);
    ensure!(raw(&up, &bearer).await? == 200);
    for headers in [
        bearer.repeat(2),
        format!("{bearer}authorization: Bearer mb_other\r\n"),
        format!("authorization: Basic bWI6\r\n{bearer}"),
        format!("authorization: Bearer {0}, Bearer {0}\r\n", up.key),
    ] {
        let status = raw(&up, &headers).await?;
        ensure!([400, 401].contains(&status), "{headers}: {status}");
    }
    let evaluate = "/ofrep/v1/evaluate/flags";
    let both = up.rest.elsewhere(Method::POST, evaluate).header("x-api-key", &up.key);
    ensure!(both.send().await?.status() == 401);
    let bearer = format!("Bearer {}", up.key);
    ensure!(call(&up, &[&bearer]).await? == Code::Ok);
    ensure!(call(&up, &[&bearer, &bearer]).await? == Code::Unauthenticated);
    ensure!(call(&up, &[&bearer, "Bearer mb_other"]).await? == Code::Unauthenticated);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h9_a_part_of_a_key_or_one_that_is_written_otherwise_is_none() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let key = tenant.role(Role::Owner).key().to_owned();
    ensure!(key.starts_with("mb_") && key.len() > 100, "{} characters", key.len());
    let public = key.rsplit_once('_').context("a secret")?.0.to_owned();
    let upper = key.replacen("mb_", "", 1).to_uppercase();
    let other = key.chars().rev().collect::<String>();
    for bad in [
        public.clone(),
        format!("{public}_"),
        key[..key.len() - 1].to_owned(),
        format!("{key}0"),
        format!("{key}_0"),
        format!("mb_{upper}"),
        key.to_uppercase(),
        format!(" {key}"),
        format!("{key} x"),
        format!("{public}_{}", "0".repeat(64)),
        other,
    ] {
        let status = raw(&up, &format!("authorization: Bearer {bad}\r\n")).await?;
        ensure!(status == 401, "{bad:?}: {status}");
        let code = call(&up, &[&format!("Bearer {bad}")]).await?;
        ensure!(code == Code::Unauthenticated, "{bad:?}: {code:?}");
    }
    for bad in [format!("Basic {key}"), format!("Token {key}"), key.clone()] {
        ensure!(raw(&up, &format!("authorization: {bad}\r\n")).await? == 401, "{bad:?}");
        ensure!(call(&up, &[&bad]).await? == Code::Unauthenticated, "{bad:?}");
    }
    tenant.role(Role::Owner).get("/caller").await?.with(200)?;
    Ok(())
}

/// Waits until a caller is refused; how long that took.
async fn refused(rest: &Rest) -> Result<Duration> {
    let started = Instant::now();
    loop {
        match rest.get("/caller").await?.status {
            401 => return Ok(started.elapsed()),
            200 if started.elapsed() < BELIEVED_MAX => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => bail!("{other} after {:?}", started.elapsed()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h28_an_ended_key_is_refused_everywhere_within_the_time_of_the_cache() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let owner = tenant.role(Role::Owner);
    let path = format!("/tenants/{}/keys", tenant.id);

    let made = owner.post(&path, &json!({ "name": "a", "role": "admin" })).await?.with(201)?;
    let rest = owner.with_key(&text(&made["data"]["attributes"]["api_key"])?);
    rest.get("/caller").await?.with(200)?;
    let form = format!("to=%2Fruns&key={}", rest.key());
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let request = http.post(format!("{}/sign-in", up.url)).header("origin", &up.url).body(form);
    let signed = request.header("content-type", "application/x-www-form-urlencoded");
    let signed = signed.send().await?;
    let cookie = signed.headers()["set-cookie"].to_str()?.split(';').next().unwrap_or_default();
    let page = || http.get(format!("{}/api/meta/v2/caller", up.url)).header("cookie", cookie);
    ensure!(page().send().await?.status() == 200);

    let one = format!("{path}/{}", text(&made["data"]["id"])?);
    Answer::of(owner.request(Method::DELETE, &one).send().await?).await?.with(200)?;
    // who asks the orchestrator itself is refused at once
    let bearer = format!("Bearer {}", rest.key());
    ensure!(call(&up, &[&bearer]).await? == Code::Unauthenticated);
    refused(&rest).await?;
    let started = Instant::now();
    while page().send().await?.status() == 200 {
        ensure!(started.elapsed() < BELIEVED_MAX, "the browser is still signed in");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let end = meta_runtime::now().plus_ms(3_000).to_string();
    let new = json!({ "name": "b", "role": "viewer", "expires_at": end });
    let made = owner.post(&path, &new).await?.with(201)?;
    let short = owner.with_key(&text(&made["data"]["attributes"]["api_key"])?);
    short.get("/caller").await?.with(200)?;
    refused(&short).await?;
    let tried = owner.get("/audit?action=key.used").await?.with(200)?;
    ensure!(tried["data"][0]["attributes"]["denied"] == true, "{tried:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_key_makes_no_key_and_no_user_that_may_do_more() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let owner = tenant.role(Role::Owner);
    let path = format!("/tenants/{}/keys", tenant.id);
    let key = |scopes: Value| json!({ "name": "k", "role": "viewer", "scopes": scopes });
    let limited = json!({ "name": "k", "role": "owner", "scopes": ["manage", "runs"] });
    let limited = owner.post(&path, &limited).await?.with(201)?;
    let limited = owner.with_key(&text(&limited["data"]["attributes"]["api_key"])?);
    for scopes in [json!([]), json!(["read"]), json!(["manage", "audit"])] {
        let refused = limited.post(&path, &key(scopes.clone())).await?;
        ensure!(refused.status == 403, "{scopes}: {:#}", refused.body);
        ensure!(refused.error().0 == "scope_too_wide", "{:#}", refused.body);
    }
    for scopes in [json!(["runs"]), json!(["manage", "runs"])] {
        limited.post(&path, &key(scopes)).await?.with(201)?;
    }
    let user = json!({ "email": "more@own.example", "role": "viewer" });
    let refused = limited.post(&format!("/tenants/{}/users", tenant.id), &user).await?;
    ensure!((refused.status, refused.error().0.as_str()) == (403, "scope_too_wide"));
    owner.post(&path, &key(json!(["audit"]))).await?.with(201)?;
    Ok(())
}
