//! Changing a tenant's settings.

use crate::{Served, because, per_step, run_id, total};
use meta_domain::settings::{Layer, Setting};
use meta_proto::common::Overrides;
use meta_proto::flags as pb;
use meta_proto::status::from_status;
use meta_storage::testing::Fresh;
use tonic::Code;

meta_storage::on_both_engines! {
    put_replaces_and_patch_merges;
    clearing_gives_way_to_the_layer_below;
    some_settings_are_cleared_and_the_others_stay;
    the_version_grows_with_every_change_and_with_nothing_else;
    a_writer_that_has_not_read_the_newest_is_refused;
    a_writer_is_given_the_version_of_its_own_write;
    a_dry_run_says_what_would_change_and_stores_nothing;
    a_reason_is_one_line_of_bounded_length;
    validating_names_each_problem_and_stores_nothing;
    parallel_writers_lose_nothing;
}

async fn put_replaces_and_patch_merges(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    ann.set("", total(8)).await.unwrap();
    ann.patch("", per_step(4)).await.unwrap();
    assert_eq!(ann.total("").await, (8, Layer::Tenant));
    ann.set("", per_step(3)).await.unwrap();
    assert_eq!(ann.total("").await, (10, Layer::Platform));
    assert_eq!(ann.value("", Setting::MaxPerStepAttempts).await.1, Layer::Tenant);
}

async fn clearing_gives_way_to_the_layer_below(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(2)).await.unwrap();
    ann.clear(&run, &[]).await.unwrap();
    assert_eq!(ann.total(&run).await, (8, Layer::Tenant));
    let cleared = ann.clear("", &[]).await.unwrap();
    assert_eq!(ann.total("").await, (10, Layer::Platform));
    let again = ann.clear("", &[]).await.unwrap();
    assert_eq!((cleared.changed, again.changed), (true, false));
    assert_eq!(again.version, cleared.version, "clearing nothing is no change");
    assert_eq!(again.override_version, cleared.override_version);
}

async fn some_settings_are_cleared_and_the_others_stay(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    ann.set("", Overrides { backoff_cap_seconds: Some(30), ..total(8) }).await.unwrap();
    ann.clear("", &["max_total_attempts", "autofix_enabled"]).await.unwrap();
    assert_eq!(ann.total("").await.1, Layer::Platform);
    assert_eq!(ann.value("", Setting::BackoffCapSeconds).await.1, Layer::Tenant);
    let version = ann.version().await;
    for bad in ["colour", "", "max_total_attempts\0", &"x".repeat(100_000)] {
        let status = ann.clear("", &["backoff_cap_seconds", bad]).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}");
        assert!(status.message().starts_with("settings[1]"), "{status}");
        assert!(status.message().len() < 1_000);
    }
    assert_eq!(ann.version().await, version);
}

async fn the_version_grows_with_every_change_and_with_nothing_else(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut versions = Vec::new();
    for n in [3, 3, 4, 99, 4, 5] {
        if let Ok(outcome) = ann.set("", total(n)).await {
            assert_eq!(ann.version().await, outcome.version);
            versions.push(outcome.version);
        }
    }
    versions.push(ann.of_another_tenant().set("", total(3)).await.unwrap().version);
    versions.push(ann.clear("", &[]).await.unwrap().version);
    assert_eq!(versions, [1, 1, 2, 2, 3, 4, 5]);
}

