//! Metrics, dashboard and rules: a real Prometheus against a live installation, whose numbers have
//! to be what the runs did.

mod model_endpoint;

use anyhow::{Context, Result, ensure};
use meta_tests::dashboard::{dashboard, panels, root, text};
use meta_tests::processes::collector::{Collector, hex};
use meta_tests::processes::prometheus::{Prometheus, Sample};
use meta_tests::processes::{LIMIT, Rest, Up};
use model_endpoint::Model;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the rules and the dashboard see the installation as.
const ENVIRONMENT: &str = "testing";

/// How often everything is done once more for a picture.
const ROUNDS_DRAWN: usize = 12;

/// An expression of the dashboard as Grafana would ask it.
fn asked(expr: &str) -> String {
    expr.replace("$__range", "1h").replace("$__rate_interval", "5m").replace("$environment", ".*")
}

/// What runs did, as their event logs tell it.
#[derive(Debug, Default, PartialEq)]
struct Did {
    attempts: BTreeMap<(String, String), f64>,
    passed: f64,
    replans: f64,
    retries: f64,
    gates: BTreeMap<(String, String), f64>,
    verdicts: BTreeMap<String, f64>,
    failures: BTreeMap<String, f64>,
    strategies: BTreeSet<String>,
}

impl Did {
    fn of(runs: &[Vec<Value>]) -> Self {
        let mut did = Self::default();
        for events in runs {
            did.run(events);
        }
        did
    }

    fn run(&mut self, events: &[Value]) {
        let mut waiting: BTreeMap<String, f64> = BTreeMap::new();
        let mut types: BTreeMap<String, String> = BTreeMap::new();
        for event in events {
            let (kind, data) = (text(&event["type"]), &event["data"]);
            let step = text(&event["step"]).to_owned();
            if let Some(attempt) = data.get("attempt").filter(|a| a.is_object()) {
                let failure = text(&attempt["signal"]["failure_type"]).to_owned();
                let outcome = text(&attempt["outcome"]).to_owned();
                self.strategies.insert(text(&attempt["strategy"]).to_owned());
                *self.attempts.entry((failure, outcome)).or_default() += 1.0;
                *waiting.entry(text(&attempt["step"]).to_owned()).or_default() += 1.0;
                let last = attempt["tries"].as_array().and_then(|t| t.last());
                let verdict = last.map_or("", |t| text(&t["verdict"]));
                if ["accepted", "needs_approval"].contains(&verdict) {
                    *self.verdicts.entry(verdict.to_owned()).or_default() += 1.0;
                }
            }
            let mut gate = |kind: &str, status: &str| {
                *self.gates.entry((kind.to_owned(), status.to_owned())).or_default() += 1.0;
            };
            match kind {
                "autofix.retry" => self.retries += 1.0,
                "autofix.replanned" => self.replans += 1.0,
                "autofix.classified" => {
                    let failure = text(&data["signal"]["failure_type"]).to_owned();
                    *self.failures.entry(failure).or_default() += 1.0;
                }
                "autofix.tried" => {
                    let verdict = text(&data["result"]["verdict"]).to_owned();
                    *self.verdicts.entry(verdict).or_default() += 1.0;
                }
                "autofix.escalated" | "approval.requested" => {
                    let of = text(&data["gate"]["gate_type"]).to_owned();
                    gate(&of, "pending");
                    types.insert(text(&data["gate"]["id"]).to_owned(), of);
                }
                "approval.granted" => gate(&types[text(&data["gate"])], "approved"),
                "approval.rejected" => gate(&types[text(&data["gate"])], "rejected"),
                "step.succeeded" => self.passed += waiting.remove(&step).unwrap_or_default(),
                _ => {}
            }
        }
    }

    /// Attempts added up by one of their labels.
    fn attempts_by(&self, label: impl Fn(&(String, String)) -> &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (labels, count) in &self.attempts {
            *sums.entry(label(labels).to_owned()).or_default() += count;
        }
        sums
    }

    fn all(&self) -> f64 {
        self.attempts.values().sum()
    }
}

/// Values by a label, without what did not happen.
fn by(samples: &[Sample], label: &str) -> BTreeMap<String, f64> {
    let seen = samples.iter().filter(|s| s.value != 0.0);
    seen.map(|s| (s.label(label).to_owned(), s.value)).collect()
}

fn inline(files: &Value, steps: &Value) -> Value {
    let source = json!({ "kind": "inline", "files": files });
    json!({ "title": "driven", "mode": "freeform", "source": source, "steps": steps })
}

async fn started(rest: &Rest, files: Value, steps: Value) -> Result<String> {
    let spec = rest.planned(&inline(&files, &steps)).await?;
    rest.run(&spec, &json!({})).await
}

