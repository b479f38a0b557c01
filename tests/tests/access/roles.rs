//! What needs a role, another person, or to be first.

use crate::people::{Tenant, text, up};
use anyhow::{Context, Result, bail, ensure};
use meta_domain::role::Role;
use meta_tests::processes::{LIMIT, Rest};
use serde_json::{Value, json};

/// A run of this tenant that waits at its gate; answers run and gate.
async fn waiting(rest: &Rest, gates: Value) -> Result<(String, String)> {
    let steps = json!([{ "name": "first", "run": "true", "approval": "before" }]);
    let spec = rest.planned(&json!({ "title": "t", "mode": "freeform", "steps": steps })).await?;
    let run = rest.run(&spec, &json!({ "async": false, "gates": gates })).await?;
    let found = rest.get(&format!("/approvals?run_id={run}")).await?.with(200)?;
    Ok((run, text(&found["data"][0]["id"])?))
}

/// Waits until the audit tells of a refused call.
async fn denied(rest: &Rest, action: &str) -> Result<Value> {
    let waited = tokio::time::timeout(LIMIT, async {
        loop {
            let found = rest.get("/audit?per_page=100").await?.with(200)?;
            let entries = found["data"].as_array().context("entries")?;
            let of = |e: &&Value| {
                let e = &e["attributes"];
                e["denied"] == true && e["action"].as_str().is_some_and(|a| a.contains(action))
            };
            if let Some(entry) = entries.iter().find(of) {
                return Ok(entry["attributes"].clone());
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    waited.await.with_context(|| format!("no refusal of {action} is on record"))?
}

#[tokio::test(flavor = "multi_thread")]
async fn h10_a_viewer_starts_and_approves_nothing_and_the_attempt_is_on_record() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let (owner, viewer) = (tenant.role(Role::Owner), tenant.role(Role::Viewer));
    let (run, gate) = waiting(owner, json!({})).await?;
    let listed = owner.get("/specs").await?.with(200)?;
    let spec = text(&listed["data"][0]["id"])?;
    for path in [format!("/specs/{spec}/runs"), format!("/approvals/{gate}/approve")] {
        let refused = viewer.post(&path, &json!({})).await?;
        let code = refused.error().0;
        ensure!((refused.status, code.as_str()) == (403, "role_too_low"), "{:#}", refused.body);
    }
    ensure!(owner.run_now(&run).await?["status"] == "paused_awaiting_approval");
    for action in ["/specs/{spec_id}/runs", "/approvals/{gate_id}/approve"] {
        let entry = denied(owner, action).await?;
        ensure!(entry["actor"] == "viewer@own.example", "{entry:#}");
        ensure!(entry["credential"].as_str().is_some_and(|c| c.starts_with("key:")), "{entry:#}");
        ensure!(entry["reason"].as_str().is_some_and(|r| r.contains("needs role")), "{entry:#}");
        ensure!(entry["request_id"].is_string(), "{entry:#}");
    }
    let whole = owner.get("/audit/verify").await?.with(200)?;
    ensure!(whole["data"]["attributes"]["problems"] == json!([]), "{whole:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_calls_does_not_flood_the_record() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let (owner, viewer) = (tenant.role(Role::Owner), tenant.role(Role::Viewer));
    let path = format!("/tenants/{}/keys", tenant.id);
    for _ in 0..300 {
        ensure!(viewer.get(&path).await?.status == 403);
    }
    denied(owner, "/tenants/{tenant_id}/keys").await?;
    let found = owner.get("/audit?per_page=100").await?.with(200)?;
    let entries = found["data"].as_array().context("entries")?;
    let refused = entries.iter().filter(|e| e["attributes"]["denied"] == true).count();
    ensure!(refused < 30, "{refused} entries of 300 refused calls");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h11_nobody_approves_their_own_run_under_four_eyes_with_another_key_neither() -> Result<()>
{
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let (owner, admin) = (tenant.role(Role::Owner), tenant.role(Role::Admin));
    let (run, gate) = waiting(admin, json!({ "four_eyes": true })).await?;
    let keys = format!("/tenants/{}/keys", tenant.id);
    let second = admin.post(&keys, &json!({ "name": "2", "role": "admin" })).await?.with(201)?;
    let second = admin.with_key(&text(&second["data"]["attributes"]["api_key"])?);
    for own in [admin, &second] {
        for path in [format!("/approvals/{gate}/approve"), format!("/runs/{run}/approve")] {
            let refused = own.post(&path, &json!({})).await?;
            let code = refused.error().0;
            ensure!((refused.status, code.as_str()) == (403, "four_eyes"), "{:#}", refused.body);
        }
    }
    ensure!(admin.run_now(&run).await?["status"] == "paused_awaiting_approval");
    owner.post(&format!("/approvals/{gate}/approve"), &json!({})).await?.with(200)?;
    admin.until_status(&run, "succeeded").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn h12_of_many_decisions_at_once_one_counts() -> Result<()> {
    let (up, _folder) = up().await?;
    let tenant = Tenant::new(&up.rest, "own").await?;
    let admin = tenant.role(Role::Admin);
    let (run, gate) = waiting(admin, json!({})).await?;
    let decisions = (0..12).map(|n| {
        let who = tenant.role(if n % 3 == 0 { Role::Owner } else { Role::Admin }).clone();
        let verb = if n % 2 == 0 { "approve" } else { "reject" };
        let path = format!("/approvals/{gate}/{verb}");
        tokio::spawn(async move { (verb, who.post(&path, &json!({})).await) })
    });
    let mut won = Vec::new();
    for decision in decisions.collect::<Vec<_>>() {
        let (verb, answer) = decision.await?;
        let answer = answer?;
        match answer.status {
            200 => won.push(verb),
            409 => ensure!(answer.error().0 == "gate_already_decided", "{:#}", answer.body),
            other => bail!("{other}: {:#}", answer.body),
        }
    }
    ensure!(won.len() == 1, "{won:?}");
    let status = if won[0] == "approve" { "succeeded" } else { "failed" };
    admin.until_status(&run, status).await?;
    let found = admin.get("/audit?action=approval.").await?.with(200)?;
    ensure!(found["data"].as_array().map(Vec::len) == Some(1), "{found:#}");
    Ok(())
}
