//! Reports of a run, and workflows that are imported.

use crate::shell::{command, run, tool};
use anyhow::{Context, Result, ensure};
use meta_tests::processes::place::{Place, QUICK};
use serde_json::Value;

const MANIFEST: &str = "[package]\nname = \"sum\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const STEPS: &str = "[[step]]\nname = \"fmt\"\nrun = \"cargo fmt --check\"\n\
    [[step]]\nname = \"scan\"\nrun = \"echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1\"\n\
    needs = [\"fmt\"]\n[[step]]\nname = \"package\"\nrun = \"true\"\nneeds = [\"scan\"]\n";
const FILES: [(&str, &str); 3] = [
    ("Cargo.toml", MANIFEST),
    ("src/lib.rs", "pub fn  sum( a:u32,b :u32 )->u32{a+b}\n"),
    ("metabuilder.toml", STEPS),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_told_as_markdown_junit_and_sarif() -> Result<()> {
    let place = Place::committed(&FILES)?;
    let (ended, events) = place.build(&[], &QUICK).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let run_id = events.last().and_then(|e| e["run_id"].as_str()).context("a run")?;
    let report = async |format: &str, run: &[&str]| -> Result<String> {
        let told = place.run(&[&["report", "--format", format], run].concat(), &[]).await?;
        ensure!(told.code == Some(0), "{}", told.err);
        Ok(told.out)
    };

    let markdown = report("markdown", &[run_id]).await?;
    ensure!(markdown.starts_with("### ✋ Waiting for approval: 1 healed\n"), "{markdown}");
    ensure!(markdown.contains("metabuilder approve "), "{markdown}");
    assert_eq!(markdown, report("markdown", &[]).await?, "without a run it is the latest");

    let junit = report("junit", &[run_id]).await?;
    ensure!(junit.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{junit}");
    let file = place.path("junit.xml");
    std::fs::write(&file, &junit)?;
    let read = "import sys, xml.etree.ElementTree as x; \
                print([c.get('name') for c in x.parse(sys.argv[1]).iter('testcase')])";
    let cases = run(command("python3").args(["-c", read, &file])).await?.ok()?;
    assert_eq!(cases.trim(), "['fmt', 'scan', 'package']");

    let sarif: Value = serde_json::from_str(&report("sarif", &[run_id]).await?)?;
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().context("results")?;
    let levels: Vec<_> =
        results.iter().map(|r| (r["properties"]["step"].clone(), r["level"].clone())).collect();
    assert_eq!(levels, [("fmt".into(), "note".into()), ("scan".into(), "error".into())]);
    let rules = &sarif["runs"][0]["tool"]["driver"]["rules"];
    for result in results {
        ensure!(rules.as_array().is_some_and(|r| r.iter().any(|r| r["id"] == result["ruleId"])));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_workflow_is_a_project_that_builds() -> Result<()> {
    let workflow = "name: CI\non: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n\
                    \x20     - uses: actions/checkout@v4\n      - name: Make a file\n        run: |\n\
                    \x20         echo one > a.txt\n          false || echo two >> a.txt\n\
                    \x20     - run: test -n \"$GREETING\"\n        env: { GREETING: hello }\n";
    let place = Place::new(&[(".github/workflows/ci.yml", workflow), ("src/a", "a\n")])?;
    let from = place.project().join(".github/workflows/ci.yml");
    let from = from.to_str().context("a plain path")?;
    let told = place.run(&["plan", "--from", from], &[]).await?;
    assert_eq!(told.code, Some(0), "{}", told.err);
    std::fs::write(place.project().join("metabuilder.toml"), &told.out)?;
    let (ended, events) = place.build(&[], &QUICK).await?;
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.err, told.out);
    let steps = events[0]["steps"].as_array().map_or(0, Vec::len);
    assert_eq!(steps, 2, "{}", told.out);

    let told = place.run(&["plan", "--from", "/nonexistent.yml"], &[]).await?;
    assert_eq!(told.code, Some(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_workflow_can_be_imported() -> Result<()> {
    let place = Place::new(&[("a", "a\n")])?;
    let ours = crate::shell::root().join(".github/workflows/ci.yml");
    let told = place.run(&["plan", "--from", ours.to_str().context("a path")?], &[]).await?;
    assert_eq!(told.code, Some(0), "{}", told.err);
    assert!(told.out.contains("make fmt-check lint docs"), "{}", told.out);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_for_other_builders_are_valid() -> Result<()> {
    let Some(python) = tool("python").await? else { return Ok(()) };
    for file in ["docs/examples/github-actions.yml", "docs/examples/gitlab-ci.yml"] {
        let read = "import sys, yaml; text = open(sys.argv[1]).read(); yaml.safe_load(text); \
                    assert 'metabuilder build' in text and '--patch' in text";
        run(command(&python).args(["-c", read, file])).await?.ok()?;
    }
    Ok(())
}
