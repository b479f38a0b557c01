//! One suite for both engines.

use super::*;
use crate::core::decide::case;
use meta_storage::testing::{Fresh, prepare_all, unpaired};
use uuid::Uuid;

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const OTHER: TenantId = TenantId(Uuid::from_u128(2));
const NOW: Timestamp = Timestamp(1_000_000_000_000);
const PATCH: &str = "diff --git a/src/a b/src/a\n";

#[test]
fn both_engines_have_the_same_migrations() {
    let migrations = Migrations {
        sqlite: &sqlx::migrate!("migrations/sqlite"),
        postgres: &sqlx::migrate!("migrations/postgres"),
    };
    assert_eq!(unpaired(migrations), Vec::<i64>::new());
}

meta_storage::on_both_engines! {
    every_statement_prepares;
    outcomes_are_recalled_newest_first_and_only_for_their_tenant;
    saying_it_twice_changes_nothing;
    a_patch_is_kept_until_it_does_not_hold;
    an_approval_stays_with_a_patch;
    what_is_old_is_forgotten;
}

async fn open(fresh: &Fresh) -> Store {
    Store::open(fresh.location()).await.unwrap()
}

fn signal(fingerprint: &str, tool: &str) -> Signal {
    let mut signal = case("ruff check .", FailureType::Lint).signal;
    signal.fingerprint = fingerprint.to_owned();
    signal.tool = tool.to_owned();
    signal
}

fn said<'a>(key: &'a str, signal: &'a Signal, outcome: FixOutcome) -> Said<'a> {
    let fixer = "ruff_check";
    Said { key, signal, fixer, outcome, patch: PATCH, duration_ms: 5, tokens: 0, at: NOW }
}

async fn recall(store: &Store, signal: &Signal) -> Memory {
    store.recall(TENANT, signal, NOW).await.unwrap()
}

async fn every_statement_prepares(fresh: Fresh) {
    prepare_all(&open(&fresh).await.engine, ALL).await.unwrap();
}

async fn outcomes_are_recalled_newest_first_and_only_for_their_tenant(fresh: Fresh) {
    let store = open(&fresh).await;
    let (here, alike, apart) = (signal("a", "ruff"), signal("b", "ruff"), signal("c", "mypy"));
    for (n, signal) in [&here, &alike, &apart].into_iter().enumerate() {
        let key = n.to_string();
        let at = Timestamp(NOW.0 + i64::try_from(n).unwrap());
        let told = Said { at, ..said(&key, signal, FixOutcome::Accepted) };
        assert!(store.record(TENANT, &told).await.unwrap());
    }
    let memory = recall(&store, &here).await;
    let prints: Vec<&str> = memory.records.iter().map(|r| r.fingerprint.as_str()).collect();
    assert_eq!(prints, ["b", "a"]);
    assert_eq!(memory.healed.len(), 1);
    let foreign = store.recall(OTHER, &here, NOW).await.unwrap();
    assert!(foreign.records.is_empty() && foreign.healed.is_empty());
}

async fn saying_it_twice_changes_nothing(fresh: Fresh) {
    let store = open(&fresh).await;
    let signal = signal("a", "ruff");
    assert!(store.record(TENANT, &said("k", &signal, FixOutcome::Accepted)).await.unwrap());
    assert!(!store.record(TENANT, &said("k", &signal, FixOutcome::Reverted)).await.unwrap());
    let memory = recall(&store, &signal).await;
    assert_eq!((memory.records.len(), memory.healed.len()), (1, 1));
    assert_eq!(memory.records[0].outcome, FixOutcome::Accepted);
}

async fn a_patch_is_kept_until_it_does_not_hold(fresh: Fresh) {
    let store = open(&fresh).await;
    let signal = signal("a", "ruff");
    let tell = async |key: &str, outcome| {
        store.record(TENANT, &said(key, &signal, outcome)).await.unwrap();
        recall(&store, &signal).await.healed.len()
    };
    assert_eq!(tell("1", FixOutcome::NoChange).await, 0);
    assert_eq!(tell("2", FixOutcome::Accepted).await, 1);
    assert_eq!(tell("3", FixOutcome::Accepted).await, 1, "the same patch");
    assert_eq!(tell("4", FixOutcome::Reverted).await, 0);
}

async fn an_approval_stays_with_a_patch(fresh: Fresh) {
    let store = open(&fresh).await;
    let signal = signal("a", "ruff");
    for (key, outcome) in [("1", FixOutcome::Approved), ("2", FixOutcome::Accepted)] {
        store.record(TENANT, &said(key, &signal, outcome)).await.unwrap();
    }
    let memory = recall(&store, &signal).await;
    assert!(memory.healed[0].approved, "a human is asked again");
}

async fn what_is_old_is_forgotten(fresh: Fresh) {
    let store = open(&fresh).await;
    let signal = signal("a", "ruff");
    store.record(TENANT, &said("1", &signal, FixOutcome::Accepted)).await.unwrap();
    let later = Timestamp(NOW.0 + KEPT_MS + 1);
    let told = Said { at: later, ..said("2", &signal, FixOutcome::NoChange) };
    store.record(TENANT, &told).await.unwrap();
    let memory = store.recall(TENANT, &signal, later).await.unwrap();
    assert_eq!((memory.records.len(), memory.healed.len()), (1, 0));
}
