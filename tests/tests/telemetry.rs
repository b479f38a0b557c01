//! The rules, the dashboard and the reference of the metrics, as they are written.

use anyhow::{Context, Result};
use meta_telemetry::definition::Values;
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
    }
    Ok(())
}

fn is_quiet(case: &str) -> bool {
    case.contains("exp_alerts: []")
}

/// An alert's page is named by its `runbook_url`, and says what somebody who was woken needs.
#[test]
fn every_alert_names_a_page_that_helps() -> Result<()> {
    let alerts = std::fs::read_to_string(root().join("ops/prometheus/alerts.yml"))?;
    let mut pages = BTreeSet::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or_default().trim();
        let field = |key: &str| {
            let found = alert.lines().find_map(|l| l.trim().strip_prefix(key));
            found.map(str::trim).with_context(|| format!("{name} has no {key}"))
        };
        let (url, severity) = (field("runbook_url:")?, field("severity:")?);
        let (path, section) = url.split_once('#').unwrap_or((url, ""));
        let page = std::fs::read_to_string(root().join(path)).with_context(|| url.to_owned())?;
        assert!(pages.insert(path.to_owned()), "{url} is the page of another alert too");
        assert!(page.starts_with(&format!("# {name}\n")), "{url} is about something else");
        assert!(page.contains(&format!("Severity: {severity}.")), "{url}: severity {severity}");
        let sections: Vec<String> =
            page.lines().filter_map(|l| l.strip_prefix("## ")).map(anchor).collect();
        assert!(section.is_empty() || sections.contains(&section.to_owned()), "{url}");
        let parts = ["What it means", "How bad it is", "What to look at", "What to do"];
        assert_eq!(sections, parts.map(anchor), "{url}");
        for (part, least) in [("What to look at", 2), ("What to do", 2)] {
            let text = page.split(&format!("## {part}\n")).nth(1).unwrap_or_default();
            let text = text.split("\n## ").next().unwrap_or_default();
            let item = |line: &&str| line.starts_with("- ") || line.starts_with(char::is_numeric);
            let items = text.lines().filter(item).count();
            assert!(items >= least, "{url}: {part} names {items} things");
        }
        assert!(page.contains("```"), "{url} has no line that can be typed");
    }
    let all = std::fs::read_dir(root().join("docs/runbooks"))?.count();
    assert_eq!(pages.len(), all, "a page without an alert");
    Ok(())
}

/// The anchor of a heading, as it is linked to.
fn anchor(heading: &str) -> String {
    heading.trim().to_lowercase().replace(' ', "-")
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

/// The kinds of panels that Grafana brings along, of which the dashboard is made.
const KINDS: [&str; 6] = ["stat", "gauge", "histogram", "piechart", "timeseries", "barchart"];
/// Grafana's units that the dashboard uses.
const UNITS: [&str; 5] = ["short", "s", "percentunit", "reqps", "bytes"];
/// Variables that Grafana sets.
const BUILT_IN: [&str; 2] = ["__range", "__rate_interval"];

/// What an import looks at, or stumbles over later.
#[test]
fn an_import_finds_nothing_amiss_in_the_dashboard() -> Result<()> {
    let board = dashboard()?;
    let letters = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let uid = text(&board["uid"]);
    assert!(uid.len() <= 40 && uid.chars().all(letters), "{uid}");
    assert!(board.get("__inputs").is_none(), "an import would ask for a data source by hand");
    assert!(board["schemaVersion"].as_u64().is_some_and(|v| (36..=42).contains(&v)));
    let variables = board["templating"]["list"].as_array().context("variables")?;
    let mut known: BTreeSet<&str> = BUILT_IN.into();
    for variable in variables {
        if variable["type"] == "query" {
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
        }
        for used in variables_of(&variable.to_string()) {
            assert!(known.contains(used.as_str()), "{used} is used before it is defined");
        }
        assert!(known.insert(text(&variable["name"])), "{variable} is there twice");
    }
    let mut used = BTreeSet::new();
    for panel in board["panels"].as_array().context("panels")? {
        let title = text(&panel["title"]);
        let size = &panel["gridPos"];
        if panel["type"] == "row" {
            assert_eq!((&size["w"], &size["h"]), (&json!(24), &json!(1)), "{title}");
            assert_eq!((&panel["collapsed"], &panel["panels"]), (&json!(false), &json!([])));
            continue;
        }
        assert!(size["h"].as_u64() >= Some(4) && size["w"].as_u64() >= Some(4), "{title}");
        assert!(KINDS.contains(&text(&panel["type"])), "{title}: {}", panel["type"]);
        fields_make_sense(title, &panel["fieldConfig"])?;
        for target in panel["targets"].as_array().context("targets")? {
            asks_properly(title, target)?;
            used.extend(variables_of(text(&target["expr"])));
        }
    }
    used.insert("datasource".to_owned());
    let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
    assert_eq!(used, known, "variables that are used, and those that are there");
    Ok(())
}

/// `$name`, `${name}` and `[[name]]` of a text.
fn variables_of(text: &str) -> BTreeSet<String> {
    assert!(!text.contains("[["), "the old way to write a variable: {text}");
    let names = text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
    });
    // what the menu calls "all of them" is a value
    names.filter(|name| !name.is_empty() && name != "__all").collect()
}

