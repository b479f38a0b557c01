//! `Idempotency-Key` over real processes: two gateways, restarts, and two equal requests at once.

use anyhow::{Result, ensure};
use meta_tests::processes::{Deployment, Up};
use serde_json::{Value, json};

fn spec(title: &str) -> Value {
    json!({ "title": title, "mode": "freeform", "steps": [{ "name": "s", "run": "true" }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_requests_at_once_through_two_gateways_one_does_the_work() -> Result<()> {
    let deployment = Deployment::start().await?;
    let (other, rest) = deployment.another_gateway().await?;
    let spec = spec("once");
    let asked = (0..12).map(|n| {
        let through = if n % 2 == 0 { deployment.rest.clone() } else { rest.clone() };
        let spec = spec.clone();
        tokio::spawn(async move { through.post_once("/specs", "k-1", &spec).await })
    });
    let mut ids = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        let answer = asked.await??;
        match answer.status {
            201 => ids.push(answer.body["data"]["id"].clone()),
            409 => ensure!(answer.error().0 == "idempotency_in_progress", "{:#}", answer.body),
            other => anyhow::bail!("{other}: {:#}", answer.body),
        }
    }
    ensure!(!ids.is_empty() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = rest.post_once("/specs", "k-1", &spec).await?;
    ensure!(again.headers.get("idempotency-replayed").is_some_and(|v| v == "true"));
    ensure!(again.with(201)?["data"]["id"] == ids[0]);
    let reused = rest.post_once("/specs", "k-1", &self::spec("other")).await?;
    ensure!((reused.status, reused.error().0.as_str()) == (422, "idempotency_key_reused"));
    let all = rest.get("/specs?per_page=100").await?.with(200)?;
    ensure!(all["data"].as_array().map(Vec::len) == Some(1), "{all:#}");
    drop(other);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_a_kill_and_a_secret_in_it_is_stored_sealed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let up = Up::start(&data, &[]).await?;
    let user = json!({ "email": "ann@example.org", "role": "member" });
    let caller = up.rest.get("/caller").await?.with(200)?;
    let path = format!("/tenants/{}/users", caller["data"]["id"].as_str().unwrap_or_default());
    let first = up.rest.post_once(&path, "u-1", &user).await?.with(201)?;
    let key = first["data"]["attributes"]["api_key"].as_str().unwrap_or_default().to_owned();
    ensure!(key.len() > 20, "{first:#}");
    up.process.kill().await?;

    let up = Up::start(&data, &[]).await?;
    let again = up.rest.post_once(&path, "u-1", &user).await?.with(201)?;
    ensure!(again == first, "{again:#}");
    let mut looked = 0;
    for entry in std::fs::read_dir(&data)? {
        let path = entry?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path)?;
            let found = bytes.windows(key.len()).any(|w| w == key.as_bytes());
            ensure!(!found, "{} holds the API key", path.display());
            looked += 1;
        }
    }
    ensure!(looked > 0, "there is a database");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_failed_may_be_sent_again_with_its_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let made = up.rest.post("/specs", &spec("a")).await?.with(201)?;
    let runs = format!("/specs/{}/runs", made["data"]["id"].as_str().unwrap_or_default());
    let refused = up.rest.post_once(&runs, "r-1", &json!({})).await?;
    ensure!((refused.status, refused.error().0.as_str()) == (409, "no_plan"), "{:#}", refused.body);
    let plan = runs.replace("/runs", "/plan");
    up.rest.post(&plan, &json!({})).await?.with(201)?;
    let mut done = up.rest.post_once(&runs, "r-1", &json!({})).await?;
    for _ in 0..50 {
        if done.status != 409 {
            break;
        }
        done = up.rest.post_once(&runs, "r-1", &json!({})).await?;
    }
    ensure!(done.status == 201, "{:#}", done.body);
    Ok(())
}
