use super::*;
use crate::core::document::By;
use crate::core::write::{Terms, rollout_terms, terms};
use meta_domain::id::TenantId;
use meta_domain::settings::{Environment, Overrides, Rollouts, SnapshotChange};
use uuid::Uuid;

fn document(terms: &Terms, author: &str) -> Document {
    let by = By { actor: author.into(), at: Timestamp(7), reason: "because".into() };
    Document::default().rewritten(terms, &by)
}

fn total(n: u32) -> Overrides {
    Overrides { max_total_attempts: Some(n), ..Overrides::default() }
}

fn owner() -> Owner {
    Owner { tenant: TenantId(Uuid::from_u128(1)), run: Some(Uuid::from_u128(2).into()) }
}

fn share(percent: u8) -> Rollouts {
    let bucket_key = "canary".to_owned();
    let rollout = Rollout { value: Value::Int(4), percent, bucket_key };
    Rollouts::from([(Setting::MaxTotalAttempts, rollout)])
}

struct Case {
    environment: Settings,
    stored: [Document; 5],
    snapshot: Snapshot,
}

/// Layers as a store would hold them, and the snapshot that is made of them.
fn case(platform: Overrides, rollouts: Rollouts, tenant: Document, run: Overrides) -> Case {
    let environment = Settings::default_of(Environment::Staging);
    let mut snapshot = Snapshot::of(environment.with(&platform));
    let overrides = vec![(Owner::tenant(owner().tenant), tenant.overrides()), (owner(), run)];
    let whole = snapshot.whole();
    snapshot.take(SnapshotChange { rollouts: rollouts.clone(), overrides, ..whole });
    let none = Document::default();
    let stored = [
        document(&terms(&platform), "ops"),
        document(&rollout_terms(rollouts), "ops"),
        tenant,
        document(&terms(&run), "bob"),
        none,
    ];
    Case { environment, stored, snapshot }
}

fn explained(case: &Case, freshness: Freshness) -> Vec<Explanation> {
    let [platform, rollout, tenant, run, kill_switch] = &case.stored;
    let documents = Documents { platform, rollout, tenant, run, kill_switch };
    explain(&case.environment, &documents, &case.snapshot, owner(), freshness)
}

#[test]
fn every_layer_that_speaks_is_shown_lowest_first_and_the_winner_named() {
    let tenant = document(&terms(&total(8)), "ann");
    let case = case(total(5), share(0), tenant, total(2));
    let got = explained(&case, Freshness::Fresh);
    let setting = &got[1];
    assert_eq!((setting.setting, setting.value), (Setting::MaxTotalAttempts, Value::Int(2)));
    assert_eq!(setting.winner, Layer::Run);
    let layers: Vec<_> =
        setting.layers.iter().map(|l| (l.layer, l.value.as_str(), l.applies)).collect();
    assert_eq!(
        layers,
        [
            (Layer::Platform, "6", true),
            (Layer::Platform, "5", true),
            (Layer::Rollout, "4", false),
            (Layer::Tenant, "8", true),
            (Layer::Run, "2", true),
        ]
    );
    assert_eq!(setting.layers[2].share, Some((0, "canary".to_owned())));
    let set = setting.layers[3].set.as_ref().unwrap();
    assert_eq!(
        (set.author.as_str(), set.at, set.reason.as_str()),
        ("ann", Timestamp(7), "because")
    );
    assert_eq!(got[0].layers.len(), 1, "only the environment speaks of the others");
}

#[test]
fn the_last_layer_that_applies_is_the_winner() {
    for (rollouts, tenant, run) in [
        (share(100), Overrides::default(), Overrides::default()),
        (share(100), total(8), Overrides::default()),
        (share(0), Overrides::default(), Overrides::default()),
        (share(0), Overrides::default(), total(2)),
    ] {
        let case = case(Overrides::default(), rollouts, document(&terms(&tenant), "ann"), run);
        for setting in explained(&case, Freshness::Fresh) {
            let last = setting.layers.iter().rev().find(|l| l.applies).unwrap();
            assert_eq!((last.layer, &last.value), (setting.winner, &setting.value.to_string()));
        }
    }
}

#[test]
fn what_cannot_be_read_is_shown_with_its_problem() {
    let case = case(
        Overrides::default(),
        Rollouts::new(),
        Document::parse("broken"),
        Overrides::default(),
    );
    let got = explained(&case, Freshness::Fresh);
    assert_eq!((got[0].winner, got[0].value), (Layer::Tenant, Value::Bool(false)));
    assert_eq!((got[1].winner, got[1].value), (Layer::Platform, Value::Int(6)));
    for setting in &got {
        assert!(setting.layers.last().unwrap().problem.is_some());
    }
}

#[test]
fn an_expired_snapshot_explains_that_it_fails_closed() {
    let case = case(Overrides::default(), Rollouts::new(), Document::default(), total(2));
    let got = explained(&case, Freshness::Expired { age_ms: 400_000 });
    assert_eq!(got[0].winner, Layer::FailClosed);
    assert_eq!(got[0].layers.last().unwrap().value, "false");
    assert_eq!(got[1].winner, Layer::Run);
}
