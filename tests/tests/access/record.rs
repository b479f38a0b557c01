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

/// Waits until the record tells of so many changes of settings.
async fn settings_on_record(rest: &Rest, count: usize) -> Result<Vec<Value>> {
    let waited = tokio::time::timeout(meta_tests::processes::LIMIT, async {
        loop {
            let found = all(rest, "/audit?action=settings.&").await?;
            if found.len() >= count {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.with_context(|| format!("there are no {count} changes on record"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn h29_a_change_of_settings_is_on_record_once_also_across_a_kill() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let up = Up::start(&data, &[]).await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let admin = tenant.role(Role::Admin).clone();
    let path = format!("/tenants/{}/settings", tenant.id);
    let set = |rest: &Rest, attempts: u32, more: &str| {
        let body = json!({ "data": { "attributes": { "max_total_attempts": attempts } } });
        rest.request(reqwest::Method::PATCH, &format!("{path}?reason=r{attempts}{more}"))
            .json(&body)
            .send()
    };
    let answer = set(&admin, 3, "").await?;
    ensure!(answer.status() == 200);
    let asked = answer.headers()["x-request-id"].to_str()?;
    let first = settings_on_record(&admin, 1).await?;
    let entry = &first[0]["attributes"];
    ensure!(entry["action"] == "settings.changed" && entry["reason"] == "r3", "{entry:#}");
    ensure!(entry["actor"] == "admin@own.example", "{entry:#}");
    ensure!(entry["object"] == "settings/tenant", "{entry:#}");
    ensure!(entry["before"] == json!({}) || entry["before"].is_null(), "{entry:#}");
    ensure!(entry["after"]["max_total_attempts"] == 3, "{entry:#}");
    let keys = all(tenant.role(Role::Owner), &format!("/tenants/{}/keys?", tenant.id)).await?;
    let key =
        keys.iter().find(|k| entry["credential"] == format!("key:{}", text(&k["id"]).unwrap()));
    let of_key = key.with_context(|| format!("{entry:#} is by none of {keys:#?}"))?;
    ensure!(of_key["attributes"]["role"] == "admin", "{entry:#} {of_key:#}");
    ensure!(entry["request_id"] == asked, "{entry:#}, asked as {asked}");
    for attempts in 4..9 {
        ensure!(set(&admin, attempts, "").await?.status() == 200);
    }
    up.process.kill().await?;

    let up = Up::start(&data, &[]).await?;
    let admin = up.rest.with_key(admin.key());
    let later = meta_runtime::now().plus_ms(3_600_000);
    ensure!(set(&admin, 9, &format!("&effective_at={later}")).await?.status() == 202);
    let found = settings_on_record(&admin, 7).await?;
    let told: Vec<&Value> = found.iter().map(|e| &e["attributes"]["reason"]).collect();
    ensure!(told == ["r9", "r8", "r7", "r6", "r5", "r4", "r3"], "{told:?}");
    ensure!(found[0]["attributes"]["action"] == "settings.scheduled", "{:#}", found[0]);
    let by =
        |entry: &&Value| entry["attributes"]["credential"] != found[6]["attributes"]["credential"];
    let other = found.iter().find(by);
    ensure!(other.is_none(), "{other:#?}");
    // those of the platform are the operators' own
    let platform = "/settings/platform/platform?reason=all";
    let body = json!({ "data": { "attributes": { "max_total_attempts": 2 } } });
    let set = up.rest.request(reqwest::Method::PATCH, platform).json(&body).send().await?;
    ensure!(set.status() == 200, "{}", set.status());
    let platform = settings_on_record(&up.rest, 1).await?;
    ensure!(platform[0]["attributes"]["object"] == "settings/platform", "{platform:#?}");
    for rest in [&admin, &up.rest] {
        let whole = rest.get("/audit/verify").await?.with(200)?;
        ensure!(whole["data"]["attributes"]["problems"] == json!([]), "{whole:#}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_the_audit_are_at_hand_on_the_command_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let owner = tenant.role(Role::Owner);
    let vars = [("METABUILDER_URL", up.url.as_str()), ("METABUILDER_TOKEN", owner.key())];
    let run = |args: &'static [&'static str]| {
        let (folder, vars) = (folder.path().to_owned(), vars);
        async move { meta_tests::processes::metabuilder(&folder, args, &vars).await }
    };
    let made = run(&["keys", "create", "ci", "--role", "viewer", "--scope", "read"]).await?;
    ensure!(made.code == Some(0), "{}", made.err);
    let key = made.out.trim().to_owned();
    ensure!(key.starts_with("mb_") && made.err.contains("only now"), "{} {}", made.out, made.err);
    owner.with_key(&key).get("/caller").await?.with(200)?;
    let listed = run(&["keys", "ls", "--output", "json"]).await?;
    let listed: Value = serde_json::from_str(&listed.out)?;
    let one = listed.as_array().context("a list")?.iter();
    let one = one.clone().find(|k| k["attributes"]["name"] == "ci").context("the key")?;
    ensure!(!listed.to_string().contains(&key), "a list shows a key");
    let id = text(&one["id"])?;
    let table = run(&["keys", "ls"]).await?.out;
    ensure!(
        table.contains("NAME") && table.contains("ci") && table.contains("in force"),
        "{table}"
    );
    let ended = ["keys", "revoke", id.as_str()];
    let ended = meta_tests::processes::metabuilder(folder.path(), &ended, &vars).await?;
    ensure!(ended.code == Some(0) && ended.out.contains("is ended"), "{} {}", ended.out, ended.err);
    let table = run(&["audit", "ls", "--action", "key."]).await?.out;
    ensure!(table.contains("key.revoked") && table.contains("key.created"), "{table}");
    let whole = run(&["audit", "verify", "--output", "json"]).await?;
    let whole: Value = serde_json::from_str(&whole.out)?;
    let known = format!("{}:{}", whole["entries"], text(&whole["head_hash"])?);
    for (known, code) in [(known, 0), (format!("1:{}", "0".repeat(64)), 1)] {
        let args = ["audit", "verify", "--known", known.as_str()];
        let found = meta_tests::processes::metabuilder(folder.path(), &args, &vars).await?;
        ensure!(found.code == Some(code), "{} {}", found.out, found.err);
    }
    let none = run(&["keys", "revoke", "01890000-0000-7000-8000-00000000dead"]).await?;
    ensure!(none.code == Some(2), "{:?} {}", none.code, none.err);
    Ok(())
}
