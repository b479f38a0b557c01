//! What is in force, and why.

use crate::{Served, per_step, run_id, total};
use meta_domain::settings::{Environment, Layer, Resolved, Setting, Settings};
use meta_proto::common::{self, Overrides};
use meta_proto::convert::instant;
use meta_runtime::now;
use meta_storage::testing::Fresh;
use tonic::Code;

#[tokio::test]
async fn each_environment_has_its_defaults() {
    for (name, environment) in [
        ("development", Environment::Development),
        ("staging", Environment::Staging),
        ("production", Environment::Production),
    ] {
        let fresh = Fresh::sqlite();
        let served = Served::with(&fresh, &[("META_BUILDER_ENV", name)]).await;
        let answer = served.caller().resolve("").await.unwrap();
        let resolved: Resolved = answer.resolved.unwrap().try_into().unwrap();
        assert_eq!(resolved.settings, Settings::default_of(environment));
        assert_eq!(resolved.settings.autofix_enabled, name != "production");
        assert_eq!(resolved.autofix_enabled_layer, Layer::Platform);
        assert_eq!((answer.version, answer.stale, answer.stale_ms), (0, false, 0));
    }
}

#[tokio::test]
async fn variables_are_below_what_is_set_for_the_platform() {
    let vars = [
        ("META_BUILDER_ENV", "production"),
        ("FEATURE_META_V3_AUTOFIX", "on"),
        ("META_V3_MAX_TOTAL_ATTEMPTS", "20"),
        ("META_V3_BACKOFF_CAP_SECONDS", "0"),
    ];
    let fresh = Fresh::sqlite();
    let served = Served::with(&fresh, &vars).await;
    let mut ann = served.caller();
    let resolved: Resolved = ann.resolve("").await.unwrap().resolved.unwrap().try_into().unwrap();
    let expected = Settings {
        autofix_enabled: true,
        max_total_attempts: 20,
        max_per_step_attempts: 3,
        backoff_cap_seconds: 0,
    };
    assert_eq!(resolved.settings, expected);
    let reason = crate::because("less");
    ann.ops().platform(common::Layer::Platform, total(4), reason).await.unwrap();
    assert_eq!(ann.total("").await, (4, Layer::Platform));
    let said = ann.explain_total("").await.layers;
    let said: Vec<_> = said.iter().map(|l| (l.value.as_str(), l.author.as_str())).collect();
    assert_eq!(said, [("20", ""), ("4", "ops")]);
}

meta_storage::on_both_engines! {
    the_later_layer_wins_for_each_field_alone;
    a_run_override_concerns_that_run_alone;
    tenants_neither_see_nor_touch_each_other;
    an_explanation_names_the_winner_and_what_it_shadows;
    a_run_id_that_is_none_is_refused_by_every_call;
}

async fn the_later_layer_wins_for_each_field_alone(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let run = run_id();
    let tenant =
        Overrides { autofix_enabled: Some(false), backoff_cap_seconds: Some(30), ..total(8) };
    ann.set("", tenant).await.unwrap();
    let over_run = Overrides { autofix_enabled: Some(true), ..per_step(2) };
    ann.set(&run, over_run).await.unwrap();
    let resolved = async |ann: &mut crate::Caller, run: &str| -> Resolved {
        ann.resolve(run).await.unwrap().resolved.unwrap().try_into().unwrap()
    };
    let r = resolved(&mut ann, &run).await;
    assert_eq!((r.settings.autofix_enabled, r.autofix_enabled_layer), (true, Layer::Run));
    assert_eq!((r.settings.max_per_step_attempts, r.max_per_step_attempts_layer), (2, Layer::Run));
    assert_eq!((r.settings.max_total_attempts, r.max_total_attempts_layer), (8, Layer::Tenant));
    assert_eq!((r.settings.backoff_cap_seconds, r.backoff_cap_seconds_layer), (30, Layer::Tenant));
    let r = resolved(&mut ann, "").await;
    assert_eq!((r.settings.autofix_enabled, r.autofix_enabled_layer), (false, Layer::Tenant));
    assert_eq!(r.max_per_step_attempts_layer, Layer::Platform);
}

