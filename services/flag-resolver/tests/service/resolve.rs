//! What is in force, and why.

use crate::{Caller, PATIENCE, per_step, run_id, total, wire};
use meta_domain::settings::{Environment, Layer, Settings};
use meta_proto::common;
use meta_proto::convert::instant;
use meta_runtime::now;
use tonic::Code;

#[tokio::test]
async fn each_environment_has_its_defaults() {
    for (name, environment) in [
        ("development", Environment::Development),
        ("staging", Environment::Staging),
        ("production", Environment::Production),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let wiring = wire(dir.path(), &[("META_BUILDER_ENV", name)]).await.unwrap();
        let (resolved, version) = Caller::of(&wiring).resolve("").await.unwrap();
        assert_eq!(resolved.settings, Settings::default_of(environment));
        assert_eq!(resolved.settings.autofix_enabled, name != "production");
        assert_eq!(resolved.autofix_enabled_layer, Layer::Platform);
        assert_eq!(version, 0);
    }
}

#[tokio::test]
async fn variables_are_the_platform_layer() {
    let dir = tempfile::tempdir().unwrap();
    let vars = [
        ("META_BUILDER_ENV", "production"),
        ("FEATURE_META_V3_AUTOFIX", "on"),
        ("META_V3_MAX_TOTAL_ATTEMPTS", "20"),
        ("META_V3_BACKOFF_CAP_SECONDS", "0"),
    ];
    let (resolved, _) =
        Caller::of(&wire(dir.path(), &vars).await.unwrap()).resolve("").await.unwrap();
    let expected = Settings {
        autofix_enabled: true,
        max_total_attempts: 20,
        max_per_step_attempts: 3,
        backoff_cap_seconds: 0,
    };
    assert_eq!(resolved.settings, expected);
    assert_eq!(resolved.max_total_attempts_layer, Layer::Platform);
}

#[tokio::test]
async fn the_later_layer_wins_for_each_field_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let run = run_id();
    let tenant = common::Overrides {
        autofix_enabled: Some(false),
        backoff_cap_seconds: Some(30),
        ..total(8)
    };
    ann.set("", tenant).await.unwrap();
    let over_run = common::Overrides { autofix_enabled: Some(true), ..per_step(2) };
    ann.set(&run, over_run).await.unwrap();
    let (r, _) = ann.resolve(&run).await.unwrap();
    assert_eq!((r.settings.autofix_enabled, r.autofix_enabled_layer), (true, Layer::Run));
    assert_eq!((r.settings.max_per_step_attempts, r.max_per_step_attempts_layer), (2, Layer::Run));
    assert_eq!((r.settings.max_total_attempts, r.max_total_attempts_layer), (8, Layer::Tenant));
    assert_eq!((r.settings.backoff_cap_seconds, r.backoff_cap_seconds_layer), (30, Layer::Tenant));
    let (r, _) = ann.resolve("").await.unwrap();
    assert_eq!((r.settings.autofix_enabled, r.autofix_enabled_layer), (false, Layer::Tenant));
    assert_eq!(r.max_per_step_attempts_layer, Layer::Platform);
}

#[tokio::test]
async fn a_run_override_concerns_that_run_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let (one, other) = (run_id(), run_id());
    let (r, _) = ann.set(&one, total(2)).await.unwrap();
    assert_eq!((r.settings.max_total_attempts, r.max_total_attempts_layer), (2, Layer::Run));
    for untouched in ["", other.as_str()] {
        let (r, _) = ann.resolve(untouched).await.unwrap();
        assert_eq!(r.max_total_attempts_layer, Layer::Platform, "{untouched:?}");
    }
}

