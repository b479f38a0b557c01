//! The workflow files pass their linters, and every action in them is pinned.

use crate::shell::{command, root, run, tool};
use anyhow::{Context, Result, ensure};

#[test]
fn every_action_is_pinned_by_a_hash_and_says_its_version() -> Result<()> {
    for file in [".github/workflows/ci.yml", ".github/workflows/release.yml"] {
        let text = std::fs::read_to_string(root().join(file))?;
        let used: Vec<&str> =
            text.lines().filter_map(|l| l.split_once("uses: ").map(|(_, u)| u)).collect();
        ensure!(!used.is_empty(), "{file} uses nothing");
        for action in used {
            let (_, pin) = action.split_once('@').with_context(|| action.to_owned())?;
            let (hash, version) = pin.split_once(" # v").with_context(|| action.to_owned())?;
            let is_hash = hash.len() == 40 && hash.chars().all(|c| c.is_ascii_hexdigit());
            ensure!(is_hash && !version.is_empty(), "{file}: {action}");
        }
        ensure!(text.contains("\npermissions: {}\n"), "{file} gives permissions to every job");
    }
    Ok(())
}

#[tokio::test]
async fn the_workflow_files_pass_actionlint_and_zizmor() -> Result<()> {
    let (Some(actionlint), Some(zizmor)) = (tool("actionlint").await?, tool("zizmor").await?)
    else {
        return Ok(());
    };
    let files = [".github/workflows/ci.yml", ".github/workflows/release.yml"];
    run(command(actionlint).args(files)).await?.ok()?;
    let strict = ["--quiet", "--offline", "--persona=pedantic", ".github"];
    run(command(zizmor).args(strict)).await?.ok()?;
    let examples = "docs/examples/github-actions.yml";
    run(command(tool("actionlint").await?.context("it was there")?).arg(examples)).await?.ok()?;
    Ok(())
}