/// A run for each strategy, each to its end; answers their ids. Two of them have a step that waits
/// for the test: they go one after the other, so that small machines have room.
async fn all_strategies(up: &Up, data: &Path) -> Result<Vec<String>> {
    let rest = &up.rest;
    let go = |run: &str| data.join("runner/runs").join(run).join("ws/go");
    let flaky = "if [ -f state/seen ]; then echo ok; else touch state/seen; echo 'curl: (7) \
                 Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";
    let retry = json!([{ "name": "fetch", "run": flaky, "cache": ["state"] }]);
    let retry = started(rest, json!({ "a": "b" }), retry).await?;

    let fix = json!([{ "name": "check", "run": "grep -q good src/a.txt",
                       "fix": "echo good > src/a.txt" }]);
    let fix = started(rest, json!({ "src/a.txt": "bad\n" }), fix).await?;

    let scan = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";
    let human = json!([{ "name": "scan", "run": scan }]);
    let human = started(rest, json!({ "a": "b" }), human).await?;

    let model = json!([{ "name": "types", "run": "sh tools/check.sh" }]);
    let files = json!({ "tools/check.sh": model_endpoint::SCRIPT,
                        "src/a.py": model_endpoint::SOURCE });
    let model = started(rest, files, model).await?;

    rest.until_status(&retry, "succeeded").await?;
    rest.until_status(&fix, "succeeded").await?;
    rest.until_status(&human, "paused_awaiting_approval").await?;
    rest.post(&format!("/runs/{human}/reject"), &json!({})).await?.with(200)?;
    rest.until_status(&human, "failed").await?;
    rest.until_status(&model, "paused_awaiting_approval").await?;
    rest.post(&format!("/runs/{model}/approve"), &json!({})).await?.with(200)?;
    rest.until_status(&model, "succeeded").await?;

    let make = "until [ -e go ]; do sleep 0.05; done; mkdir -p dist; echo ok > dist/out.txt";
    let plan =
        json!([{ "name": "make", "run": make }, { "name": "use", "run": "cat dist/out.txt" }]);
    let replan = started(rest, json!({ "a": "b" }), plan).await?;
    until_event(rest, &replan, "autofix.replanned").await?;
    std::fs::write(go(&replan), "")?;
    rest.until_status(&replan, "succeeded").await?;

    let bad = "{ echo 'would reformat src/word.txt'; echo '1 file would be reformatted'; exit 1; }";
    let holds = format!("until [ -e go ]; do sleep 0.05; done; grep -q bad src/word.txt || {bad}");
    let check = format!("grep -q good src/word.txt || {bad}");
    let odds = json!([{ "name": "holds", "run": holds },
                      { "name": "check", "run": check, "fix": "echo good > src/word.txt" }]);
    let rollback = started(rest, json!({ "src/word.txt": "bad\n" }), odds).await?;
    until_event(rest, &rollback, "autofix.verification_started").await?;
    std::fs::write(go(&rollback), "")?;
    rest.until_status(&rollback, "failed").await?;
    Ok(vec![retry, fix, model, replan, rollback, human])
}

async fn until_event(rest: &Rest, run: &str, kind: &str) -> Result<()> {
    let mut events = rest.follow(run, 0).await?;
    events.until(|event| event["type"] == kind).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_rule_shows_what_the_runs_did() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (model, collector) = (Model::start()?, Collector::start().await?);
    let mut vars = model.vars();
    vars.push(("METABUILDER_LIMITS", "off"));
    vars.extend(collector.vars());
    let data = folder.path().join("data");
    let mut up = Up::start_with(&data, &["--admin", "127.0.0.1:0"], &vars).await?;
    let admin = up.greeting("metrics and health").await?;
    let target = admin.trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
    let prometheus = Prometheus::start(folder.path(), &[target], ENVIRONMENT).await?;
    // counters are there before anything happens, so that the first event is seen
    prometheus.until("sum(autofix_attempts_total) == 0", |s| s.len() == 1).await?;

    let runs = all_strategies(&up, &data).await?;
    let mut told = Vec::new();
    for run in &runs {
        told.push(up.rest.events(run).await?);
    }
    let did = Did::of(&told);
    // somebody asks for what is not there
    let nobody = "/runs/0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f";
    up.rest.get(nobody).await?.with(404)?;
    let strategies = [
        "fix_specific_issue",
        "manual_intervention",
        "re_plan",
        "regenerate_code",
        "retry_step",
        "rollback",
    ];
    for strategy in strategies {
        ensure!(did.strategies.contains(strategy), "nothing did {strategy}: {did:#?}");
    }
    let all = did.all();
    prometheus
        .until("sum(autofix_attempts_total)", |s| s.first().is_some_and(|s| s.value >= all))
        .await?;
    counters(&prometheus, &did).await?;
    recorded(&prometheus, &did).await?;
    drawn(&prometheus, &did).await?;
    if let Some(file) = std::env::var_os("METABUILDER_DRAW") {
        for _ in 0..ROUNDS_DRAWN {
            all_strategies(&up, &data).await?;
        }
        std::fs::write(file, serde_json::to_string(&series(&prometheus).await?)?)?;
    }
    exemplars(&prometheus, &collector).await?;
    health(&admin, up).await?;
    prometheus.stop().await
}