/// A panel's unit, thresholds and colours.
fn fields_make_sense(title: &str, config: &Value) -> Result<()> {
    let defaults = &config["defaults"];
    assert!(UNITS.contains(&text(&defaults["unit"])), "{title}: {}", defaults["unit"]);
    let steps = defaults["thresholds"]["steps"].as_array().context("steps")?;
    let values: Vec<f64> = steps.iter().skip(1).filter_map(|s| s["value"].as_f64()).collect();
    assert_eq!(steps.first().map(|s| &s["value"]), Some(&Value::Null), "{title}");
    assert!(values.len() + 1 == steps.len() && values.is_sorted(), "{title}: {values:?}");
    let words: BTreeSet<&str> = meta_telemetry::catalogue::ALL
        .iter()
        .flat_map(|metric| metric.definition.labels)
        .filter_map(|label| match &label.values {
            Values::Words(words) => Some(*words),
            Values::Table(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    for change in config["overrides"].as_array().context("overrides")? {
        let about = text(&change["matcher"]["options"]);
        match text(&change["matcher"]["id"]) {
            "byName" => assert!(words.contains(about), "{title}: nothing is called {about}"),
            "byRegexp" => {
                let inner = about.strip_prefix('/').and_then(|a| a.strip_suffix('/'));
                regex::Regex::new(inner.with_context(|| about.to_owned())?)?;
            }
            other => anyhow::bail!("{title}: {other}"),
        }
    }
    Ok(())
}

/// A target asks once, for the time that its panel shows, and its legend has what the answer has.
fn asks_properly(title: &str, target: &Value) -> Result<()> {
    assert_eq!(target["datasource"]["type"], "prometheus", "{title}");
    let id = text(&target["refId"]);
    assert!(id.len() == 1 && id.chars().all(|c| c.is_ascii_uppercase()), "{title}: {id}");
    let (instant, range) = (target["instant"].as_bool(), target["range"].as_bool());
    assert_eq!(instant.map(|i| !i), range, "{title}: one answer, or one for each time");
    let expr = text(&target["expr"]);
    let spans = (expr.contains("$__range]"), expr.contains("$__rate_interval]"));
    assert!(!(instant == Some(true) && spans.1), "{title}: one answer is for the whole range");
    assert!(!(range == Some(true) && spans.0), "{title}: each answer is for its own time");
    let kept: BTreeSet<&str> = expr
        .split("by (")
        .skip(1)
        .flat_map(|rest| rest.split(')').next().unwrap_or_default().split(", "))
        .collect();
    for part in text(&target["legendFormat"]).split("{{").skip(1) {
        let label = part.split("}}").next().unwrap_or_default();
        assert!(kept.is_empty() || kept.contains(label), "{title}: no {label} is left by {expr}");
    }
    Ok(())
}

#[tokio::test]
async fn every_expression_of_the_dashboard_is_promql() -> Result<()> {
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    for (n, target) in
        panels(&dashboard()?).iter().filter_map(|p| p["targets"].as_array()).flatten().enumerate()
    {
        let expr =
            text(&target["expr"]).replace("$__range", "6h").replace("$__rate_interval", "1m");
        rules.push_str(&format!("  - record: panel:{n}\n    expr: {}\n", json!(expr)));
    }
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("panels.yml"), &rules)?;
    let ended = promtool(&["check", "rules", "panels.yml"], folder.path()).await?;
    assert_eq!(ended.code, Some(0), "{}{}\n{rules}", ended.out, ended.err);
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
