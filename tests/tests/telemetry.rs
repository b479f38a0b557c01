//! The rules, the dashboard and the reference of the metrics, as they are written.

use anyhow::{Context, Result};
use meta_tests::dashboard::{dashboard, panels, root, text};
use meta_tests::processes::prometheus::promtool;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn rules_are_valid_and_every_alert_is_tested_firing_and_not() -> Result<()> {
    let folder = root().join("ops/prometheus");
    for args in [
        &["check", "rules", "recording.yml", "alerts.yml"][..],
        &["check", "config", "prometheus.yml"],
        &["test", "rules", "tests/alerts_test.yml"],
    ] {
        let ended = promtool(args, &folder).await?;
        assert_eq!(ended.code, Some(0), "{args:?}: {}{}", ended.out, ended.err);
    }
    let alerts = std::fs::read_to_string(folder.join("alerts.yml"))?;
    let tests = std::fs::read_to_string(folder.join("tests/alerts_test.yml"))?;
    let names = alerts.lines().filter_map(|l| l.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = names.collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let cases: Vec<&str> = tests.split(&format!("alertname: {name}\n")).skip(1).collect();
        let quiet = |case: &&&str| case.split("alertname:").next().is_some_and(is_quiet);
        let silent = cases.iter().filter(quiet).count();
        assert!(silent >= 1 && silent < cases.len(), "{name} is not tested both ways");
        let page = root().join(format!("docs/runbooks/{name}.md"));
        let page = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        for part in ["## What it means", "## What to look at", "## What to do"] {
            assert!(page.contains(part), "{name}: {part} is missing");
        }
    }
    Ok(())
}

fn is_quiet(case: &str) -> bool {
    case.contains("exp_alerts: []")
}

/// The seven panels of the contract with their kinds.
const PANELS: [(&str, &str); 7] = [
    ("Auto-Fix Attempts by Signal Type", "stat"),
    ("Auto-Fix Success Ratio", "gauge"),
    ("Backoff Delay Distribution", "histogram"),
    ("Re-Plans Triggered", "stat"),
    ("Approval Requests", "timeseries"),
    ("Auto-Fix Outcomes", "piechart"),
    ("Processing Time by Operation", "barchart"),
];

#[test]
fn the_dashboard_can_be_imported() -> Result<()> {
    let board = dashboard()?;
    assert_eq!(
        (text(&board["uid"]), text(&board["title"])),
        ("meta-builder-v3", "Meta-Builder v3")
    );
    assert!(board["schemaVersion"].as_u64().is_some_and(|v| v >= 36));
    assert_eq!(board.get("id"), None, "an import makes its own");
    let mut ids = BTreeSet::new();
    let mut places: Vec<[u64; 4]> = Vec::new();
    for panel in board["panels"].as_array().context("panels")? {
        let id = panel["id"].as_u64().context("an id")?;
        assert!(ids.insert(id), "{id} is there twice");
        let at = |name: &str| panel["gridPos"][name].as_u64().context("a place");
        let place = [at("x")?, at("y")?, at("w")?, at("h")?];
        assert!(place[0] + place[2] <= 24, "{panel:#}");
        let beside = |p: &[u64; 4]| {
            p[0] + p[2] <= place[0]
                || place[0] + place[2] <= p[0]
                || p[1] + p[3] <= place[1]
                || place[1] + place[3] <= p[1]
        };
        assert!(places.iter().all(beside), "{} lies on another one", panel["title"]);
        places.push(place);
    }
    for panel in panels(&board) {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        let targets = panel["targets"].as_array().context("targets")?;
        let refs: BTreeSet<&str> = targets.iter().map(|t| text(&t["refId"])).collect();
        assert!(!refs.is_empty() && refs.len() == targets.len(), "{}", panel["title"]);
        for target in targets {
            let expr = text(&target["expr"]);
            assert!(expr.contains("environment=~\"$environment\""), "{expr}");
            assert_eq!(target["datasource"]["uid"], "${datasource}");
        }
        assert!(!text(&panel["description"]).is_empty(), "{}", panel["title"]);
    }
    for (title, kind) in PANELS {
        let panel = panels(&board).into_iter().find(|p| p["title"] == title);
        assert_eq!(panel.with_context(|| title.to_owned())?["type"], kind, "{title}");
    }
    let gauge = panels(&board).into_iter().find(|p| p["type"] == "gauge").context("a gauge")?;
    let steps = gauge["fieldConfig"]["defaults"]["thresholds"]["steps"].as_array().cloned();
    let steps: Vec<Value> = steps.unwrap_or_default().iter().map(|s| s["value"].clone()).collect();
    assert_eq!(steps, [Value::Null, json!(0.7), json!(0.8)]);
    let variables = board["templating"]["list"].as_array().context("variables")?;
    let names: Map<String, Value> =
        variables.iter().map(|v| (text(&v["name"]).to_owned(), v["type"].clone())).collect();
    assert_eq!(Value::from(names), json!({ "datasource": "datasource", "environment": "query" }));
    Ok(())
}

#[test]
fn the_reference_of_the_metrics_is_fresh() -> Result<()> {
    let path = root().join("docs/METRICS.md");
    let page = meta_telemetry::reference::page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page)?;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "docs/METRICS.md is stale: make docs-metrics");
    Ok(())
}
