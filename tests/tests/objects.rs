//! Runs whose steps are carried out by several runners, each with a data folder of its own: what
//! one committed the next one has, from one object store.

use anyhow::{Context, Result};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::approval_service_client::ApprovalServiceClient;
use meta_tests::processes::{Deployment, ServiceProcess};
use serde_json::{Value, json};
use std::path::Path;

const UNFORMATTED: &str = "pub fn  sum( a:u32,b :u32 )->u32{a+b}\n";
const MANIFEST: &str = "[package]\nname = \"sum\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const OBJECTS: &str = "METABUILDER__OBJECTS";
const DATA_DIR: &str = "METABUILDER__DATA_DIR";

/// A runner with a data folder of that name.
async fn runner(deployment: &Deployment, store: &str, name: &str) -> Result<ServiceProcess> {
    let data = deployment.folder.path().join(name);
    let data = data.to_str().context("a plain path")?;
    deployment.another_runner(&[(OBJECTS, store), (DATA_DIR, data)]).await
}

async fn approve(deployment: &Deployment, run: &str) -> Result<()> {
    let mut approvals = ApprovalServiceClient::new(deployment.orchestrator()?);
    let request =
        pb::DecideGateRequest { run_id: run.to_owned(), approve: true, ..Default::default() };
    approvals.decide_gate(request).await?;
    Ok(())
}

/// Every service, with logs and commits in the store.
async fn start(store: &Path, more: &[(&str, &str, &str)]) -> Result<(Deployment, String)> {
    let url = format!("file://{}", store.display());
    let of = ["orchestrator", "runner"].map(|name| (name, OBJECTS, url.as_str()));
    let of = [&of, more].concat();
    Ok((Deployment::start_with(&of).await?, url))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runners_carry_a_run_in_turn_and_its_healing_goes_with_it() -> Result<()> {
    let store = tempfile::tempdir()?;
    let (mut deployment, url) = start(store.path(), &[]).await?;
    let rest = deployment.rest.clone();
    let files = json!({ "Cargo.toml": MANIFEST, "src/lib.rs": UNFORMATTED, "notes.txt": "0\n" });
    let spec = json!({
        "title": "in turn", "mode": "freeform",
        "source": { "kind": "inline", "files": files },
        "steps": [
            { "name": "note", "run": "echo one >> notes.txt; touch untracked" },
            { "name": "fmt", "run": "cargo fmt --check", "needs": ["note"] },
            { "name": "there", "needs": ["fmt"], "approval": "before", "run":
                "cargo fmt --check && grep -q one notes.txt && ! [ -e untracked ] && \
                 echo two >> notes.txt && echo seen-there" },
            { "name": "back", "needs": ["there"], "approval": "before", "run":
                "cargo fmt --check && grep -q two notes.txt && [ -e untracked ]" },
        ],
    });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    // the first two steps and the healing on the first runner
    rest.until_status(&run, "paused_awaiting_approval").await?;
    assert_eq!(rest.steps(&run).await?["fmt"]["status"], "succeeded");
    assert_eq!(deployment.take("runner")?.process.stop().await?.code, Some(0));

    let second = runner(&deployment, &url, "runner-2").await?;
    approve(&deployment, &run).await?;
    rest.until_logged(&run, "there", "seen-there").await?;
    rest.until_status(&run, "paused_awaiting_approval").await?;
    assert_eq!(second.process.stop().await?.code, Some(0));

    // the first one again, whose workspace is behind
    let first = runner(&deployment, &url, "runner").await?;
    approve(&deployment, &run).await?;
    rest.until_status(&run, "succeeded").await?;
    assert_eq!(first.process.stop().await?.code, Some(0));

    let runners: std::collections::BTreeSet<String> = rest
        .events(&run)
        .await?
        .iter()
        .filter_map(|event| event["data"]["runner"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(runners.len(), 3, "{runners:?}");
    let mut kinds: Vec<String> = Vec::new();
    for tenant in std::fs::read_dir(store.path().join("runs"))? {
        for kind in std::fs::read_dir(tenant?.path().join(&run))? {
            kinds.push(kind?.file_name().to_string_lossy().into_owned());
        }
    }
    kinds.sort();
    assert_eq!(kinds, ["commits", "logs", "next"]);
    let files = deployment.folder.path().join("orchestrator/logs");
    assert!(!files.exists(), "logs are objects, not files");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_beside_each_other_on_two_runners_lose_nothing() -> Result<()> {
    const BESIDE: usize = 6;
    let store = tempfile::tempdir()?;
    let (deployment, url) = start(store.path(), &[]).await?;
    let second = runner(&deployment, &url, "runner-2").await?;
    let rest = &deployment.rest;
    let names: Vec<String> = (0..BESIDE).map(|n| format!("write-{n}")).collect();
    let mut files = serde_json::Map::new();
    let mut steps: Vec<Value> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        files.insert(format!("{n}.txt"), "0\n".into());
        let run = format!("sleep 0.3; echo done > {n}.txt");
        steps.push(json!({ "name": name, "run": run }));
    }
    let all = format!("cat *.txt; [ $(cat *.txt | grep -c done) = {BESIDE} ]");
    for check in ["check", "check-again"] {
        steps.push(json!({ "name": check, "run": all, "needs": names }));
    }
    let source = json!({ "kind": "inline", "files": files });
    let spec = json!({ "title": "beside", "mode": "freeform", "source": source, "steps": steps });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    rest.until_status(&run, "succeeded").await?;
    assert_eq!(second.process.stop().await?.code, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_bundle_fails_the_run_with_a_reason() -> Result<()> {
    let store = tempfile::tempdir()?;
    // with auto-fix a gate would ask whether the platform is mended
    let off = ("flag-resolver", "FEATURE_META_V3_AUTOFIX", "false");
    let (mut deployment, url) = start(store.path(), &[off]).await?;
    let rest = deployment.rest.clone();
    let spec = json!({
        "title": "lost", "mode": "freeform",
        "source": { "kind": "inline", "files": { "a.txt": "a\n" } },
        "steps": [{ "name": "ask", "run": "cat a.txt", "approval": "before" }],
    });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    rest.until_status(&run, "paused_awaiting_approval").await?;
    assert_eq!(deployment.take("runner")?.process.stop().await?.code, Some(0));
    for tenant in std::fs::read_dir(store.path().join("runs"))? {
        std::fs::remove_dir_all(tenant?.path().join(&run).join("commits"))?;
    }
    let second = runner(&deployment, &url, "runner-2").await?;
    approve(&deployment, &run).await?;
    let failed = rest.until_status(&run, "failed").await?;
    assert!(failed["reason"].as_str().is_some_and(|why| !why.is_empty()), "{failed:#}");
    rest.until_logged(&run, "ask", "is not in the object store").await?;
    assert_eq!(second.process.stop().await?.code, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_none_stops_the_start_and_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, peer) in [("runner", "orchestrator"), ("orchestrator", "classifier")] {
        let peer = format!("peers.{peer}=http://127.0.0.1:9");
        let sets = ["auth.mode=none", "listen=127.0.0.1:0", "objects=ftp://me:hunter2@host/x"];
        let mut args: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        args.extend(["--set", peer.as_str()]);
        let ended =
            meta_tests::processes::Process::start(name, &args, &[], folder.path())?.ended().await?;
        assert_eq!(ended.code, Some(64), "{name}: {}", ended.err);
        assert!(
            ended.err.contains("objects") && ended.err.contains("s3://bucket"),
            "{}",
            ended.err
        );
        assert!(!ended.err.contains("hunter2"), "{}", ended.err);
    }
    Ok(())
}