async fn a_writer_that_has_not_read_the_newest_is_refused(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let at = |version| pb::WriteOptions { if_version: Some(version), ..Default::default() };
    let status = ann.set_with("", total(8), at(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "there was none yet");
    let first = ann.set_with("", total(8), at(0)).await.unwrap();
    let second = ann.set_with("", total(9), at(first.override_version)).await.unwrap();
    for old in [0, first.override_version, u64::MAX] {
        let status = ann.set_with("", total(7), at(old)).await.unwrap_err();
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(from_status(&status).reason, "VERSION_CHANGED");
        let dry = pb::WriteOptions { dry_run: true, ..at(old) };
        assert!(ann.set_with("", total(7), dry).await.is_err(), "a dry run says so too");
    }
    let run = run_id();
    ann.set_with(&run, total(1), at(0)).await.unwrap();
    assert_eq!(ann.total("").await, (9, Layer::Tenant));
    ann.set_with("", total(7), at(second.override_version)).await.unwrap();
}

/// Whoever writes without `if_version` right after another writer has not read what it wrote.
async fn a_writer_is_given_the_version_of_its_own_write(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let ann = served.caller();
    let writes = (1..=20).map(|n| {
        let mut ann = ann.clone();
        async move { ann.set("", total(n)).await.unwrap() }
    });
    let outcomes = futures::future::join_all(writes).await;
    let mut own: Vec<_> = outcomes.iter().map(|o| o.override_version).collect();
    own.sort_unstable();
    assert_eq!(own, (1..=20).collect::<Vec<_>>());
    assert!(outcomes.iter().all(|o| o.version >= o.override_version));
}

async fn a_dry_run_says_what_would_change_and_stores_nothing(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let run = run_id();
    ann.set(&run, total(2)).await.unwrap();
    ann.set(&run_id(), per_step(2)).await.unwrap();
    ann.of_another_tenant().set("", per_step(2)).await.unwrap();
    let dry = pb::WriteOptions { dry_run: true, ..Default::default() };
    let outcome = ann.set_with("", total(8), dry.clone()).await.unwrap();
    assert!(outcome.changed && !outcome.affects_others);
    assert_eq!((outcome.version, outcome.override_version), (3, 0));
    assert_eq!(outcome.affected_total, 2, "the tenant and the run that says nothing of it");
    for one in &outcome.affected {
        assert_eq!((one.before, one.after), (Some(total(10)), Some(total(8))));
        assert!(one.tenant_id == ann.tenant() && one.run_id != run);
    }
    let same = ann.set_with(&run, total(2), dry.clone()).await.unwrap();
    assert_eq!((same.changed, same.affected_total), (false, 0));
    assert!(ann.set_with("", total(21), dry).await.is_err());
    assert_eq!(ann.version().await, 3);
    assert_eq!(ann.changes("").await.unwrap().len(), 2);
    assert_eq!(ann.total("").await, (10, Layer::Platform));
}

async fn a_reason_is_one_line_of_bounded_length(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    for bad in ["x".repeat(501), "ü".repeat(501), "a\nb".into(), "\0".into(), "\u{7f}".into()] {
        let status = ann.set_with("", total(8), because(&bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with("options.reason: "), "{status}");
    }
    assert_eq!(ann.version().await, 0);
    for good in ["x".repeat(500), "ü".repeat(500), "  'quoted' \"; DROP TABLE layers --".into()] {
        ann.set_with("", total(8), because(&good)).await.unwrap();
        let told = ann.changes("").await.unwrap();
        assert_eq!(told[0].reason, good.trim());
        ann.clear("", &[]).await.unwrap();
    }
}

async fn validating_names_each_problem_and_stores_nothing(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    for (overrides, fields) in [
        (total(8), vec![]),
        (Overrides { backoff_cap_seconds: Some(0), ..total(20) }, vec![]),
        (
            Overrides { backoff_cap_seconds: Some(9), ..total(21) },
            vec!["max_total_attempts", "backoff_cap_seconds"],
        ),
    ] {
        let message = pb::ValidateOverridesRequest { overrides: Some(overrides) };
        let request = ann.request(message);
        let problems = ann.client.validate_overrides(request).await.unwrap().into_inner().problems;
        let named: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(named, fields);
    }
    assert_eq!(ann.version().await, 0);
}

async fn parallel_writers_lose_nothing(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let ann = served.caller();
    let writes = (1..=20).map(|n| {
        let mut caller = ann.clone();
        async move { caller.set(&run_id(), total(n)).await.unwrap().override_version }
    });
    let mut versions = futures::future::join_all(writes).await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=20).collect::<Vec<_>>());
    assert_eq!(ann.clone().version().await, 20);
}
