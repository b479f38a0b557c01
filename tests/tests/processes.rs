//! The five services and the gateway as separate processes on loopback: runs over REST and gRPC,
//! reflection, health, credentials, configuration, draining.

use anyhow::{Context, Result, ensure};
use meta_domain::role::Role;
use meta_proto::common::{FailureType, GateType};
use meta_proto::orchestrator as pb;
use meta_proto::orchestrator::approval_service_client::ApprovalServiceClient;
use meta_proto::orchestrator::plan_service_client::PlanServiceClient;
use meta_proto::orchestrator::run_service_client::RunServiceClient;
use meta_proto::orchestrator::spec_service_client::SpecServiceClient;
use meta_proto::runner::PollTaskRequest;
use meta_proto::runner::work_service_client::WorkServiceClient;
use meta_tests::processes::{
    Deployment, LIMIT, Process, SERVICES, TOKEN, alone, any_call, broken_promises, reflected,
    reflected_alpha,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A step that fails of a refused connection until its cache knows that it was there.
const FLAKY: &str = "if [ -f state/seen ]; then echo ok; else touch state/seen; \
    echo 'curl: (7) Failed to connect to registry port 443: Connection refused' >&2; exit 7; fi";
/// A step that finds a secret.
const SCAN: &str = "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1";
const UNFORMATTED: &str = "pub fn  sum( a:u32,b :u32 )->u32{a+b}\n";
const MANIFEST: &str = "[package]\nname = \"sum\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";

/// A spec that needs each kind of healing.
fn spec() -> Value {
    json!({
        "title": "sum",
        "mode": "freeform",
        "source": { "kind": "inline", "files": {
            "Cargo.toml": MANIFEST, "src/lib.rs": UNFORMATTED,
        } },
        "steps": [
            { "name": "fetch", "run": FLAKY, "cache": ["state"] },
            { "name": "fmt", "run": "cargo fmt --check", "needs": ["fetch"] },
            { "name": "scan", "run": SCAN, "needs": ["fmt"] },
            { "name": "package", "run": ["echo", "done"], "needs": ["scan"] },
        ],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_rest_is_retried_patched_approved_and_succeeds() -> Result<()> {
    let deployment = Deployment::start().await?;
    let rest = &deployment.rest;
    let spec = rest.planned(&spec()).await?;
    let run = rest.run(&spec, &json!({})).await?;
    rest.until_status(&run, "paused_awaiting_approval").await?;

    let steps = rest.steps(&run).await?;
    assert_eq!(steps["fetch"]["flaky"], true, "{:#}", steps["fetch"]);
    assert_eq!(steps["fmt"]["status"], "succeeded", "{:#}", steps["fmt"]);
    assert_eq!(steps["package"]["status"], "pending");
    let autofix = rest.get(&format!("/runs/{run}/autofix")).await?.with(200)?;
    let turns = autofix["data"]["attributes"]["events"].as_array().context("events")?.clone();
    let turns: Vec<_> = turns
        .iter()
        .rev()
        .map(|t| {
            let word = |name: &str| t[name].as_str().unwrap_or_default().to_owned();
            (word("step_id"), word("signal_type"), word("outcome"))
        })
        .collect();
    let turn = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    let expected = [
        turn("fetch", "transient", "retried"),
        turn("fmt", "lint", "patch_applied"),
        turn("scan", "security", "escalated"),
    ];
    assert_eq!(turns, expected);
    let patch = rest.get(&format!("/runs/{run}/artifacts/patch")).await?.with(200)?;
    let patch = patch.as_str().context("a patch is text")?;
    assert!(patch.contains("+pub fn sum(a: u32, b: u32) -> u32 {"), "{patch}");

    let waiting = rest.get("/approvals").await?.with(200)?;
    assert_eq!(waiting["data"].as_array().map(Vec::len), Some(1), "{waiting:#}");
    assert_eq!(waiting["data"][0]["attributes"]["gate_type"], "security");
    let approve = format!("/runs/{run}/approve");
    let decided = rest.post(&approve, &json!({ "notes": "a test key" })).await?.with(200)?;
    assert_eq!(decided["data"]["attributes"]["status"], "approved");
    rest.until_status(&run, "succeeded").await?;
    let again = rest.post(&approve, &json!({})).await?;
    assert_eq!(again.status, 409, "{:#}", again.body);
    let events = rest.events(&run).await?;
    assert_eq!(broken_promises(&events, 5, 10), [""; 0]);
    let log = rest.get(&format!("/runs/{run}/logs?step=package")).await?.with(200)?;
    assert!(log.as_str().is_some_and(|l| l.contains("done")), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_over_grpc_with_an_api_key_is_driven_to_its_end() -> Result<()> {
    let deployment = Deployment::start().await?;
    let channel = deployment.orchestrator()?;
    let project = format!(
        "[[step]]\nname = \"scan\"\nrun = \"\"\"{SCAN}\"\"\"\n\
         [[step]]\nname = \"last\"\nrun = \"cat word.txt\"\nneeds = [\"scan\"]\n"
    );
    let files = [("metabuilder.toml".to_owned(), project), ("word.txt".to_owned(), "end".into())];
    let inline = meta_proto::common::InlineSource { files: files.into() };
    let source =
        meta_proto::common::Source { kind: Some(meta_proto::common::source::Kind::Inline(inline)) };
    let request = pb::CreateSpecRequest {
        title: "over gRPC".into(),
        mode: pb::SpecMode::Freeform.into(),
        source: Some(source),
        ..Default::default()
    };
    let spec = SpecServiceClient::new(channel.clone()).create_spec(request).await?.into_inner();
    let spec_id = spec.spec.context("spec")?.id;
    let request = pb::CreatePlanRequest { spec_id: spec_id.clone() };
    let plan = PlanServiceClient::new(channel.clone()).create_plan(request).await?.into_inner();
    let steps = plan.plan.and_then(|p| p.graph).context("plan")?.steps;
    assert!(steps.iter().all(|s| s.why.contains("metabuilder.toml")), "{steps:#?}");

    let mut runs = RunServiceClient::new(channel.clone());
    let request = pb::CreateRunRequest { spec_id, ..Default::default() };
    let run_id = runs.create_run(request).await?.into_inner().run.context("run")?.id;
    let follow = pb::StreamEventsRequest { run_id: run_id.clone(), after_seq: 0, follow: true };
    let mut events = runs.stream_events(follow).await?.into_inner();
    let mut approvals = ApprovalServiceClient::new(channel.clone());
    let mut seqs = Vec::new();
    while let Some(message) = tokio::time::timeout(LIMIT, events.message()).await?? {
        let event = message.event.context("event")?;
        seqs.push(event.seq);
        if event.r#type == "run.paused" {
            let run_id = run_id.clone();
            let request = pb::DecideGateRequest { run_id, approve: true, ..Default::default() };
            let gate = approvals.decide_gate(request).await?.into_inner().gate.context("gate")?;
            assert_eq!(gate.r#type(), GateType::Security);
        }
    }
    let expected: Vec<u64> = (1..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
    let request = pb::GetRunRequest { run_id: run_id.clone() };
    let run = runs.get_run(request).await?.into_inner().run.context("run")?;
    assert_eq!(run.status(), pb::RunStatus::Succeeded, "{run:#?}");
    let signal = run.attempts[0].signal.as_ref().context("signal")?;
    assert_eq!(signal.r#type(), FailureType::Security);
    let request = pb::DecideGateRequest {
        gate_id: run.gates[0].id.clone(),
        approve: false,
        ..Default::default()
    };
    let second = approvals.decide_gate(request).await.unwrap_err();
    assert_eq!(second.code(), Code::Aborted, "{second}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_answers_reflection_and_health_and_refuses_a_wrong_token() -> Result<()> {
    let deployment = Deployment::start().await?;
    for (name, services) in SERVICES {
        let service = deployment.service(name)?;
        let mut expected: Vec<String> = services.iter().map(|s| (*s).to_owned()).collect();
        expected.sort();
        for listed in [reflected(&service.address).await?, reflected_alpha(&service.address).await?]
        {
            let mut ours: Vec<String> =
                listed.iter().filter(|s| s.starts_with("metabuilder.")).cloned().collect();
            ours.sort();
            assert_eq!(ours, expected, "{name} lists {listed:?}");
            assert!(listed.iter().any(|s| s == "grpc.health.v1.Health"), "{name}: {listed:?}");
        }
        for known in services.iter().chain(&[""]) {
            assert_eq!(service.health(known).await?, ServingStatus::Serving, "{name} {known:?}");
        }
        let unknown = service.health("metabuilder.none.v1.NoService").await.unwrap_err();
        assert!(unknown.to_string().contains("not registered"), "{name}: {unknown}");
    }
    for key in ["", "wrong", "test-service-token-0123456789abcdeg"] {
        for (name, _) in SERVICES {
            let channel = deployment.service(name)?.channel(key)?;
            let status = any_call(name, channel).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{name} with {key:?}: {status}");
        }
    }
    let poll = PollTaskRequest { runner_id: "somebody".into(), ..Default::default() };
    let key = deployment.orchestrator()?;
    let status = WorkServiceClient::new(key).poll_task(poll).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "an API key is no service: {status}");
    let answer = deployment.rest.with_key("mb_dev_wrong").get("/runs").await?;
    assert_eq!((answer.status, answer.error().0.as_str()), (401, "unauthenticated"));
    assert!(answer.headers.contains_key("www-authenticate"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_requests_in_flight() -> Result<()> {
    let mut deployment = Deployment::start().await?;
    let rest = deployment.rest.clone();
    let gate = json!({ "title": "t", "mode": "freeform",
        "steps": [{ "name": "ask", "run": "true", "approval": "before" }] });
    let spec = rest.planned(&gate).await?;
    let run = rest.run(&spec, &json!({})).await?;
    rest.until_status(&run, "paused_awaiting_approval").await?;
    // nobody else polls, so that the poll below has to wait
    assert_eq!(deployment.take("runner")?.process.stop().await?.code, Some(0));

    let orchestrator = deployment.take("orchestrator")?;

    // the edge first: it has a stream open to somebody who reads it
    let request = rest.request(reqwest::Method::GET, &format!("/runs/{run}/events"));
    let mut stream = request.header("accept", "text/event-stream").send().await?;
    let mut text = String::new();
    while !text.contains("event: run.paused") {
        let chunk = tokio::time::timeout(LIMIT, stream.chunk()).await??.context("the end")?;
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    let (gateway, rest) = tokio::join!(deployment.gateway.process.stop(), stream.text());
    let gateway = gateway?;
    assert_eq!(gateway.code, Some(0), "{}", gateway.err);
    assert!(!gateway.err.contains("drain grace is over"), "{}", gateway.err);
    text.push_str(&rest.context("the stream broke")?);
    assert!(!text.contains("event: end"), "the run has not ended: {text}");

    let channel = orchestrator.channel(TOKEN)?;
    let mut health = HealthClient::new(channel.clone());
    let request = HealthCheckRequest::default();
    let mut health = health.watch(request).await?.into_inner();
    let first = health.message().await?.context("health")?;
    assert_eq!(first.status(), ServingStatus::Serving);
    let poll =
        PollTaskRequest { runner_id: "a-test".into(), wait_ms: 20_000, ..Default::default() };
    let poll = meta_runtime::auth::machine_call(LIMIT, poll);
    let mut queue = WorkServiceClient::new(channel.clone());
    let polling = tokio::spawn(async move { queue.poll_task(poll).await });
    let caller = meta_tests::stack::caller(orchestrator::DEFAULT_TENANT, Role::Owner);
    let follow = pb::StreamEventsRequest { run_id: run, after_seq: 0, follow: true };
    let follow = meta_runtime::call(&caller, LIMIT, follow);
    let mut events = RunServiceClient::new(channel).stream_events(follow).await?.into_inner();
    while events.message().await?.context("event")?.event.context("event")?.r#type != "run.paused" {
    }

    let stopping = tokio::spawn(orchestrator.process.stop());
    let next = tokio::time::timeout(LIMIT, health.message()).await??.context("health")?;
    assert_eq!(next.status(), ServingStatus::NotServing);
    let polled = tokio::time::timeout(LIMIT, polling).await??;
    assert!(ended_well(polled.as_ref().map(|_| ())), "{polled:?}");
    let end = tokio::time::timeout(LIMIT, events.message()).await?;
    assert!(matches!(end, Ok(None)) || ended_well(end.as_ref().map(|_| ())), "{end:?}");
    let ended = stopping.await??;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(!ended.err.contains("drain grace is over"), "{}", ended.err);
    for (name, service) in deployment.services {
        let ended = service.process.stop().await?;
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.err);
    }
    Ok(())
}

/// Whether a call was answered, or told by the server itself to go elsewhere.
fn ended_well(result: Result<(), &tonic::Status>) -> bool {
    use std::error::Error;
    result.is_ok_and(|()| true)
        || result.is_err_and(|s| s.code() == Code::Unavailable && s.source().is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_configuration_names_what_is_missing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let names = SERVICES.iter().map(|(name, _)| *name).chain(["gateway"]);
    for name in names {
        let ended = Process::start(name, &[], &[], folder.path())?.ended().await?;
        assert_eq!(ended.code, Some(64), "{name}: {}", ended.err);
        for part in ["auth.service_token", "METABUILDER__AUTH__SERVICE_TOKEN"] {
            assert!(ended.err.contains(part), "{name} does not name {part}: {}", ended.err);
        }
    }
    for (name, peer) in [
        ("orchestrator", "peers.classifier"),
        ("runner", "peers.orchestrator"),
        ("gateway", "peers.orchestrator"),
    ] {
        let vars = [("METABUILDER__AUTH__SERVICE_TOKEN", TOKEN)];
        let args = ["--set", "listen=127.0.0.1:0"];
        let ended = Process::start(name, &args, &vars, folder.path())?.ended().await?;
        assert_eq!(ended.code, Some(64), "{name}: {}", ended.err);
        assert!(ended.err.contains("peers."), "{name} does not name {peer}: {}", ended.err);
        assert!(ended.err.contains("http://127.0.0.1:"), "{name}: {}", ended.err);
        assert!(!ended.err.contains(TOKEN), "{name} prints its token");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_configuration_is_named_at_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("classifier.toml");
    std::fs::write(&file, "listn = 1\ndrain_ms = \"soon\"\n[log]\nformat = \"xml\"\n")?;
    let args = ["--config", file.to_str().context("path")?];
    let ended = Process::start("classifier", &args, &[], folder.path())?.ended().await?;
    assert_eq!(ended.code, Some(64), "{}", ended.err);
    for part in ["listn", "drain_ms", "log.format", "xml"] {
        assert!(ended.err.contains(part), "{part} is not in: {}", ended.err);
    }
    let vars = [("META_V3_MAX_TOTAL_ATTEMPTS", "many")];
    let args = ["--set", "auth.mode=none", "--set", "listen=127.0.0.1:0"];
    let ended = Process::start("flag-resolver", &args, &vars, folder.path())?.ended().await?;
    assert_eq!(ended.code, Some(64), "{}", ended.err);
    for part in ["META_V3_MAX_TOTAL_ATTEMPTS", "many", "1", "20"] {
        assert!(ended.err.contains(part), "{part} is not in: {}", ended.err);
    }
    let args = ["--set", "auth.mode=none", "--set", "listen=0.0.0.0:0"];
    let ended = Process::start("classifier", &args, &[], folder.path())?.ended().await?;
    assert_eq!(ended.code, Some(64), "{}", ended.err);
    assert!(ended.err.contains("loopback"), "{}", ended.err);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_starts_alone_on_loopback() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, services) in SERVICES {
        let service = alone(name, folder.path(), "http://127.0.0.1:9").await?;
        // alone, the orchestrator knows no settings yet, so it is there but not ready
        let ready = name != "orchestrator";
        let expected = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        assert_eq!(service.health("").await?, expected, "{name}");
        assert_eq!(service.health(services[0]).await?, expected, "{name}");
        assert!(service.address.starts_with("http://127.0.0.1:"), "{}", service.address);
        assert_eq!(service.process.stop().await?.code, Some(0), "{name}");
    }
    let gateway = alone("gateway", folder.path(), "http://127.0.0.1:9").await?;
    let rest = meta_tests::processes::Rest::new(&gateway.address, "any")?;
    rest.outside("/healthz").await?.with(200)?;
    let ready = rest.outside("/readyz").await?.with(503)?;
    assert_eq!(ready["peers"]["orchestrator"], "unreachable", "{ready:#}");
    let answer = rest.get("/runs").await?;
    assert_eq!(answer.status, 503, "{:#}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(gateway.process.stop().await?.code, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_configuration_is_whole_and_masks_secrets() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let vars = [
        ("METABUILDER__AUTH__SERVICE_TOKEN", TOKEN),
        ("METABUILDER__PEERS__CLASSIFIER", "http://127.0.0.1:50052"),
        ("METABUILDER__DEV_KEY", "mb_dev_secret_key"),
    ];
    let args = ["--print-config", "--set", "drain_ms=1234"];
    let ended = Process::start("orchestrator", &args, &vars, folder.path())?.ended().await?;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let config: toml::Table = ended.out.parse()?;
    assert_eq!(config["drain_ms"].as_integer(), Some(1234));
    assert_eq!(config["listen"].as_str(), Some("127.0.0.1:50051"));
    assert_eq!(config["peers"]["classifier"].as_str(), Some("http://127.0.0.1:50052"));
    for secret in [TOKEN, "mb_dev_secret_key"] {
        ensure!(!ended.out.contains(secret) && !ended.err.contains(secret), "{}", ended.out);
    }
    assert!(ended.out.contains("********"), "{}", ended.out);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_does_not_wait_for_requests_in_flight() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let service = alone("orchestrator", folder.path(), "http://127.0.0.1:9").await?;
    let channel = service.channel("")?;
    let caller = meta_tests::stack::caller(orchestrator::DEFAULT_TENANT, Role::Owner);
    let inline = meta_proto::common::InlineSource::default();
    let request = pb::CreateSpecRequest {
        title: "to be inspected".into(),
        mode: pb::SpecMode::Freeform.into(),
        source: Some(meta_proto::common::Source {
            kind: Some(meta_proto::common::source::Kind::Inline(inline)),
        }),
        ..Default::default()
    };
    let mut specs = SpecServiceClient::new(channel.clone());
    let spec = specs.create_spec(meta_runtime::call(&caller, LIMIT, request)).await?.into_inner();
    // no runner will ever look at the source: the request stays in flight
    let request = pb::CreatePlanRequest { spec_id: spec.spec.context("spec")?.id };
    let mut plans = PlanServiceClient::new(channel.clone());
    let request = meta_runtime::call(&caller, LIMIT, request);
    let planning = tokio::spawn(async move { plans.create_plan(request).await });
    let poll =
        PollTaskRequest { runner_id: "a-test".into(), wait_ms: 20_000, ..Default::default() };
    let mut queue = WorkServiceClient::new(channel.clone());
    let task = queue.poll_task(meta_runtime::auth::machine_call(LIMIT, poll)).await?.into_inner();
    assert!(!task.tasks.is_empty(), "the request is there");

    let mut health = HealthClient::new(channel);
    let mut watch = health.watch(HealthCheckRequest::default()).await?.into_inner();
    watch.message().await?.context("health")?;
    service.process.signal(Signal::SIGTERM)?;
    let next = tokio::time::timeout(LIMIT, watch.message()).await??.context("health")?;
    assert_eq!(next.status(), ServingStatus::NotServing);
    assert!(!planning.is_finished());
    let ended = service.process.stop().await?;
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    assert!(planning.await?.is_err());
    Ok(())
}

/// What is leased to a runner that stands still waits in its socket: the run may be canceled, or the
/// lease somebody else's, when the runner goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_stood_still_begins_nothing_that_waited_meanwhile() -> Result<()> {
    let lease = Duration::from_secs(6);
    let lease_ms = lease.as_millis().to_string();
    let mut deployment =
        Deployment::start_with(&[("orchestrator", "METABUILDER__LEASE_MS", &lease_ms)]).await?;
    let steps = json!([{ "name": "only", "run": "true" }]);
    let spec = json!({ "title": "still", "mode": "freeform", "source": { "kind": "inline",
        "files": { "a.txt": "a" } }, "steps": steps });
    let spec = deployment.rest.planned(&spec).await?;
    let first = deployment.rest.run(&spec, &json!({})).await?;
    deployment.rest.until_status(&first, "succeeded").await?;
    // it polls again by now
    tokio::time::sleep(Duration::from_secs(1)).await;
    deployment.service("runner")?.process.signal(Signal::SIGSTOP)?;
    let canceled = deployment.rest.run(&spec, &json!({})).await?;
    deployment.rest.post(&format!("/runs/{canceled}/cancel"), &json!({})).await?.with(200)?;
    let waits = deployment.rest.run(&spec, &json!({})).await?;
    tokio::time::sleep(lease * 2 / 3).await;
    let runner = &mut deployment.service_mut("runner")?.process;
    runner.signal(Signal::SIGCONT)?;
    runner.says("stood still").await?;
    deployment.rest.until_status(&waits, "succeeded").await?;
    deployment.rest.until_status(&canceled, "canceled").await?;
    let workspace = deployment.folder.path().join("runner");
    ensure!(!holds(&workspace, &canceled)?, "the canceled run was begun");
    ensure!(holds(&workspace, &waits)?, "the other one was not where it is looked for");
    Ok(())
}

/// Whether a folder has anything named so, at any depth.
fn holds(folder: &Path, name: &str) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(name)
            || entry.file_type()?.is_dir() && holds(&entry.path(), name)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
