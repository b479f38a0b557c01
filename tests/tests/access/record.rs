//! The record of who did what: with the change or not at all.

use crate::people::{Tenant, text};
use anyhow::{Context, Result, ensure};
use meta_domain::role::Role;
use meta_tests::processes::{Rest, Up};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Changes that are under way when the process is killed.
const WRITERS: usize = 8;
/// Changes that were acknowledged before.
const BEFORE: usize = 40;

async fn all(rest: &Rest, path: &str) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut next = format!("{path}per_page=100");
    loop {
        let page = rest.get(&next).await?.with(200)?;
        found.extend(page["data"].as_array().context("a list")?.iter().cloned());
        let Ok(token) = text(&page["meta"]["next_page_token"]) else { return Ok(found) };
        next = format!("{path}per_page=100&page_token={token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_after_a_kill_a_change_and_its_record_are_both_there_or_neither() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let vars = [("METABUILDER_LIMITS", "off")];
    let up = Up::start(&data, &vars).await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let owner = tenant.role(Role::Owner).clone();
    let path = format!("/tenants/{}/keys", tenant.id);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (owner, path, done) = (owner.clone(), path.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for i in 0.. {
                    let new = json!({ "name": format!("{n}-{i}"), "role": "viewer" });
                    match owner.post(&path, &new).await {
                        Ok(answer) if answer.status == 201 => done.fetch_add(1, Ordering::SeqCst),
                        _ => return,
                    };
                }
            })
        })
        .collect();
    while acknowledged.load(Ordering::SeqCst) < BEFORE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    up.process.kill().await?;
    for writer in writers {
        writer.await?;
    }

    let up = Up::start(&data, &vars).await?;
    let owner = up.rest.with_key(owner.key());
    let keys = all(&owner, &format!("{path}?")).await?;
    let ids = |list: &[Value], of: fn(&Value) -> Option<&str>| {
        list.iter().filter_map(|one| of(one).map(str::to_owned)).collect::<BTreeSet<_>>()
    };
    let of_users = |key: &&Value| {
        key["attributes"]["name"].as_str().is_some_and(|name| name.ends_with(".example"))
    };
    let made: Vec<Value> = keys.iter().filter(|k| !of_users(k)).cloned().collect();
    let recorded = all(&owner, "/audit?action=key.created&").await?;
    let made = ids(&made, |key| key["id"].as_str());
    let recorded = ids(&recorded, |entry| {
        entry["attributes"]["object"].as_str().and_then(|o| o.strip_prefix("key/"))
    });
    ensure!(made == recorded, "{:?}", made.symmetric_difference(&recorded).collect::<Vec<_>>());
    ensure!(made.len() >= acknowledged.load(Ordering::SeqCst), "{} are there", made.len());
    let whole = owner.get("/audit/verify").await?.with(200)?;
    ensure!(whole["data"]["attributes"]["problems"] == json!([]), "{whole:#}");
    Ok(())
}
