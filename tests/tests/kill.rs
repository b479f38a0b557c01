//! `kill -9` of `metabuilder up` at different moments of a run's life: what was acknowledged
//! survives, nothing is recorded twice, no budget is overdrawn, and the run ends as it should.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::{Deployment, Up, broken_promises, follow_up};
use serde_json::{Value, json};

/// Fails the first time; its cache remembers.
const FLAKY: &str = "if [ -f state/seen ]; then echo ok; else touch state/seen; \
    echo 'curl: (7) Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";
/// Passes once the step's own fix was applied.
const STYLE: &str = "grep -q good src/word.txt || \
    { echo 'would reformat src/word.txt'; echo '1 file would be reformatted'; exit 1; }";
const SCAN: &str = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";
/// Turns of the loop that a step and the run may have.
const BUDGET: (usize, usize) = (2, 4);

/// Two branches that meet before a gate: one slow, one that is healed by a patch and a retry.
fn spec() -> Value {
    json!({
        "title": "to be killed",
        "mode": "freeform",
        "source": { "kind": "inline", "files": { "src/word.txt": "bad\n" } },
        "steps": [
            { "name": "slow", "run": "echo slowly; sleep 0.7; echo done" },
            { "name": "style", "run": STYLE, "fix": "sed -i s/bad/good/ src/word.txt" },
            { "name": "flaky", "run": FLAKY, "cache": ["state"], "needs": ["style"] },
            { "name": "scan", "run": SCAN, "needs": ["slow", "flaky"] },
            { "name": "last", "run": "grep good src/word.txt; sleep 0.3", "needs": ["scan"] },
        ],
    })
}

/// Starts a run, kills the process as soon as the event is acknowledged to a reader, starts it
/// again on the same folder, and sees the run to its end.
async fn killed_at(event: &str, step: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let up = Up::start(&data, &[]).await?;
    let spec = up.rest.planned(&spec()).await?;
    let settings = json!({ "max_per_step_attempts": BUDGET.0, "max_total_attempts": BUDGET.1 });
    let run_spec = json!({ "settings": settings });
    let runs = format!("/specs/{spec}/runs");
    let made = up.rest.post_once(&runs, "the-only-run", &run_spec).await?.with(201)?;
    let run = made["data"]["id"].as_str().context("id")?.to_owned();
    let mut events = up.rest.follow(&run, 0).await?;
    let mut seen = Vec::new();
    loop {
        let next = events.next().await?.context("the run ended before the moment came")?;
        let (kind, of) = (next["type"].clone(), next["step"].clone());
        seen.push(next);
        if kind == "run.paused" {
            up.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
        }
        if kind == event && (step.is_empty() || of == step) {
            break;
        }
    }
    let key = up.key.clone();
    assert_eq!(up.process.kill().await?.signal, Some(9));

    let up = Up::start(&data, &[]).await?;
    assert_eq!(up.key, key, "the development token stays");
    let again = up.rest.post_once(&runs, "the-only-run", &run_spec).await?.with(201)?;
    assert_eq!(again["data"]["id"], run.as_str(), "the same key is the same run");
    let list = up.rest.get("/runs").await?.with(200)?;
    assert_eq!(list["meta"]["total"], 1, "{list:#}");
    let now = up.rest.events(&run).await?;
    ensure!(now.starts_with(&seen), "acknowledged events were lost:\n{seen:#?}\nnow:\n{now:#?}");
    if !now.iter().any(|e| e["type"] == "approval.granted") {
        up.rest.until_status(&run, "paused_awaiting_approval").await?;
        up.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    }
    let ended = up.rest.until_status(&run, "succeeded").await?;
    let second = up.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?;
    assert_eq!(second.status, 409, "a gate is decided once: {:#}", second.body);

    let all = up.rest.events(&run).await?;
    assert_eq!(broken_promises(&all, BUDGET.0, BUDGET.1), [""; 0], "{all:#?}");
    assert_eq!(follow_up(&up.rest, &run, seen).await?, all, "a reader who comes back");
    assert_eq!(ended["last_seq"], all.len());
    let steps = up.rest.steps(&run).await?;
    for (name, attempts) in [("slow", 0..=0), ("style", 1..=1), ("flaky", 0..=1), ("scan", 1..=1)] {
        let step = &steps[name];
        assert_eq!(step["status"], "succeeded", "{name}: {step:#}");
        let got = step["attempts"].as_u64().context("attempts")?;
        assert!(attempts.contains(&got), "{name} has {got} attempts: {step:#}");
    }
    let success = |e: &&Value| e["type"] == "step.succeeded" || e["type"] == "step.accepted";
    let again = all.iter().filter(|e| e["type"] == "step.outdated").count();
    assert_eq!(all.iter().filter(success).count(), steps.len() + again);
    let patch = up.rest.get(&format!("/runs/{run}/artifacts/patch")).await?.with(200)?;
    let patch = patch.as_str().context("patch")?;
    assert_eq!(patch.matches("+good").count(), 1, "{patch}");
    let ended = up.process.stop().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("INVARIANT"), "{}", ended.err);
    Ok(())
}

