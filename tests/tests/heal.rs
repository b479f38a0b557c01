//! `metabuilder build` heals small projects, tells how, and leaves the user's files alone.

use anyhow::{Context, Result};
use meta_tests::processes::place::{
    Place, QUICK, alive, events, of_step, one, sleeper, until_alive,
};
use meta_tests::processes::{Process, git, snapshot};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;

const MANIFEST: &str = "[package]\nname = \"sum\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const UNFORMATTED: &str = "pub fn  sum( a:u32,b :u32 )->u32{a+b}\n";
const FORMATTED: &str = "pub fn sum(a: u32, b: u32) -> u32 {\n    a + b\n}\n";
const FMT: &str = "[[step]]\nname = \"fmt\"\nrun = \"cargo fmt --check\"\n";
/// A project whose one step fails until `cargo fmt` was there.
const UNTIDY: [(&str, &str); 3] =
    [("Cargo.toml", MANIFEST), ("src/lib.rs", UNFORMATTED), ("metabuilder.toml", FMT)];

#[tokio::test(flavor = "multi_thread")]
async fn a_formatting_failure_is_healed_and_the_patch_makes_the_step_pass() -> Result<()> {
    let place = Place::committed(&UNTIDY)?;
    let patch = place.path("out.patch");
    let (ended, events) = place.build(&["--patch", &patch], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    place.untouched()?;
    assert_eq!(events[0]["event"], "plan");
    let failure = one(&events, "failure")?;
    assert_eq!((&failure["step"], &failure["type"]), (&"fmt".into(), &"lint".into()));
    assert_eq!(failure["attempt"], 1);
    assert!(failure["confidence"].as_f64().is_some_and(|c| (0.0..=1.0).contains(&c)));
    assert_eq!(one(&events, "fix")?["verdict"], "accepted");
    let end = events.last().context("an end")?;
    assert_eq!(end["event"], "run_finished");
    assert_eq!((&end["status"], &end["exit_code"]), (&"succeeded".into(), &0.into()));
    assert_eq!((&end["files"], &end["applied"]), (&1.into(), &false.into()));

    git(&place.project(), &["apply", "--check", &patch])?;
    git(&place.project(), &["apply", &patch])?;
    assert_eq!(std::fs::read_to_string(place.project().join("src/lib.rs"))?, FORMATTED);
    let (ended, events) = place.build(&[], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(of_step(&events, "fmt"), ["step_started", "step_succeeded"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_diff_is_applied_or_committed_to_a_branch_only_when_asked() -> Result<()> {
    let place = Place::committed(&UNTIDY)?;
    let project = place.project();
    let head = git(&project, &["rev-parse", "HEAD"])?;
    let ended = place.run(&["build", "project", "--branch", "heal"], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("-pub fn  sum(") && ended.out.contains("+pub fn sum("));
    assert_eq!(git(&project, &["status", "--porcelain"])?, "");
    assert_eq!(git(&project, &["rev-parse", "HEAD"])?, head);
    assert_eq!(git(&project, &["show", "heal:src/lib.rs"])?, FORMATTED);
    assert_eq!(git(&project, &["rev-parse", "heal~1"])?, head);
    let ended = place.run(&["build", "project", "--branch", "heal"], &[]).await?;
    assert_eq!(ended.code, Some(2), "the branch exists: {}", ended.err);
    assert!(ended.err.contains("heal"), "{}", ended.err);

    let ended = place.run(&["build", "project", "--apply"], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(git(&project, &["status", "--porcelain"])?, " M src/lib.rs\n");
    assert_eq!(std::fs::read_to_string(project.join("src/lib.rs"))?, FORMATTED);
    assert_eq!(git(&project, &["rev-parse", "HEAD"])?, head);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_outside_of_a_repository_is_built_as_it_stands() -> Result<()> {
    let place = Place::new(&UNTIDY)?;
    let (ended, events) = place.build(&["--apply"], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(events.last().context("an end")?["applied"], true);
    assert_eq!(std::fs::read_to_string(place.project().join("src/lib.rs"))?, FORMATTED);
    let mut after = snapshot(&place.project())?;
    let mut before = place.before.clone();
    after.remove(Path::new("src/lib.rs"));
    before.remove(Path::new("src/lib.rs"));
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before, "another file was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_on_its_first_try_is_retried_and_called_flaky() -> Result<()> {
    let run = "if [ -f state/seen ]; then echo ok; else touch state/seen; \
               echo 'fatal: unable to access: Could not resolve host: example.com' >&2; exit 128; fi";
    let file = format!(
        "[[step]]\nname = \"fetch\"\nrun = \"\"\"{run}\"\"\"\ncache = [\"state\"]\n\
         [[step]]\nname = \"use\"\nrun = [\"echo\", \"used\"]\nneeds = [\"fetch\"]\n"
    );
    let place = Place::new(&[("metabuilder.toml", &file)])?;
    let (ended, events) = place.build(&[], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let expected = ["step_started", "failure", "retry", "step_started", "step_succeeded"];
    assert_eq!(of_step(&events, "fetch"), expected);
    assert_eq!(one(&events, "failure")?["type"], "transient");
    let waited = one(&events, "retry")?["backoff_ms"].as_u64().context("backoff")?;
    assert!((1_000..=1_100).contains(&waited), "one second and up to a tenth: {waited}");
    let fetched = events.iter().find(|e| e["event"] == "step_succeeded").context("success")?;
    assert_eq!((&fetched["flaky"], &fetched["attempt"]), (&true.into(), &2.into()));
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_always_fails_is_given_up_and_resumed_from_there() -> Result<()> {
    let file = "[[step]]\nname = \"first\"\nrun = \"echo once\"\n\
                [[step]]\nname = \"test\"\nrun = \"sh tests/run.sh\"\nneeds = [\"first\"]\n\
                [[step]]\nname = \"after\"\nrun = \"true\"\nneeds = [\"test\"]\n";
    let script = "echo 'FAILED tests/test_sum.py::test_sum - assert 3 == 4'\n\
                  echo '=== 1 failed, 2 passed in 0.03s ==='\nexit 1\n";
    let place = Place::new(&[("metabuilder.toml", file), ("tests/run.sh", script)])?;
    let (ended, events) = place.build(&[], &QUICK).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    // a failed test is run once more on the same commit, to tell a flake, and never patched
    let expected = ["step_started", "failure", "retry", "step_started", "failure", "step_failed"];
    assert_eq!(of_step(&events, "test"), expected);
    let failure = events.iter().find(|e| e["event"] == "failure").context("failure")?;
    assert_eq!(failure["type"], "test_assert");
    let failed = one(&events, "step_failed")?;
    assert!(failed["reason"].as_str().is_some_and(|r| !r.is_empty()), "{failed:#}");
    assert!(of_step(&events, "after").is_empty());
    let end = events.last().context("an end")?;
    assert_eq!((&end["status"], &end["exit_code"]), (&"failed".into(), &1.into()));
    let run = end["run_id"].as_str().context("run")?;
    let why = place.run(&["why", run, "test"], &[]).await?;
    assert_eq!(why.code, Some(0), "{}", why.err);
    assert!(why.out.contains("assert 3 == 4") && why.out.contains("test_assert"), "{}", why.out);

    let (ended, events) = place.build(&["--resume"], &QUICK).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(of_step(&events, "first").is_empty(), "a finished step is not run again");
    assert_eq!(of_step(&events, "test").first(), Some(&"step_started"));
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_hangs_is_killed_with_its_children_at_its_time_limit() -> Result<()> {
    let sleep = sleeper();
    let file = format!(
        "[[step]]\nname = \"hang\"\nrun = \"(setsid {sleep} &) ; {sleep} & {sleep}\"\n\
         timeout = \"1s\"\n"
    );
    let place = Place::new(&[("metabuilder.toml", &file)])?;
    let vars = [QUICK[0], ("META_V3_MAX_PER_STEP_ATTEMPTS", "1")];
    let (ended, events) = place.build(&[], &vars).await?;
    assert!(matches!(ended.code, Some(1 | 3)), "{:?} {}", ended.code, ended.err);
    let failure = events.iter().find(|e| e["event"] == "failure").context("failure")?;
    assert_eq!(failure["timed_out"], true, "{failure:#}");
    assert!(failure["duration_ms"].as_u64().is_some_and(|ms| ms < 30_000), "{failure:#}");
    until_alive(&sleep, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_every_process_and_resume_goes_on() -> Result<()> {
    let sleep = sleeper();
    let hang =
        format!("[ -f state/seen ] && exit 0; touch state/seen; (setsid {sleep} &) ; {sleep}");
    let file = format!(
        "[[step]]\nname = \"first\"\nrun = \"echo once\"\n\
         [[step]]\nname = \"hang\"\nrun = \"{hang}\"\nneeds = [\"first\"]\ncache = [\"state\"]\n"
    );
    let place = Place::new(&[("metabuilder.toml", &file)])?;
    let data = place.path("data");
    let args = ["build", "project", "--output", "json"];
    let vars = Place::vars(&data, &[]);
    let process = Process::start("metabuilder", &args, &vars, place.root())?;
    until_alive(&sleep, 2).await?;
    process.signal(Signal::SIGINT)?;
    let ended = process.ended().await?;
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    assert_eq!(alive(&sleep), 0, "processes are left");
    let told = events(&ended)?;
    assert_eq!(told.last().context("an end")?["status"], "canceled");

    let (ended, events) = place.build(&["--resume"], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(of_step(&events, "first").is_empty(), "a finished step is not run again");
    assert_eq!(of_step(&events, "hang").last(), Some(&"step_succeeded"));
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_build_is_resumed_and_leaves_no_process() -> Result<()> {
    let sleep = sleeper();
    let hang = format!("[ -f state/seen ] && exit 0; touch state/seen; {sleep}");
    let file = format!(
        "[[step]]\nname = \"first\"\nrun = \"echo once\"\n\
         [[step]]\nname = \"hang\"\nrun = \"{hang}\"\nneeds = [\"first\"]\ncache = [\"state\"]\n"
    );
    let place = Place::new(&[("metabuilder.toml", &file)])?;
    let data = place.path("data");
    let vars = Place::vars(&data, &[]);
    let process = Process::start("metabuilder", &["build", "project"], &vars, place.root())?;
    until_alive(&sleep, 1).await?;
    process.kill().await?;
    until_alive(&sleep, 0).await?;
    let (ended, events) = place.build(&["--resume"], &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(of_step(&events, "first").is_empty(), "a finished step is not run again");
    place.untouched()
}

/// A project that a person has to look at.
fn leaky() -> Result<Place> {
    let file = "[[step]]\nname = \"scan\"\n\
                run = \"echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1\"\n\
                [[step]]\nname = \"last\"\nrun = \"echo done\"\nneeds = [\"scan\"]\n";
    Place::new(&[("metabuilder.toml", file)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_security_finding_waits_and_approving_goes_on() -> Result<()> {
    let place = leaky()?;
    let ended = place.run(&["build", "project"], &[]).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let command =
        ended.out.lines().find_map(|l| l.trim().strip_prefix("approve ")).context("how")?;
    let gate = command.split_whitespace().last().context("gate")?.to_owned();
    let args = ["approve", &gate, "--notes", "a test key", "--output", "json"];
    let ended = place.run(&args, &[]).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let told = events(&ended)?;
    assert_eq!(one(&told, "decided")?["approved"], true);
    assert_eq!(one(&told, "decided")?["notes"], "a test key");
    assert_eq!(of_step(&told, "last"), ["step_started", "step_succeeded"]);
    let ended = place.run(&["approve", &gate], &[]).await?;
    assert_eq!(ended.code, Some(1), "a gate is decided once: {}", ended.err);
    place.untouched()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_finding_fails_the_run() -> Result<()> {
    let place = leaky()?;
    let (ended, told) = place.build(&[], &[]).await?;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    let run = told.last().context("an end")?["run_id"].as_str().context("run")?.to_owned();
    assert!(
        one(&told, "approval_needed")?["approve"].as_str().is_some_and(|c| c.contains("approve"))
    );
    let ended = place.run(&["reject", &run, "--notes", "a real key"], &[]).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let shown = place.run(&["runs", "show", &run, "--output", "json"], &[]).await?;
    let shown: Value = serde_json::from_str(&shown.out)?;
    assert_eq!(shown["status"], "failed", "{shown:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_fix_that_is_off_fails_at_once_and_says_so() -> Result<()> {
    let place = Place::committed(&UNTIDY)?;
    let (ended, events) = place.build(&[], &[("FEATURE_META_V3_AUTOFIX", "false")]).await?;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert_eq!(of_step(&events, "fmt"), ["step_started", "failure", "step_failed"]);
    let reason = one(&events, "step_failed")?["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("off"), "{reason}");
    place.untouched()
}
