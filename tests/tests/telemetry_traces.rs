//! Traces, logs and metrics by OTLP, from separate processes to a collector.

use anyhow::{Context, Result, ensure};
use meta_tests::processes::collector::{Collector, Told, hex};
use meta_tests::processes::{Deployment, Up};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A step that fails of a refused connection until its cache knows that it was there.
const FLAKY: &str = "if [ -f state/seen ]; then echo ok; else touch state/seen; \
    echo 'curl: (7) Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";
/// A step that finds a secret.
const SCAN: &str = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";
/// Who asks, and its place in a trace of its own.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ASKING: &str = "00f067aa0ba902b7";

fn spec() -> Value {
    json!({
        "title": "healed",
        "mode": "freeform",
        "source": { "kind": "inline", "files": { "src/a.txt": "bad\n" } },
        "steps": [
            { "name": "fetch", "run": FLAKY, "cache": ["state"] },
            { "name": "check", "run": "grep -q good src/a.txt", "needs": ["fetch"],
              "fix": "echo good > src/a.txt" },
            { "name": "scan", "run": SCAN, "needs": ["check"] },
        ],
    })
}

/// The same variables for every process.
fn everywhere<'a>(vars: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str, &'a str)> {
    let all = ["classifier", "flag-resolver", "autofixer", "orchestrator", "runner", "gateway"];
    all.iter().flat_map(|of| vars.iter().map(|(name, value)| (*of, *name, *value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healed_run_is_one_trace_across_all_processes_and_a_restart() -> Result<()> {
    let collector = Collector::start().await?;
    let vars = everywhere(&collector.vars());
    let mut deployment = Deployment::start_with(&vars).await?;
    let spec = deployment.rest.planned(&spec()).await?;
    let made = deployment
        .rest
        .request(Method::POST, &format!("/specs/{spec}/runs"))
        .header("traceparent", format!("00-{TRACE}-{ASKING}-01"))
        .json(&json!({ "data": { "attributes": { "settings": { "max_total_attempts": 7 } } } }))
        .send()
        .await?;
    let answered = made.headers()["traceparent"].to_str()?.to_owned();
    ensure!(answered.contains(TRACE), "the answer names the trace: {answered}");
    let made: Value = made.json().await?;
    let run = made["data"]["id"].as_str().with_context(|| format!("{made:#}"))?.to_owned();
    deployment.rest.until_status(&run, "paused_awaiting_approval").await?;

    // what works on the run now knows nothing of it but what is stored
    deployment.take("orchestrator")?.process.stop().await?;
    deployment.start_again("orchestrator").await?;
    deployment.rest.ready().await?;
    deployment.rest.post(&format!("/runs/{run}/approve"), &json!({})).await?.with(200)?;
    deployment.rest.until_status(&run, "succeeded").await?;

    let ended = |t: &Told| t.span.name.starts_with("RUN ") && hex(&t.span.trace_id) == TRACE;
    collector.until("the run's span", |kept| kept.spans.iter().any(ended)).await?;
    let all = ["gateway", "flag-resolver", "orchestrator", "runner", "classifier", "autofixer"];
    let here = |kept: &meta_tests::processes::collector::Kept| {
        let of = kept.spans.iter().filter(|t| hex(&t.span.trace_id) == TRACE);
        let services: BTreeSet<&str> = of.map(|t| t.service.as_str()).collect();
        all.iter().all(|name| services.contains(format!("metabuilder-{name}").as_str()))
    };
    collector.until("a span of every process", here).await?;
    let spans = until_whole(&collector).await?;
    connected(&spans)?;
    conventional(&spans, &run)?;
    logs_name_the_trace(&collector, &deployment, &run).await?;
    a_source_is_inspected_in_the_trace_of_who_asks(&collector).await?;
    let kept = collector.kept();
    for (of, name) in [
        ("orchestrator", "autofix_attempts_total"),
        ("orchestrator", "metabuilder_store_commit_seconds"),
        ("runner", "autofix_processing_seconds"),
        ("gateway", "http.server.request.duration"),
        ("classifier", "rpc.server.call.duration"),
    ] {
        let wanted = (format!("metabuilder-{of}"), name.to_owned());
        assert!(kept.metrics.contains(&wanted), "{wanted:?} is not in {:?}", kept.metrics);
    }
    Ok(())
}

/// The spans of the trace, once no parent is missing: processes send at their own times.
async fn until_whole(collector: &Collector) -> Result<Vec<Told>> {
    let whole = |kept: &meta_tests::processes::collector::Kept| {
        let of = kept.spans.iter().filter(|t| hex(&t.span.trace_id) == TRACE);
        orphans(&of.cloned().collect::<Vec<_>>()).is_empty()
    };
    collector.until("every parent", whole).await?;
    Ok(collector.trace(TRACE))
}

/// Spans whose parent nobody told.
fn orphans(spans: &[Told]) -> Vec<String> {
    let known: BTreeSet<String> = spans.iter().map(|t| hex(&t.span.span_id)).collect();
    let told = |id: &String| known.contains(id) || id == ASKING;
    let lost = spans.iter().filter(|t| !told(&hex(&t.span.parent_span_id)));
    lost.map(|t| format!("{} of {}", t.span.name, t.service)).collect()
}

fn connected(spans: &[Told]) -> Result<()> {
    let ids: BTreeSet<String> = spans.iter().map(|t| hex(&t.span.span_id)).collect();
    assert_eq!(ids.len(), spans.len(), "every span is told once");
    assert_eq!(orphans(spans), [""; 0]);
    let mut parents: BTreeMap<String, String> = BTreeMap::new();
    for told in spans {
        parents.insert(hex(&told.span.span_id), hex(&told.span.parent_span_id));
    }
    for told in spans {
        let mut at = hex(&told.span.span_id);
        for _ in 0..=spans.len() {
            if at == ASKING {
                break;
            }
            at = parents.get(&at).context("a parent")?.clone();
        }
        assert_eq!(at, ASKING, "{} is not below who asked", told.span.name);
    }
    let root = spans.iter().filter(|t| hex(&t.span.parent_span_id) == ASKING);
    let root: Vec<_> = root.map(|t| (t.service.as_str(), t.span.name.as_str())).collect();
    assert_eq!(root, [("metabuilder-gateway", "POST /api/meta/v2/specs/{spec_id}/runs")]);
    Ok(())
}

/// The names and attributes of OpenTelemetry's conventions for CI/CD, RPC and HTTP.
fn conventional(spans: &[Told], run: &str) -> Result<()> {
    let named = |name: &str| {
        let found = spans.iter().find(|t| t.span.name == name);
        found.with_context(|| {
            let names: Vec<_> = spans.iter().map(|t| &t.span.name).collect();
            format!("no span {name} in {names:?}")
        })
    };
    let of_run = spans.iter().find(|t| t.span.name.starts_with("RUN ")).context("the run")?;
    assert_eq!(of_run.attribute("cicd.pipeline.run.id"), run);
    assert_eq!(of_run.attribute("cicd.pipeline.result"), "success");
    assert_eq!(of_run.attribute("cicd.pipeline.action.name"), "RUN");
    for (step, executions) in [("fetch", "2"), ("check", "2"), ("scan", "1")] {
        let of_step = named(&format!("step {step}"))?;
        assert_eq!(of_step.span.parent_span_id, of_run.span.span_id, "{step}");
        assert_eq!(of_step.attribute("cicd.pipeline.task.name"), step);
        assert_eq!(of_step.attribute("cicd.pipeline.task.run.result"), "success", "{step}");
        assert_eq!(of_step.attribute("metabuilder.step.executions"), executions, "{step}");
        let executed = named(&format!("execute {step}"))?;
        assert_eq!(executed.span.parent_span_id, of_step.span.span_id);
        assert_eq!(executed.service, "metabuilder-runner");
        named(&format!("judge {step}"))?;
    }
    for (name, service) in [
        ("metabuilder.orchestrator.v1.RunService/CreateRun", "orchestrator"),
        ("metabuilder.flags.v1.FlagsService/SetOverrides", "flag-resolver"),
        ("metabuilder.classifier.v1.ClassifierService/Classify", "classifier"),
        ("metabuilder.autofixer.v1.AutofixerService/Decide", "autofixer"),
        ("metabuilder.autofixer.v1.AutofixerService/ReviewPatch", "autofixer"),
    ] {
        let service = format!("metabuilder-{service}");
        let served = spans.iter().find(|t| t.span.name == name && t.service == service);
        let served = served.with_context(|| format!("no {name} by {service}"))?;
        assert_eq!(served.attribute("rpc.system.name"), "grpc");
        assert_eq!(served.attribute("rpc.response.status_code"), "OK", "{name}");
    }
    let fixers = spans.iter().filter(|t| t.span.name.starts_with("fixer "));
    assert_eq!(fixers.count(), 1, "the fixer is in the trace");
    assert_eq!(named("verify check")?.service, "metabuilder-runner");
    assert_eq!(named("commit")?.attribute("metabuilder.task.kind"), "commit");
    Ok(())
}

/// A plan needs a look into the source, which belongs to no run: it is a part of the request.
async fn a_source_is_inspected_in_the_trace_of_who_asks(collector: &Collector) -> Result<()> {
    let asks = "metabuilder.orchestrator.v1.PlanService/CreatePlan";
    let chain = ["inspect", asks, asks, "POST /api/meta/v2/specs/{spec_id}/plan"];
    let path = |kept: &meta_tests::processes::collector::Kept| -> Option<Vec<String>> {
        let mut told = kept.spans.iter().find(|t| t.span.name == "inspect")?;
        let mut path = vec![told.span.name.clone()];
        while !told.span.parent_span_id.is_empty() {
            let above = &told.span.parent_span_id;
            told = kept.spans.iter().find(|t| t.span.span_id == *above)?;
            path.push(told.span.name.clone());
        }
        Some(path)
    };
    collector.until("an inspection up to its request", |kept| path(kept).is_some()).await?;
    assert_eq!(path(&collector.kept()).context("a path")?, chain);
    Ok(())
}

/// Lines of the services carry the trace, by OTLP and on standard error.
async fn logs_name_the_trace(
    collector: &Collector,
    deployment: &Deployment,
    run: &str,
) -> Result<()> {
    let turns = |kept: &meta_tests::processes::collector::Kept| {
        let of = kept.lines.iter().filter(|l| l.trace == TRACE);
        let of = of.filter(|l| l.service == "metabuilder-orchestrator");
        of.filter(|l| l.body == "a turn of the auto-fix loop").count() == 3
    };
    collector.until("three lines of turns", turns).await?;
    let end = |l: &meta_tests::processes::collector::Line| l.body == "a run has ended";
    collector.until("its end", |k| k.lines.iter().any(|l| l.trace == TRACE && end(l))).await?;
    let gateway = |k: &meta_tests::processes::collector::Kept| {
        k.lines.iter().any(|l| l.trace == TRACE && l.service == "metabuilder-gateway")
    };
    collector.until("a line of the gateway", gateway).await?;
    let (_, err) = deployment.service("orchestrator")?.process.said();
    let line = err.lines().find(|l| l.contains("a run has ended")).context("a line")?;
    let line: Value = serde_json::from_str(line)?;
    assert_eq!((&line["trace_id"], &line["run"]), (&TRACE.into(), &run.into()));
    assert_eq!(line["span_id"].as_str().map(str::len), Some(16), "{line}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_where_one_should_be_nothing_fails() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // an address that was free a moment ago: nobody answers there
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let endpoint = format!("http://{nobody}");
    let vars = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("METABUILDER_LIMITS", "off"),
    ];
    let data = folder.path().join("data");
    let mut up = Up::start_with(&data, &["--admin", "127.0.0.1:0"], &vars).await?;
    let admin = up.greeting("metrics and health").await?;
    let spec = up.rest.planned(&quick()).await?;
    for _ in 0..3 {
        let run = up.rest.run(&spec, &json!({})).await?;
        up.rest.until_status(&run, "succeeded").await?;
    }
    let failed = "metabuilder_telemetry_export_failures_total{signal=\"traces\"} ";
    until_counted(&admin, failed).await?;
    let dropped = "metabuilder_telemetry_dropped_total{signal=\"traces\"} ";
    until_counted(&admin, dropped).await?;
    let ended = up.process.stop().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let complaints = ended.err.matches("the collector is away").count();
    assert!((1..=3).contains(&complaints), "it is said once a signal: {}", ended.err);
    Ok(())
}

/// Waits until a counter, named by the beginning of its line, has counted something.
async fn until_counted(admin: &str, counter: &str) -> Result<()> {
    let waited = tokio::time::timeout(meta_tests::processes::LIMIT, async {
        loop {
            let text = reqwest::get(admin).await?.text().await?;
            let count = text.lines().find_map(|l| l.strip_prefix(counter)).unwrap_or("0");
            if count != "0" {
                return Ok::<_, anyhow::Error>(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    waited.await.with_context(|| format!("{counter} stays at 0"))?
}

/// A spec whose run says nothing but that it was.
fn quick() -> Value {
    json!({
        "title": "quick", "mode": "freeform",
        "source": { "kind": "inline", "files": { "a": "b" } },
        "steps": [{ "name": "true", "run": "true" }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_travels_by_tls_to_a_collector_that_a_private_authority_vouches_for() -> Result<()>
{
    let (collector, authority) = Collector::secured().await?;
    let folder = tempfile::tempdir()?;
    let trusted = folder.path().join("authority.pem");
    std::fs::write(&trusted, authority)?;
    let trusted = trusted.to_str().context("a path of letters")?;
    let mut vars = collector.vars().to_vec();
    let data = folder.path().join("stranger");
    let mut stranger = Up::start_with(&data, &["--admin", "127.0.0.1:0"], &vars).await?;
    let admin = stranger.greeting("metrics and health").await?;
    let spec = stranger.rest.planned(&quick()).await?;
    let run = stranger.rest.run(&spec, &json!({})).await?;
    stranger.rest.until_status(&run, "succeeded").await?;
    until_counted(&admin, "metabuilder_telemetry_export_failures_total{signal=\"traces\"} ")
        .await?;
    assert_eq!(stranger.process.stop().await?.code, Some(0));
    {
        let kept = collector.kept();
        let told = (kept.spans.len(), kept.lines.len(), kept.metrics.len());
        assert_eq!(told, (0, 0, 0), "nothing is told to whom nobody vouches for");
    }

    vars.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted));
    let up = Up::start_with(&folder.path().join("data"), &[], &vars).await?;
    let spec = up.rest.planned(&quick()).await?;
    let run = up.rest.run(&spec, &json!({})).await?;
    up.rest.until_status(&run, "succeeded").await?;
    let ended = |t: &Told| t.span.name.starts_with("RUN ");
    collector.until("the run's span", |kept| kept.spans.iter().any(ended)).await?;
    collector.until("a metric", |kept| !kept.metrics.is_empty()).await?;
    assert_eq!(up.process.stop().await?.code, Some(0));
    Ok(())
}
