//! What goes on ends with its credential.

use crate::people::{Tenant, text, up};
use anyhow::{Context, Result, bail, ensure};
use meta_domain::role::Role;
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_tests::processes::{Answer, Rest, Up};
use reqwest::{Method, Response};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::Code;

/// A stream may outlive its credential by this much.
const OUTLIVES_MAX: Duration = Duration::from_mins(1);

/// How a stream that broke or ended left off, and how long that took.
async fn ended(mut response: Response) -> Result<(String, bool, Duration)> {
    let started = Instant::now();
    let mut said = String::new();
    loop {
        let left = OUTLIVES_MAX.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, response.chunk()).await {
            Ok(Ok(Some(piece))) => said.push_str(&String::from_utf8_lossy(&piece)),
            Ok(Ok(None)) => return Ok((said, true, started.elapsed())),
            Ok(Err(_)) => return Ok((said, false, started.elapsed())),
            Err(_) => bail!("it goes on: {said}"),
        }
    }
}

/// Every kind of stream over HTTP, opened by one caller.
async fn open(rest: &Rest, run: &str) -> Result<Vec<(&'static str, Response)>> {
    let sse = "text/event-stream";
    let ndjson = "application/x-ndjson";
    let mut streams = Vec::new();
    for (name, path, media) in [
        ("events", format!("/api/meta/v2/runs/{run}/events"), sse),
        ("events, lines", format!("/api/meta/v2/runs/{run}/events?follow=true"), ndjson),
        ("logs", format!("/api/meta/v2/runs/{run}/logs"), sse),
        ("logs, text", format!("/api/meta/v2/runs/{run}/logs?follow=true"), "text/plain"),
        ("flags", "/ofrep/v1/events".to_owned(), sse),
        ("a page's changes", format!("/runs/{run}/changes"), sse),
        ("a page's log", format!("/runs/{run}/log-lines?step=first"), sse),
    ] {
        let request = rest.elsewhere(Method::GET, &path).header("accept", media);
        let answer = request.timeout(OUTLIVES_MAX * 2).send().await?;
        ensure!(answer.status() == 200, "{name}: {}", answer.status());
        streams.push((name, answer));
    }
    Ok(streams)
}

async fn check(streams: Vec<(&'static str, Response)>, status: u16) -> Result<()> {
    let waiting = streams
        .into_iter()
        .map(|(name, stream)| tokio::spawn(async move { (name, ended(stream).await) }));
    for waiting in waiting.collect::<Vec<_>>() {
        let (name, ended) = waiting.await?;
        let (said, whole, _) = ended.with_context(|| name.to_owned())?;
        let events = said.contains("retry:") || said.contains("event: ") || name == "flags";
        if events || name.starts_with("a page") {
            let last = said.rsplit("event: ").next().unwrap_or_default();
            ensure!(last.starts_with("problem\n"), "{name}: {said}");
            ensure!(last.contains(&format!("\"status\":{status}")), "{name}: {said}");
        } else {
            ensure!(!whole, "{name} looks whole: {said}");
        }
    }
    Ok(())
}

async fn followed(
    up: &Up,
    key: &str,
    run: &str,
) -> Result<tonic::Streaming<pb::StreamEventsResponse>> {
    let channel = meta_runtime::transport::remote(&up.grpc, key).map_err(anyhow::Error::msg)?;
    let request = pb::StreamEventsRequest { run_id: run.to_owned(), after_seq: 0, follow: true };
    Ok(RunServiceClient::new(channel).stream_events(request).await?.into_inner())
}

async fn status_of(mut stream: tonic::Streaming<pb::StreamEventsResponse>) -> Result<Code> {
    let waited = tokio::time::timeout(OUTLIVES_MAX, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => bail!("it ended as if it were whole"),
                Err(status) => return Ok(status.code()),
            }
        }
    });
    waited.await.context("it goes on")?
}

/// Takes from a key all that it may do but reading the audit, as an operator would.
async fn downgrade(data: &Path, id: &str) -> Result<()> {
    let options = SqliteConnectOptions::new()
        .filename(data.join("metabuilder.db"))
        .busy_timeout(Duration::from_secs(10));
    let pool = sqlx::SqlitePool::connect_with(options).await?;
    let id: uuid::Uuid = id.parse()?;
    let changed = sqlx::query("UPDATE api_keys SET scopes = 'audit' WHERE id = $1")
        .bind(id)
        .execute(&pool)
        .await?;
    ensure!(changed.rows_affected() == 1, "{changed:?}");
    pool.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h13_streams_end_when_their_key_is_ended_or_may_no_longer_read() -> Result<()> {
    let (up, folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let owner = tenant.role(Role::Owner);
    let objects = tenant.objects().await?;
    let run = objects.get("run_id").context("a run")?.to_owned();
    let keys = format!("/tenants/{}/keys", tenant.id);
    for how in ["revoked", "downgraded"] {
        let made = owner.post(&keys, &json!({ "name": how, "role": "admin" })).await?.with(201)?;
        let (id, key) = (text(&made["data"]["id"])?, text(&made["data"]["attributes"]["api_key"])?);
        let rest = owner.with_key(&key);
        let streams = open(&rest, &run).await?;
        let grpc = followed(&up, &key, &run).await?;
        let mut others = open(owner, &run).await?;
        let (status, code) = if how == "revoked" {
            let ended = owner.request(Method::DELETE, &format!("{keys}/{id}")).send().await?;
            Answer::of(ended).await?.with(200)?;
            (401, Code::Unauthenticated)
        } else {
            downgrade(&folder.path().join("data"), &id).await?;
            (403, Code::PermissionDenied)
        };
        let ended = tokio::spawn(status_of(grpc));
        check(streams, status).await.context(how)?;
        let got = ended.await??;
        ensure!(got == code, "{how}: {got:?}");
        // those of others go on
        for (name, stream) in &mut others {
            let more = tokio::time::timeout(Duration::from_millis(50), async {
                while let Ok(Some(_)) = stream.chunk().await {}
            });
            ensure!(more.await.is_err(), "{name} of somebody else has ended");
        }
    }
    Ok(())
}