async fn a_run_override_concerns_that_run_alone(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let (one, other) = (run_id(), run_id());
    ann.set(&one, total(2)).await.unwrap();
    assert_eq!(ann.total(&one).await, (2, Layer::Run));
    for untouched in ["", other.as_str()] {
        assert_eq!(ann.total(untouched).await.1, Layer::Platform, "{untouched:?}");
    }
}

async fn tenants_neither_see_nor_touch_each_other(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut eve = ann.of_another_tenant();
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(9)).await.unwrap();
    eve.set(&run, total(1)).await.unwrap();
    eve.clear("", &[]).await.unwrap();
    assert_eq!(ann.total(&run).await.0, 9);
    assert_eq!(ann.total("").await.0, 8);
    assert_eq!(eve.total("").await.1, Layer::Platform);
    assert_eq!(eve.changes("").await.unwrap().len(), 1);
    assert_eq!(eve.changes(&run).await.unwrap().len(), 1);
    let explained = eve.explain(&run).await.unwrap();
    let said = explained.settings.iter().flat_map(|s| &s.layers);
    assert!(said.into_iter().all(|l| l.value != "8" && l.value != "9"));
}

async fn an_explanation_names_the_winner_and_what_it_shadows(fresh: Fresh) {
    use common::Layer::{Platform, Run, Tenant};
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let run = run_id();
    let began = now();
    let why = crate::because("a slow cluster");
    ann.set_with("", total(8), why).await.unwrap();
    ann.named("bob").patch("", per_step(4)).await.unwrap();
    let third = ann.named("cy").set(&run, total(2)).await.unwrap();
    let explained = ann.explain(&run).await.unwrap();
    assert_eq!((explained.version, explained.override_version), (3, third.override_version));
    assert_eq!(ann.explain("").await.unwrap().override_version, 2);
    let names: Vec<_> = explained.settings.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, Setting::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>());
    let told = |name: &str| {
        let setting = explained.settings.iter().find(|s| s.name == name).unwrap();
        let layers: Vec<_> = setting
            .layers
            .iter()
            .map(|l| (l.layer(), l.value.as_str(), l.author.as_str(), l.reason.as_str()))
            .collect();
        (setting.winner(), setting.value.as_str(), layers)
    };
    let of_total = vec![
        (Platform, "10", "", ""),
        (Tenant, "8", "ann", "a slow cluster"),
        (Run, "2", "cy", ""),
    ];
    assert_eq!(told("max_total_attempts"), (Run, "2", of_total));
    let of_step = vec![(Platform, "5", "", ""), (Tenant, "4", "bob", "")];
    assert_eq!(told("max_per_step_attempts"), (Tenant, "4", of_step));
    assert_eq!(told("autofix_enabled"), (Platform, "true", vec![(Platform, "true", "", "")]));
    for layer in explained.settings.iter().flat_map(|s| &s.layers) {
        let at = layer.set_at.as_ref().map(instant);
        assert_eq!(at.is_none(), layer.layer() == Platform);
        assert!(layer.applies && at.is_none_or(|at| began <= at && at <= now()));
    }
}

async fn a_run_id_that_is_none_is_refused_by_every_call(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let bad = "x".repeat(200_000);
    for status in [
        ann.resolve(&bad).await.unwrap_err(),
        ann.set("not-a-run", total(8)).await.unwrap_err(),
        ann.clear("\0", &[]).await.unwrap_err(),
        ann.explain(" ").await.unwrap_err(),
        ann.changes("1").await.unwrap_err(),
        ann.watch(&bad).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().starts_with("run_id: ") && status.message().len() < 500);
    }
    assert_eq!(ann.version().await, 0);
}
