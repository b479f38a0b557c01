//! `scripts/seed_staging_v3.sh` against `metabuilder up`.

use crate::shell::{Ended, command, run};
use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Rest, Up};
use reqwest::Client;
use std::path::Path;

async fn seed(up: &Up, folder: &Path) -> Result<Ended> {
    let mut script = command("scripts/seed_staging_v3.sh");
    script.arg(&up.url).env("METABUILDER_TOKEN", &up.key).env("SEED_KEY_FILE", folder.join("key"));
    run(script.env_remove("METABUILDER_URL")).await
}

/// The value behind a word of what the script printed.
fn said<'a>(out: &'a str, word: &str) -> Result<&'a str> {
    let line = out.lines().find_map(|l| l.trim_start().strip_prefix(word));
    line.map(str::trim).with_context(|| format!("{word} is not in\n{out}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeded_run_heals_waits_at_its_gate_and_its_addresses_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let out = seed(&up, folder.path()).await?.ok()?;
    let run_id = said(&out, "run ")?.to_owned();
    assert_eq!(said(&out, "status")?, "paused_awaiting_approval");

    let key = std::fs::read_to_string(folder.path().join("key"))?;
    ensure!(!out.contains(key.trim()), "the key is printed");
    let rest = Rest::new(&up.url, key.trim())?;
    let steps = rest.steps(&run_id).await?;
    assert_eq!(steps["format"]["status"], "succeeded", "{:#}", steps["format"]);
    assert_eq!(steps["fetch"]["flaky"], true, "{:#}", steps["fetch"]);
    assert_eq!(steps["package"]["status"], "pending");
    let escalation = rest.get(&format!("/runs/{run_id}/escalation")).await?.with(200)?;
    ensure!(escalation.to_string().contains("generic-api-key"), "{escalation:#}");

    let http = Client::new();
    let addresses: Vec<&str> =
        out.split_whitespace().filter(|w| w.starts_with(&up.url) && w.contains(&run_id)).collect();
    ensure!(addresses.len() >= 5, "addresses of the run: {addresses:?}");
    for address in addresses {
        let accept =
            if address.contains("/api/") { "application/vnd.api+json" } else { "text/html" };
        let answer = http.get(address).bearer_auth(key.trim()).header("accept", accept);
        let answer = answer.send().await?;
        assert_eq!(answer.status(), 200, "{address}");
        let kind = answer.headers()["content-type"].to_str()?.to_owned();
        ensure!(kind.starts_with(accept), "{address} is {kind}");
        ensure!(answer.text().await?.contains(&run_id), "{address} is about something else");
    }

    rest.post(&format!("/runs/{run_id}/approve"), &serde_json::json!({})).await?.with(200)?;
    rest.until_status(&run_id, "succeeded").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_seed_finds_everything_and_makes_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let first = seed(&up, folder.path()).await?.ok()?;
    let second = seed(&up, folder.path()).await?.ok()?;
    assert_eq!(first, second);
    // the key is gone, as on another machine: a new one is made, and nothing else
    std::fs::remove_file(folder.path().join("key"))?;
    let third = seed(&up, folder.path()).await?.ok()?;
    assert_eq!(first, third);
    let key = std::fs::read_to_string(folder.path().join("key"))?;
    let rest = Rest::new(&up.url, key.trim())?;
    for (list, wanted) in [("/specs", 1), ("/runs", 1), ("/approvals", 1)] {
        let found = rest.get(list).await?.with(200)?;
        assert_eq!(found["data"].as_array().map(Vec::len), Some(wanted), "{list}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_what_was_expected() -> Result<()> {
    let script = || {
        let mut script = command("scripts/seed_staging_v3.sh");
        script.env_remove("METABUILDER_URL").env_remove("METABUILDER_TOKEN");
        script.env("METABUILDER_DATA", "/nonexistent").env("SEED_WAIT_SECONDS", "1");
        script
    };
    let said = run(script().arg("localhost:5001")).await?.refused()?;
    ensure!(said.contains("expected one such as http://localhost:5001"), "{said}");
    let said = run(script().env("SEED_WAIT_SECONDS", "soon")).await?.refused()?;
    ensure!(said.contains("SEED_WAIT_SECONDS=soon"), "{said}");
    // nobody listens on the discard port
    let said = run(script().arg("http://127.0.0.1:9")).await?.refused()?;
    ensure!(said.contains("took longer than 1 seconds"), "{said}");

    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let said = run(script().arg(&up.url)).await?.refused()?;
    ensure!(said.contains("METABUILDER_TOKEN"), "{said}");
    let said = run(script().arg(&up.url).env("METABUILDER_TOKEN", "mb_wrong")).await?.refused()?;
    ensure!(said.contains("401"), "{said}");
    Ok(())
}
