use super::*;
use crate::core::change::{Write, change};
use meta_domain::id::TenantId;
use sqlx::{Executor, SqlSafeStr};

const TENANT: &str = "0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f";

async fn open(dir: &tempfile::TempDir) -> FlagStore {
    FlagStore::open(&dir.path().join("flags.db")).await.unwrap()
}

fn owner() -> Owner {
    Owner { tenant: TENANT.parse::<TenantId>().unwrap(), run: None }
}

fn total(n: u32) -> Write {
    Write::Replace(Overrides { max_total_attempts: Some(n), ..Overrides::default() })
}

async fn write(store: &FlagStore, write: Write) {
    let decide = |before: Result<Document, String>| {
        Ok::<_, Error>(change(&before.unwrap_or_default(), &write, "ann", Timestamp(7)))
    };
    store.change(owner(), decide).await.unwrap();
}

#[tokio::test]
async fn every_statement_prepares() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    for sql in [
        SNAPSHOT_VERSION,
        SNAPSHOT_NEXT,
        OVERRIDE_GET,
        OVERRIDE_PUT,
        OVERRIDE_DELETE,
        OVERRIDES_ALL,
        CHANGE_INSERT,
        CHANGES_NEWEST,
        CHANGES_SINCE,
    ] {
        let mut connection = store.store.read().acquire().await.unwrap();
        assert!(connection.prepare(sql.into_sql_str()).await.is_ok(), "{sql}");
    }
}

#[tokio::test]
async fn the_audit_refuses_to_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    write(&store, total(8)).await;
    for sql in ["UPDATE changes SET actor = 'x'", "DELETE FROM changes"] {
        let mut tx = store.store.begin().await.unwrap();
        let error = sqlx::query(sql).execute(&mut *tx).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
    assert_eq!(store.changes(owner(), 10).await.unwrap()[0].actor, "ann");
}

#[tokio::test]
async fn a_change_that_fails_half_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let mut tx = store.store.begin().await.unwrap();
    let sql = "CREATE TRIGGER full BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let decide = |before: Result<Document, String>| {
        Ok::<_, Error>(change(&before.unwrap(), &total(8), "ann", Timestamp(7)))
    };
    assert!(store.change(owner(), decide).await.is_err());
    assert_eq!(store.all().await.unwrap(), Batch::default());
}

#[tokio::test]
async fn what_changed_since_a_version_is_read_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    assert_eq!(store.since(0).await.unwrap(), Batch::default());
    write(&store, total(8)).await;
    write(&store, total(9)).await;
    let batch = store.since(1).await.unwrap();
    assert_eq!((batch.version, batch.rows.len()), (2, 1));
    assert_eq!(batch.rows[0].1.as_ref().map(|s| s.version), Some(2));
    assert_eq!(store.all().await.unwrap(), batch);
    write(&store, Write::Clear).await;
    let cleared = Batch { version: 3, rows: vec![(owner(), None)] };
    assert_eq!(store.since(2).await.unwrap(), cleared);
    assert_eq!(store.since(3).await.unwrap(), Batch { version: 3, rows: vec![] });
    assert_eq!(store.all().await.unwrap(), Batch { version: 3, rows: vec![] });
}