#[tokio::test]
async fn tenants_neither_see_nor_touch_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut eve = ann.of_another_tenant();
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(9)).await.unwrap();
    eve.set(&run, total(1)).await.unwrap();
    eve.clear("").await.unwrap();
    assert_eq!(ann.resolve(&run).await.unwrap().0.settings.max_total_attempts, 9);
    assert_eq!(ann.resolve("").await.unwrap().0.settings.max_total_attempts, 8);
    assert_eq!(eve.resolve("").await.unwrap().0.max_total_attempts_layer, Layer::Platform);
    assert!(eve.changes("", 0).await.unwrap().is_empty());
    assert_eq!(eve.changes(&run, 0).await.unwrap().len(), 1);
    let explained = eve.explain(&run).await.unwrap();
    assert!(explained.settings.iter().flat_map(|s| &s.layers).all(|l| l.value != "8"));
}

#[tokio::test]
async fn an_explanation_names_the_winner_and_what_it_shadows() {
    use common::Layer::{Platform, Run, Tenant};
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let run = run_id();
    let began = now();
    ann.set("", total(8)).await.unwrap();
    ann.named("bob").patch("", per_step(4)).await.unwrap();
    ann.named("cy").set(&run, total(2)).await.unwrap();
    let explained = ann.explain(&run).await.unwrap();
    assert_eq!(explained.version, 3);
    let names: Vec<_> = explained.settings.iter().map(|s| s.name.as_str()).collect();
    let expected =
        ["autofix_enabled", "max_total_attempts", "max_per_step_attempts", "backoff_cap_seconds"];
    assert_eq!(names, expected);
    let told = |name: &str| {
        let setting = explained.settings.iter().find(|s| s.name == name).unwrap();
        let layers: Vec<_> = setting
            .layers
            .iter()
            .map(|l| (l.layer(), l.value.as_str(), l.author.as_str()))
            .collect();
        (setting.winner(), setting.value.as_str(), layers)
    };
    let total = vec![(Platform, "10", ""), (Tenant, "8", "ann"), (Run, "2", "cy")];
    assert_eq!(told("max_total_attempts"), (Run, "2", total));
    let per_step = vec![(Platform, "5", ""), (Tenant, "4", "bob")];
    assert_eq!(told("max_per_step_attempts"), (Tenant, "4", per_step));
    assert_eq!(told("autofix_enabled"), (Platform, "true", vec![(Platform, "true", "")]));
    for layer in explained.settings.iter().flat_map(|s| &s.layers) {
        let at = layer.set_at.as_ref().map(instant);
        assert_eq!(at.is_none(), layer.layer() == Platform);
        assert!(at.is_none_or(|at| began <= at && at <= now()));
    }
}

#[tokio::test]
async fn a_run_id_that_is_none_is_refused_by_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let bad = "x".repeat(200_000);
    for status in [
        ann.resolve(&bad[..100_000]).await.unwrap_err(),
        ann.set("not-a-run", total(8)).await.unwrap_err(),
        ann.clear("\0").await.unwrap_err(),
        ann.explain(" ").await.unwrap_err(),
        ann.changes("1", 0).await.unwrap_err(),
        ann.watch(&bad).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("run_id: ") && status.message().len() < 500);
    }
}

#[tokio::test]
async fn two_processes_on_one_file_agree_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut same = Caller::start(dir.path()).await;
    same.principal = ann.principal.clone();
    for n in [3, 4, 5] {
        let (_, version) = ann.set("", total(n)).await.unwrap();
        let (seen, at) = same.resolve("").await.unwrap();
        assert_eq!((seen.settings.max_total_attempts, at), (n, version));
        let (_, next) = same.patch("", per_step(n)).await.unwrap();
        assert_eq!(next, version + 1);
        assert_eq!(ann.resolve("").await.unwrap().0.settings.max_per_step_attempts, n);
    }
    ann.clear("").await.unwrap();
    assert_eq!(same.resolve("").await.unwrap().0.max_total_attempts_layer, Layer::Platform);
}

#[tokio::test]
async fn parallel_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ann = Caller::start(dir.path()).await;
    let writes = (1..=20).map(|n| {
        let mut caller = ann.clone();
        async move { caller.set(&run_id(), total(n)).await.unwrap().1 }
    });
    let all = futures::future::join_all(writes);
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let (_, version) = ann.clone().resolve("").await.unwrap();
    assert_eq!(version, 20);
}
