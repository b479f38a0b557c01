//! One suite for both engines: what the store promises, and what the database itself refuses.

mod audit;
mod racing;
mod scheduled;

use super::*;
use crate::core::write::{Write, rollout_terms, terms, unchanged};
use meta_domain::fault::Fault;
use meta_domain::id::RunId;
use meta_domain::settings::{Overrides, Rollout, Rollouts, Value};
use meta_storage::testing::{Fresh, prepare_all, unpaired};
use meta_storage::{Dialect, Speaks};

const TENANT: TenantId = TenantId(Uuid::from_u128(1));
const OTHER: TenantId = TenantId(Uuid::from_u128(2));
const RUN: Scope = Scope::Run(TENANT, RunId(Uuid::from_u128(3)));
const OWN: Scope = Scope::Tenant(TENANT);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn open(fresh: &Fresh) -> FlagStore {
    FlagStore::open(fresh.location()).await.unwrap()
}

fn by(actor: &str) -> By {
    By { actor: actor.into(), at: Timestamp(7), reason: "because".into() }
}

/// What every write of a test comes with.
fn origin() -> Origin {
    Origin {
        credential: "key:0197".to_owned(),
        home: Some(OTHER),
        request_id: "asked-once".to_owned(),
        trace_id: TRACE.to_owned(),
    }
}

fn total(n: u32) -> Write {
    Write::Replace(terms(&Overrides { max_total_attempts: Some(n), ..Overrides::default() }))
}

fn clear() -> Write {
    Write::Clear(BTreeSet::new())
}

/// A write as the resolver makes it; the version it made, if it changed anything.
async fn write(store: &FlagStore, scope: Scope, write: &Write) -> Option<u64> {
    let decide = |before, _| Ok::<_, Error>(change(&before, write, &by("ann")));
    store.change(scope, &origin(), decide).await.unwrap()
}

async fn write_if(store: &FlagStore, scope: Scope, n: u32, version: u64) -> Result<u64, Fault> {
    let decide = |before, seen| {
        unchanged(seen, Some(version))?;
        Ok::<_, Fault>(change(&before, &total(n), &by("ann")))
    };
    Ok(store.change(scope, &origin(), decide).await?.expect("another value"))
}

/// Statements of a test's own, that no service would make.
async fn execute(store: &FlagStore, sql: &'static str) -> Result<u64, Error> {
    let mut tx = store.engine.begin().await?;
    let done = on!(tx, |db| sqlx::query(sql).execute(db).await?.rows_affected());
    tx.commit().await?;
    Ok(done)
}

fn filter() -> Filter {
    Filter { tenant: Some(TENANT), run: None, setting: None, before: None, limit: 100 }
}

fn values(batch: &Batch) -> Vec<(Scope, u64, Option<Value>)> {
    let value = |stored: &Stored| stored.document.overrides().get(Setting::MaxTotalAttempts);
    batch.rows.iter().map(|(scope, stored)| (*scope, stored.version, value(stored))).collect()
}

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
    what_changed_since_a_version_is_read_as_it_is_now;
    a_change_that_fails_half_way_leaves_nothing;
    a_write_that_changes_nothing_makes_no_version;
    every_layer_is_kept_apart_and_read_back;
    opening_again_finds_everything;
    a_corrupt_document_is_read_as_far_as_it_goes;
    a_row_that_belongs_to_nobody_is_an_error;
}

async fn every_statement_prepares(fresh: Fresh) {
    prepare_all(&open(&fresh).await.engine, ALL).await.unwrap();
}

async fn what_changed_since_a_version_is_read_as_it_is_now(fresh: Fresh) {
    let store = open(&fresh).await;
    assert_eq!(store.since(0).await.unwrap(), Batch::default());
    assert_eq!(write(&store, OWN, &total(8)).await, Some(1));
    assert_eq!(write(&store, OWN, &total(9)).await, Some(2));
    assert_eq!(write(&store, RUN, &total(3)).await, Some(3));
    let read = async |after| {
        let batch = store.since(after).await.unwrap();
        assert_eq!(batch.after, after);
        (batch.version, values(&batch).len())
    };
    for (after, expected) in [(0, (3, 2)), (1, (3, 2)), (2, (3, 1)), (3, (3, 0)), (99, (3, 0))] {
        assert_eq!(read(after).await, expected, "after {after}");
    }
    write(&store, OWN, &clear()).await;
    let cleared = store.since(3).await.unwrap();
    assert_eq!(values(&cleared), [(OWN, 4, None)], "who follows is told that it is gone");
    assert_eq!(store.pulse().await.unwrap(), Pulse { version: 4, next_due: None });
}

async fn a_change_that_fails_half_way_leaves_nothing(fresh: Fresh) {
    let store = open(&fresh).await;
    let full = match store.engine.dialect() {
        Dialect::Sqlite => {
            "CREATE TRIGGER is_full BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'full'); END"
        }
        Dialect::Postgres => "ALTER TABLE changes ADD CONSTRAINT is_full CHECK (version < 0)",
    };
    execute(&store, full).await.unwrap();
    let decide = |before, _| Ok::<_, Error>(change(&before, &total(8), &by("ann")));
    assert!(matches!(store.change(OWN, &origin(), decide).await, Err(Error::Statement(_))));
    assert!(store.schedule(&scheduled::at(OWN, 50)).await.is_err());
    assert_eq!(store.since(0).await.unwrap(), Batch::default());
    assert_eq!(store.scheduled(Some(TENANT)).await.unwrap(), []);
    assert_eq!(store.pulse().await.unwrap(), Pulse { version: 0, next_due: None });
}

