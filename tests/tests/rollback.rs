//! A verified patch that turns a green step red is taken back.

use anyhow::{Context, Result};
use meta_tests::processes::Up;
use serde_json::json;

/// Passes once the test says so and the word is what it was; it is at work while the other step's
/// patch is verified, so that the verification cannot see it fail.
const HOLDS: &str = "until [ -e go ]; do sleep 0.05; done; grep -q bad src/word.txt || \
    { echo 'would reformat src/word.txt'; echo '1 file would be reformatted'; exit 1; }";
const CHECK: &str = "grep -q good src/word.txt || \
    { echo 'would reformat src/word.txt'; echo '1 file would be reformatted'; exit 1; }";

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_turns_a_green_step_red_is_taken_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let up = Up::start(&data, &[]).await?;
    let spec = json!({
        "title": "at odds",
        "mode": "freeform",
        "source": { "kind": "inline", "files": { "src/word.txt": "bad\n" } },
        "steps": [
            { "name": "holds", "run": HOLDS },
            { "name": "check", "run": CHECK, "fix": "echo good > src/word.txt" },
        ],
    });
    let spec = up.rest.planned(&spec).await?;
    let run = up.rest.run(&spec, &json!({})).await?;
    let workspace = data.join("runner/runs").join(&run).join("ws");
    let mut events = up.rest.follow(&run, 0).await?;
    loop {
        let next = events.next().await?.context("the run ended before a verification")?;
        if next["type"] == "autofix.verification_started" {
            break;
        }
    }
    std::fs::write(workspace.join("go"), "")?;
    up.rest.until_status(&run, "failed").await?;

    let all = up.rest.events(&run).await?;
    let kinds: Vec<&str> = all.iter().filter_map(|e| e["type"].as_str()).collect();
    let at = |kind: &str| kinds.iter().position(|k| *k == kind).context(kind.to_owned());
    let order = [
        at("autofix.patch_applied")?,
        at("step.outdated")?,
        at("autofix.rollback_started")?,
        at("autofix.rolled_back")?,
    ];
    assert!(order.is_sorted(), "{kinds:?}");
    let patches = kinds.iter().filter(|k| **k == "autofix.patch_applied").count();
    assert_eq!(patches, 1, "the patch does not come back: {kinds:?}");
    assert_eq!(std::fs::read_to_string(workspace.join("src/word.txt"))?, "bad\n");
    let steps = up.rest.steps(&run).await?;
    assert_eq!(steps["check"]["status"], "failed", "{:#}", steps["check"]);
    Ok(())
}
