//! The chart, the Compose file and the environments are what their readers expect.

use crate::shell::{command, run, tool};
use anyhow::Result;

#[tokio::test]
async fn the_chart_renders_and_every_manifest_fits_the_schemas() -> Result<()> {
    let Some(python) = tool("python").await? else { return Ok(()) };
    let said = run(command(python).arg("scripts/check-deploy.py")).await?.ok()?;
    assert!(said.contains("manifests fit"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_containerfile_passes_its_linter() -> Result<()> {
    let Some(hadolint) = tool("hadolint").await? else { return Ok(()) };
    run(command(hadolint).arg("deploy/Containerfile")).await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn every_place_of_the_version_says_the_same() -> Result<()> {
    run(command("scripts/set-version.py").arg("--check")).await?.ok()?;
    Ok(())
}