async fn a_write_that_changes_nothing_makes_no_version(fresh: Fresh) {
    let store = open(&fresh).await;
    assert_eq!(write(&store, OWN, &clear()).await, None);
    assert_eq!(write(&store, OWN, &total(8)).await, Some(1));
    assert_eq!(write(&store, OWN, &total(8)).await, None);
    let fault = write_if(&store, OWN, 9, 7).await.unwrap_err();
    assert_eq!(fault.reason, "VERSION_CHANGED");
    assert_eq!(write_if(&store, OWN, 9, 1).await, Ok(2), "no version was lost meanwhile");
    assert_eq!(store.changes(filter()).await.unwrap().len(), 2);
}

async fn every_layer_is_kept_apart_and_read_back(fresh: Fresh) {
    let store = open(&fresh).await;
    let share = Rollout { value: Value::Int(4), percent: 25, bucket_key: "canary".to_owned() };
    let rollout = rollout_terms(Rollouts::from([(Setting::MaxTotalAttempts, share.clone())]));
    let writes = [
        (Scope::Platform, total(5)),
        (Scope::Rollout, Write::Replace(rollout)),
        (OWN, total(8)),
        (Scope::Tenant(OTHER), total(9)),
        (RUN, total(2)),
        (Scope::KillSwitch, total(1)),
    ];
    for (scope, one) in &writes {
        write(&store, *scope, one).await;
    }
    let batch = store.since(0).await.unwrap();
    assert_eq!((batch.version, batch.rows.len()), (6, 6));
    for (version, (scope, one)) in (1..).zip(&writes) {
        let (_, stored) = batch.rows.iter().find(|(s, _)| s == scope).unwrap();
        assert_eq!((stored.version, stored.document.terms()), (version, one.terms()), "{scope:?}");
        let field = &stored.document.fields[&Setting::MaxTotalAttempts];
        assert_eq!(
            (&*field.author, field.set_at, &*field.reason),
            ("ann", Timestamp(7), "because")
        );
    }
}

async fn opening_again_finds_everything(fresh: Fresh) {
    let first = open(&fresh).await;
    write(&first, OWN, &total(8)).await;
    first.schedule(&scheduled::at(OWN, 50)).await.unwrap();
    first.engine.close().await;
    let second = open(&fresh).await;
    assert_eq!(values(&second.since(0).await.unwrap()), [(OWN, 1, Some(Value::Int(8)))]);
    let pulse = Pulse { version: 2, next_due: Some(Timestamp(50)) };
    assert_eq!(second.pulse().await.unwrap(), pulse);
    assert_eq!(second.changes(filter()).await.unwrap().len(), 2);
}

async fn a_corrupt_document_is_read_as_far_as_it_goes(fresh: Fresh) {
    let store = open(&fresh).await;
    let both = Overrides { backoff_cap_seconds: Some(30), ..Overrides::default() };
    write(&store, OWN, &total(8)).await;
    write(&store, OWN, &Write::Patch(terms(&both))).await;
    write(&store, RUN, &total(2)).await;
    for (sql, autofix, total, cap) in [
        (
            "UPDATE layers SET document = replace(document, ':8', ':80') WHERE run = ''",
            None,
            None,
            Some(30),
        ),
        ("UPDATE layers SET document = 'broken' WHERE run = ''", Some(false), None, None),
    ] {
        assert_eq!(execute(&store, sql).await.unwrap(), 1);
        let batch = store.since(0).await.unwrap();
        let (_, stored) = batch.rows.iter().find(|(scope, _)| *scope == OWN).unwrap();
        let over = stored.document.overrides();
        assert_eq!(over.autofix_enabled, autofix, "{sql}");
        assert_eq!((over.max_total_attempts, over.backoff_cap_seconds), (total, cap), "{sql}");
        assert_eq!(batch.rows.len(), 2, "the others are read as ever");
    }
    let patch = Write::Patch(super::Terms::new());
    assert_eq!(write(&store, OWN, &patch).await, Some(4), "any write mends it");
    let batch = store.since(3).await.unwrap();
    assert!(batch.rows[0].1.document.bad.is_empty());
}

async fn a_row_that_belongs_to_nobody_is_an_error(fresh: Fresh) {
    let store = open(&fresh).await;
    write(&store, OWN, &total(8)).await;
    let sql = "UPDATE layers SET tenant = '------------------------------------'";
    execute(&store, sql).await.unwrap();
    let error = store.since(0).await.unwrap_err();
    assert!(matches!(error, Error::CorruptRow { table: "layers", .. }), "{error}");
    for sql in [
        "UPDATE layers SET layer = 'moon'",
        "UPDATE layers SET layer = 'fail_closed'",
        "UPDATE layers SET tenant = 'short'",
        "UPDATE snapshot SET only_row = 2",
        "INSERT INTO snapshot (only_row, version) VALUES (2, 0)",
    ] {
        assert!(execute(&store, sql).await.is_err(), "the database takes: {sql}");
    }
}
