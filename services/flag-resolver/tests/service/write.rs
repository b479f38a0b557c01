//! Changing settings, and the audit of it.

use crate::{Caller, per_step, run_id, total};
use meta_domain::role::Role;
use meta_domain::settings::Layer;
use meta_proto::common::Overrides;
use meta_proto::convert::instant;
use meta_proto::flags as pb;
use meta_proto::status::from_status;
use meta_runtime::now;
use tonic::Code;

#[tokio::test]
async fn put_replaces_and_patch_merges() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    ann.set("", total(8)).await.unwrap();
    let (r, _) = ann.patch("", per_step(4)).await.unwrap();
    assert_eq!((r.settings.max_total_attempts, r.settings.max_per_step_attempts), (8, 4));
    let (r, _) = ann.set("", per_step(3)).await.unwrap();
    assert_eq!(r.max_total_attempts_layer, Layer::Platform);
    assert_eq!(
        (r.settings.max_per_step_attempts, r.max_per_step_attempts_layer),
        (3, Layer::Tenant)
    );
}

#[tokio::test]
async fn a_refusal_names_each_field_and_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    ann.set("", total(8)).await.unwrap();
    let before = ann.resolve("").await.unwrap();
    let bad = Overrides {
        autofix_enabled: Some(false),
        max_total_attempts: Some(0),
        max_per_step_attempts: Some(11),
        backoff_cap_seconds: Some(2_147_483_648),
    };
    for patch in [false, true] {
        let told = from_status(&ann.write("", bad, patch).await.unwrap_err());
        let fields: Vec<_> = told.fields.iter().map(|f| f.path.as_str()).collect();
        let expected = ["max_total_attempts", "max_per_step_attempts", "backoff_cap_seconds"];
        assert_eq!(fields, expected);
        for part in ["0 is out of range (expected 1 to 20)", "11 is out", "expected 10 to 300"] {
            assert!(told.message.contains(part), "{}", told.message);
        }
    }
    assert_eq!(ann.resolve("").await.unwrap(), before);
    assert_eq!(ann.changes("", 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_write_without_a_document_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let request = ann.request(pb::SetOverridesRequest::default());
    let status = ann.client.set_overrides(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("overrides: "), "{status}");
}

#[tokio::test]
async fn validating_names_each_problem_and_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
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
    assert_eq!(ann.resolve("").await.unwrap().1, 0);
}

#[tokio::test]
async fn clearing_gives_way_to_the_layer_below() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, total(2)).await.unwrap();
    let (r, _) = ann.clear(&run).await.unwrap();
    assert_eq!((r.settings.max_total_attempts, r.max_total_attempts_layer), (8, Layer::Tenant));
    let (r, version) = ann.clear("").await.unwrap();
    assert_eq!((r.settings.max_total_attempts, r.max_total_attempts_layer), (10, Layer::Platform));
    assert_eq!(ann.clear("").await.unwrap().1, version, "clearing nothing is no change");
}

#[tokio::test]
async fn the_audit_says_who_changed_what_from_what_and_when() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let run = run_id();
    let began = now();
    ann.set("", total(8)).await.unwrap();
    ann.named("bob").patch("", per_step(4)).await.unwrap();
    ann.named("bob").patch("", per_step(4)).await.unwrap();
    ann.named("cy").clear("").await.unwrap();
    ann.set(&run, total(3)).await.unwrap();
    let both = Overrides { max_per_step_attempts: Some(4), ..total(8) };
    let none = Overrides::default();
    let changes = ann.changes("", 0).await.unwrap();
    let told: Vec<_> =
        changes.iter().map(|c| (c.actor.as_str(), c.before.unwrap(), c.after.unwrap())).collect();
    let expected = [("cy", both, none), ("bob", total(8), both), ("ann", none, total(8))];
    assert_eq!(told, expected);
    let times: Vec<_> = changes.iter().map(|c| instant(c.changed_at.as_ref().unwrap())).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older) && times[2] >= began);
    assert_eq!(ann.changes("", 2).await.unwrap(), changes[..2]);
    let of_run = ann.changes(&run, 200).await.unwrap();
    assert_eq!((of_run.len(), of_run[0].run_id.as_str()), (1, run.as_str()));
    let status = ann.changes("", 201).await.unwrap_err();
    assert!(status.message().starts_with("page_size: 201 "), "{status}");
}

#[tokio::test]
async fn the_version_grows_with_every_change_and_with_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut versions = Vec::new();
    for n in [3, 3, 4, 99, 4, 5] {
        if let Ok((_, version)) = ann.set("", total(n)).await {
            assert_eq!(ann.resolve("").await.unwrap().1, version);
            versions.push(version);
        }
    }
    versions.push(ann.of_another_tenant().set("", total(3)).await.unwrap().1);
    versions.push(ann.clear("").await.unwrap().1);
    assert_eq!(versions, [1, 1, 2, 2, 3, 4, 5]);
}

#[tokio::test]
async fn settings_are_changed_by_admins_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut caller = Caller::start(dir.path()).await;
    for role in [Role::Viewer, Role::Member] {
        caller.principal.role = role;
        let refused =
            [caller.set("", total(8)).await.unwrap_err(), caller.clear("").await.unwrap_err()];
        assert!(refused.iter().all(|s| s.code() == Code::PermissionDenied));
        assert_eq!(caller.resolve("").await.unwrap().1, 0);
    }
}
