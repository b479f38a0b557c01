//! Clients in other languages, with stubs that their own tools make from the contracts.

use crate::shell::{command, root, run, skipped, tool};
use anyhow::{Context, Result};
use meta_tests::processes::Up;
use std::path::Path;
use tokio::process::Command;

/// The address without its scheme.
fn address(up: &Up) -> &str {
    up.grpc.trim_start_matches("http://")
}

async fn drives_a_whole_run(client: &mut Command, up: &Up) -> Result<()> {
    let said = run(client.arg(address(up)).env("METABUILDER_TOKEN", &up.key)).await?.ok()?;
    let last = said.lines().last().context("a last line")?;
    let last: serde_json::Value = serde_json::from_str(last)?;
    assert_eq!(last["decided"], true, "{said}");
    assert!(last["status"].as_str().is_some_and(|s| s.ends_with("SUCCEEDED")), "{said}");
    assert!(said.contains("approval.granted scan"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_drives_a_whole_run() -> Result<()> {
    let Some(python) = tool("python").await? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let mut client = command(python);
    drives_a_whole_run(client.arg("tests/clients/python/whole_run.py"), &up).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_node_drives_a_whole_run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let client = folder.path().join("tests/clients/node");
    if let Err(missing) = node_packages(&client).await {
        skipped(&format!("no client in Node here: {missing:#}"));
        return Ok(());
    }
    // the contracts lie beside it as in the checkout
    std::os::unix::fs::symlink(root().join("proto"), folder.path().join("proto"))?;
    run(command("npm").args(["run", "--silent", "generate"]).current_dir(&client)).await?.ok()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    drives_a_whole_run(command("node").arg("whole_run.mjs").current_dir(&client), &up).await
}

async fn node_packages(client: &Path) -> Result<()> {
    std::fs::create_dir_all(client)?;
    for file in ["package.json", "buf.gen.yaml", "whole_run.mjs"] {
        std::fs::copy(root().join("tests/clients/node").join(file), client.join(file))?;
    }
    let install = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"];
    run(command("npm").args(install).current_dir(client)).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_calls_and_is_refused_without_a_key() -> Result<()> {
    let Some(grpcurl) = tool("grpcurl").await? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let up = Up::start(&folder.path().join("data"), &[]).await?;
    let call = |arguments: &[&str]| {
        let mut grpcurl = command(&grpcurl);
        grpcurl.arg("-plaintext").args(arguments);
        grpcurl
    };
    let services = run(&mut call(&[address(&up), "list"])).await?.ok()?;
    assert!(services.contains("metabuilder.orchestrator.v1.RunService"), "{services}");
    let list = "metabuilder.orchestrator.v1.RunService/ListRuns";
    let credential = format!("authorization: Bearer {}", up.key);
    let runs = run(&mut call(&["-H", &credential, "-d", "{}", address(&up), list])).await?;
    runs.ok()?;
    let said = run(&mut call(&["-d", "{}", address(&up), list])).await?.refused()?;
    assert!(said.contains("Unauthenticated"), "{said}");
    Ok(())
}