/// The counters themselves.
async fn counters(prometheus: &Prometheus, did: &Did) -> Result<()> {
    let mut seen = BTreeMap::new();
    for sample in prometheus.query("autofix_attempts_total > 0").await? {
        let labels = (sample.label("signal_type").to_owned(), sample.label("outcome").to_owned());
        seen.insert(labels, sample.value);
    }
    assert_eq!(seen, did.attempts);
    let mut gates = BTreeMap::new();
    for sample in prometheus.query("approval_requests_total > 0").await? {
        let labels = (sample.label("gate_type").to_owned(), sample.label("status").to_owned());
        gates.insert(labels, sample.value);
    }
    assert_eq!(gates, did.gates);
    for (expr, expected) in [
        ("sum(autofix_attempts_passed_total)", did.passed),
        ("autofix_replans_total", did.replans),
        ("autofix_backoff_seconds_count", did.retries),
        ("autofix_backoff_seconds_bucket{le=\"+Inf\"}", did.retries),
        ("sum(cicd_pipeline_run_duration_seconds_count)", 6.0),
        ("sum(metabuilder_telemetry_lost_total)", 0.0),
    ] {
        let value = prometheus.query(expr).await?.first().with_context(|| expr)?.value;
        assert!((value - expected).abs() < f64::EPSILON, "{expr}: {value} is not {expected}");
    }
    let verdicts = prometheus.query("autofix_fixer_tries_total").await?;
    assert_eq!(by(&verdicts, "verdict"), did.verdicts);
    let failures = prometheus.query("autofix_classified_total").await?;
    assert_eq!(by(&failures, "signal_type"), did.failures);
    let results = prometheus.query("cicd_pipeline_run_duration_seconds_count").await?;
    let results = by(&results, "cicd_pipeline_result");
    assert_eq!(results, BTreeMap::from([("success".into(), 4.0), ("failure".into(), 2.0)]));
    Ok(())
}

/// Every rule is healthy and has something to look at; no alarm is raised.
async fn recorded(prometheus: &Prometheus, did: &Did) -> Result<()> {
    let ratio = did.passed / did.all();
    let near =
        move |samples: &[Sample]| samples.len() == 1 && (samples[0].value - ratio).abs() < 0.005;
    let samples = prometheus.until("autofix_success_ratio", near).await?;
    assert_eq!(samples[0].label("environment"), ENVIRONMENT);
    let rejected = "metabuilder:approvals_rejected:ratio6h";
    prometheus.until(rejected, |s| s.len() == 1 && (s[0].value - 0.5).abs() < 0.005).await?;
    let rules = prometheus.rules().await?;
    assert!(rules.len() > 25, "{} rules", rules.len());
    for rule in rules {
        let name = text(&rule["name"]);
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{name}");
        if rule["type"] == "recording" {
            let samples = prometheus.until(name, |samples| !samples.is_empty()).await?;
            let named = samples.iter().all(|s| s.label("environment") == ENVIRONMENT);
            assert!(named && samples.iter().all(|s| s.value.is_finite()), "{name}: {samples:?}");
            continue;
        }
        let (looked_at, ends) = compared(text(&rule["query"]))?;
        let samples = prometheus.query(&looked_at).await?;
        assert!(!samples.is_empty(), "{name} looks at nothing: {looked_at}");
        assert_ne!(rule["state"], "firing", "{name}: {ends} {samples:?}");
        for key in ["summary", "runbook_url"] {
            assert!(!text(&rule["annotations"][key]).is_empty(), "{name} has no {key}");
        }
        let page = root().join(text(&rule["annotations"]["runbook_url"]));
        assert!(page.is_file(), "{name} has no page {}", page.display());
        assert!(["warning", "critical"].contains(&text(&rule["labels"]["severity"])), "{name}");
    }
    Ok(())
}

/// The two sides of an alert's first comparison.
fn compared(query: &str) -> Result<(String, String)> {
    let at = [" < ", " > ", " == "].iter().filter_map(|sign| query.find(sign)).min();
    let at = at.with_context(|| format!("{query} compares nothing"))?;
    Ok((query[..at].to_owned(), query[at..].to_owned()))
}