/// A test a moment.
macro_rules! moments {
    ($($name:ident: $event:literal of $step:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() -> Result<()> {
                killed_at($event, $step).await
            }
        )+
    };
}

moments! {
    killed_when_the_run_was_acknowledged: "run.created" of "";
    killed_when_the_workspace_was_made: "run.prepared" of "";
    killed_while_a_slow_step_executes: "step.started" of "slow";
    killed_when_a_failure_was_recorded: "step.attempt_failed" of "style";
    killed_when_a_failure_was_classified: "autofix.classified" of "style";
    killed_while_a_fixer_works: "autofix.fix_started" of "style";
    killed_while_a_patch_is_verified: "autofix.verification_started" of "style";
    killed_when_a_patch_was_committed: "autofix.patch_applied" of "style";
    killed_while_a_backoff_runs: "autofix.retry" of "flaky";
    killed_when_a_retry_passed: "step.succeeded" of "flaky";
    killed_while_a_gate_waits: "autofix.escalated" of "scan";
    killed_when_a_gate_was_approved: "approval.granted" of "scan";
    killed_while_the_last_step_executes: "step.started" of "last";
}

/// The moments above follow one another; this one kills again and again within one run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_although_its_process_is_killed_after_every_few_events() -> Result<()> {
    const KILLS: usize = 5;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut up = Up::start(&data, &[]).await?;
    let spec = up.rest.planned(&spec()).await?;
    let run = up.rest.run(&spec, &json!({})).await?;
    let mut last = 0;
    for _ in 0..KILLS {
        let mut events = up.rest.follow(&run, last).await?;
        // the gate is not reached by the fifth kill; until then there is always more to come
        for _ in 0..3 {
            let next = events.next().await?.context("more events")?;
            ensure!(next["seq"] == last + 1, "after {last} came {next:#}");
            last += 1;
        }
        up.process.kill().await?;
        up = Up::start(&data, &[]).await?;
    }
    up.rest.until_status(&run, "paused_awaiting_approval").await?;
    up.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    up.rest.until_status(&run, "succeeded").await?;
    let all = up.rest.events(&run).await?;
    assert_eq!(broken_promises(&all, 5, 10), [""; 0], "{all:#?}");
    assert_eq!(up.process.stop().await?.code, Some(0));
    Ok(())
}

/// Each service is killed while the run needs it; the others live on.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_death_of_each_service() -> Result<()> {
    let mut deployment = Deployment::start().await?;
    let rest = deployment.rest.clone();
    let spec = json!({
        "title": "to survive",
        "mode": "freeform",
        "source": { "kind": "inline", "files": { "src/word.txt": "bad\n" } },
        "steps": [
            { "name": "build", "run": "echo one; sleep 2; echo two" },
            { "name": "style", "run": STYLE, "fix": "sed -i s/bad/good/ src/word.txt",
              "needs": ["build"] },
            { "name": "test", "run": "[ -f state/seen ] || { touch state/seen; echo here; sleep 100; }",
              "cache": ["state"], "needs": ["style"] },
        ],
    });
    let spec = rest.planned(&spec).await?;
    let run = rest.run(&spec, &json!({})).await?;
    let mut events = rest.follow(&run, 0).await?;
    events.until(|e| e["type"] == "step.started").await?;
    // the runner has it: a task whose answer dies with the orchestrator is handed out again
    rest.until_logged(&run, "build", "one").await?;

    // the runner works on and reports its result to the next orchestrator
    deployment.kill("orchestrator").await?;
    deployment.kill("classifier").await?;
    deployment.kill("autofixer").await?;
    deployment.start_again("orchestrator").await?;
    let mut events = rest.follow(&run, 0).await?;
    events.until(|e| e["type"] == "step.succeeded" && e["step"] == "build").await?;
    assert_eq!(rest.steps(&run).await?["build"]["executions"], 1, "it was not run again");

    // a failure waits for those who judge it
    events.until(|e| e["type"] == "step.attempt_failed").await?;
    deployment.start_again("classifier").await?;
    deployment.start_again("autofixer").await?;
    events.until(|e| e["type"] == "autofix.patch_applied").await?;

    // what a runner had in hand is given to the next one once its lease is over
    rest.until_logged(&run, "test", "here").await?;
    deployment.kill("runner").await?;
    deployment.kill("flag-resolver").await?;
    deployment.start_again("flag-resolver").await?;
    deployment.start_again("runner").await?;
    rest.until_status(&run, "succeeded").await?;
    let all = rest.events(&run).await?;
    assert_eq!(broken_promises(&all, 5, 10), [""; 0], "{all:#?}");
    let steps = rest.steps(&run).await?;
    assert_eq!((&steps["test"]["executions"], &steps["test"]["attempts"]), (&2.into(), &0.into()));
    Ok(())
}
