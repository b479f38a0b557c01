//! What a build tells of its healing afterwards: evidence, regressions, flakes, decisions.

use anyhow::{Context, Result};
use meta_tests::processes::place::{Place, QUICK, events, of_step, one};
use serde_json::Value;

fn lines(out: &str) -> Result<Vec<Value>> {
    out.lines().map(|l| serde_json::from_str(l).with_context(|| l.to_owned())).collect()
}

/// `style` is green; `check` fails until src/a.txt is good; its fix also does `more`.
fn two_steps(more: &str) -> Result<Place> {
    let file = format!(
        "[[step]]\nname = \"style\"\nrun = \"grep -q tidy src/style.txt\"\n\
         [[step]]\nname = \"check\"\nrun = '''grep -q good src/a.txt || {{ echo 'src/a.txt:1:1: E999 bad'; exit 1; }}'''\n\
         needs = [\"style\"]\nfix = '''echo good > src/a.txt; {more}'''\n"
    );
    Place::new(&[("metabuilder.toml", &file), ("src/a.txt", "bad\n"), ("src/style.txt", "tidy\n")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_breaks_a_step_that_passed_is_not_applied() -> Result<()> {
    let place =
        two_steps("echo untidy-no-more > src/style.txt; sed -i s/tidy/mess/ src/style.txt")?;
    let (ended, events) = place.build(&[], &QUICK).await?;
    assert!(matches!(ended.code, Some(1 | 3)), "{:?} {}", ended.code, ended.err);
    let fix = one(&events, "fix")?;
    assert_eq!(fix["verdict"], "verify_fail", "{fix:#}");
    let detail = fix["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("style passed before"), "{detail}");
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_shows_each_try_with_the_guards_word_and_the_evidence() -> Result<()> {
    let place = two_steps("true")?;
    let (ended, told) = place.build(&[], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let run = told.last().context("an end")?["run_id"].as_str().context("run")?.to_owned();
    let why = place.run(&["why", &run, "check"], &[]).await?;
    for part in ["tried", "accepted", "guard", "verified  holds", "check passed", "style passed"] {
        assert!(why.out.contains(part), "{part} is missing in\n{}", why.out);
    }
    let why = place.run(&["why", &run, "check", "--output", "json"], &[]).await?;
    let parts = lines(&why.out)?;
    let evidence = one(&parts, "evidence")?;
    assert_eq!(evidence["passed"], true);
    assert_eq!(evidence["checks"][1]["step"], "style");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flake_is_registered_with_its_failure() -> Result<()> {
    let run = "if [ -f state/seen ]; then echo ok; else touch state/seen; \
               echo 'fatal: unable to access: Could not resolve host: example.com' >&2; exit 128; fi";
    let file =
        format!("[[step]]\nname = \"fetch\"\nrun = \"\"\"{run}\"\"\"\ncache = [\"state\"]\n");
    let place = Place::new(&[("metabuilder.toml", &file)])?;
    let none = place.run(&["flaky"], &[]).await?;
    assert!(none.out.contains("no step"), "{}", none.out);
    let (ended, told) = place.build(&[], &QUICK).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(of_step(&told, "fetch").last(), Some(&"step_succeeded"));
    let flaky = place.run(&["flaky", "--output", "json"], &[]).await?;
    let rows = lines(&flaky.out)?;
    assert_eq!(rows.len(), 1, "{}", flaky.out);
    assert_eq!((&rows[0]["step"], &rows[0]["times"]), (&"fetch".into(), &1.into()));
    assert_eq!(rows[0]["failure_type"], "transient");
    let text = place.run(&["flaky"], &[]).await?;
    assert!(text.out.contains("fetch") && text.out.contains("transient"), "{}", text.out);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_of_a_step_that_asks_waits_with_its_hash_and_is_applied_once_approved() -> Result<()>
{
    let file = "[[step]]\nname = \"check\"\nrun = \"grep -q good src/a.txt\"\n\
                fix = \"echo good > src/a.txt\"\napproval = \"on-fix\"\n";
    let place = Place::new(&[("metabuilder.toml", file), ("src/a.txt", "bad\n")])?;
    let (ended, told) = place.build(&[], &QUICK).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let run = told.last().context("an end")?["run_id"].as_str().context("run")?.to_owned();
    let decided = place.run(&["approve", &run], &[]).await?;
    assert_eq!(decided.code, Some(0), "{}", decided.err);
    assert!(decided.out.contains("approved patch"), "{}", decided.out);
    assert!(decided.out.contains("plan version 1"), "{}", decided.out);
    let again = place.run(&["approve", &run], &[]).await?;
    assert_eq!(again.code, Some(1), "{}", again.err);
    let why = place.run(&["why", &run, "check", "--output", "json"], &[]).await?;
    assert!(events(&why)?.iter().any(|e| e["event"] == "patch_applied"), "{}", why.out);
    Ok(())
}