/// Every panel has data with the labels of its legend; those of the contract say what was done.
/// `increase` extrapolates up to now, which is felt less the longer a test has been scraped: so they
/// are waited for.
async fn drawn(prometheus: &Prometheus, did: &Did) -> Result<()> {
    for panel in panels(&dashboard()?) {
        let title = text(&panel["title"]);
        for (n, target) in panel["targets"].as_array().context("targets")?.iter().enumerate() {
            let expr = asked(text(&target["expr"]));
            let some = |s: &[Sample]| {
                let data = !s.is_empty() && s.iter().all(|s| s.value.is_finite());
                data && (n > 0 || agrees(title, s, did))
            };
            let samples = prometheus.until(&expr, some).await.with_context(|| title.to_owned())?;
            for part in text(&target["legendFormat"]).split("{{").skip(1) {
                let label = part.split("}}").next().unwrap_or_default();
                let named = samples.iter().all(|s| !s.label(label).is_empty());
                assert!(named, "{title}: {label} is missing in {samples:?}");
            }
        }
    }
    Ok(())
}

/// Whether what a panel of the contract shows is what the runs did.
fn agrees(title: &str, shown: &[Sample], did: &Did) -> bool {
    let only = shown.first().map_or(f64::NAN, |s| s.value);
    match title {
        "Auto-Fix Attempts by Signal Type" => {
            by(shown, "signal_type") == did.attempts_by(|(kind, _)| kind)
        }
        "Auto-Fix Outcomes" => by(shown, "outcome") == did.attempts_by(|(_, outcome)| outcome),
        "Auto-Fix Success Ratio" => (only - did.passed / did.all()).abs() < 0.005,
        "Re-Plans Triggered" => (only - did.replans).abs() < f64::EPSILON,
        "Backoff Delay Distribution" => by(shown, "le").get("+Inf") == Some(&did.retries),
        "Approval Requests" => {
            let mut statuses = BTreeMap::new();
            for ((_, status), count) in &did.gates {
                *statuses.entry(status.clone()).or_insert(0.0) += count;
            }
            let rounded = by(shown, "status").into_iter().map(|(s, n)| (s, n.round()));
            rounded.collect::<BTreeMap<_, _>>() == statuses
        }
        "Processing Time by Operation" => {
            let seen: BTreeSet<String> = by(shown, "operation").into_keys().collect();
            let spent = [
                "classify", "decide", "draft", "propose", "review", "verify", "commit", "rollback",
                "collect",
            ];
            spent.iter().all(|operation| seen.contains(*operation))
        }
        _ => true,
    }
}

/// What every panel shows over time, for a picture.
async fn series(prometheus: &Prometheus) -> Result<Value> {
    let mut drawn = Vec::new();
    for mut panel in panels(&dashboard()?) {
        let mut results = Vec::new();
        for target in panel["targets"].as_array().cloned().unwrap_or_default() {
            let expr = asked(text(&target["expr"])).replace("[5m]", "[20s]");
            results.push(prometheus.range(&expr, 3).await?);
        }
        panel["results"] = results.into();
        drawn.push(panel);
    }
    Ok(drawn.into())
}

/// A measurement leads to the trace that it was made in.
async fn exemplars(prometheus: &Prometheus, collector: &Collector) -> Result<()> {
    for metric in
        ["autofix_processing_seconds_bucket", "http_server_request_duration_seconds_bucket"]
    {
        let found = prometheus.exemplars(metric).await?;
        let list = found.as_array().context("exemplars")?;
        let ids: BTreeSet<String> = list
            .iter()
            .flat_map(|s| s["exemplars"].as_array().cloned().unwrap_or_default())
            .map(|e| text(&e["labels"]["trace_id"]).to_owned())
            .collect();
        assert!(!ids.is_empty(), "{metric} has no exemplar");
        let sent = |kept: &meta_tests::processes::collector::Kept| {
            let known: BTreeSet<_> = kept.spans.iter().map(|t| hex(&t.span.trace_id)).collect();
            ids.iter().all(|id| known.contains(id))
        };
        collector.until("the traces of the exemplars", sent).await?;
    }
    Ok(())
}

/// The admin address says that the process lives and is ready.
async fn health(admin: &str, up: Up) -> Result<()> {
    for (path, status) in [("livez", 200), ("readyz", 200), ("elsewhere", 404)] {
        let answer = reqwest::get(admin.replace("metrics", path)).await?;
        assert_eq!(answer.status(), status, "{path}");
    }
    let ended = tokio::time::timeout(LIMIT, up.process.stop()).await??;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    Ok(())
}
