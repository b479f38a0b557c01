//! The chart, the Compose file and the environments are what their readers expect.

use crate::shell::{command, run, tool};
use anyhow::Result;
use meta_tests::processes::program;

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

#[tokio::test]
async fn a_migration_without_its_database_fails_and_says_so() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for service in ["orchestrator", "flag-resolver", "autofixer"] {
        let mut migrate = command(program(service));
        migrate.arg("--migrate").current_dir(folder.path());
        migrate.env("METABUILDER__AUTH__SERVICE_TOKEN", "x");
        // nobody listens on the discard port
        migrate.env("METABUILDER__DATABASE", "postgres://a:secret-word@127.0.0.1:9/none");
        let said = run(&mut migrate).await?.refused()?;
        assert!(said.contains("127.0.0.1:9"), "{service}: {said}");
        assert!(!said.contains("secret-word"), "{service} shows the password: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_probe_of_nobody_fails_and_says_so() -> Result<()> {
    for service in ["classifier", "gateway"] {
        let mut probe = command(program(service));
        probe.args(["--probe", "--set", "listen=127.0.0.1:9"]);
        let said = run(&mut probe).await?.refused()?;
        assert!(said.contains("127.0.0.1:9"), "{service}: {said}");
    }
    Ok(())
}
