use super::*;
use meta_storage::testing::Fresh;
use meta_storage::{Tx, on_both_engines};
use uuid::Uuid;

const TENANT: TenantId = TenantId(Uuid::from_u128(7));

on_both_engines! {
    h27_the_database_refuses_to_change_the_record_and_a_change_by_force_is_found;
    many_writers_make_one_chain;
    changes_of_settings_go_on_record_once;
}

fn entry(n: u64) -> Entry {
    let object = format!("run/{n}");
    Entry::new(TENANT, Timestamp(signed(n)), "run.retry", "ann", object).because("why")
}

async fn open(fresh: &Fresh) -> Tables {
    Tables::open(fresh.location()).await.unwrap()
}

async fn by_force(tables: &Tables, sql: &'static str) -> Result<u64, Error> {
    let mut tx = tables.begin().await?;
    let rows = on!(tx, |db| sqlx::query(sql).execute(db).await?.rows_affected());
    tables.commit(tx).await?;
    Ok(rows)
}

/// What an administrator of the database can do, whom nothing stops.
async fn without_triggers(tables: &Tables) {
    for (trigger, table) in [
        ("audit_is_not_changed", "audit"),
        ("audit_is_not_deleted", "audit"),
        ("audit_is_not_emptied", "audit"),
        ("audit_heads_only_grow", "audit_heads"),
        ("audit_heads_are_not_deleted", "audit_heads"),
    ] {
        let plain = format!("DROP TRIGGER IF EXISTS {trigger}");
        let named = format!("DROP TRIGGER IF EXISTS {trigger} ON {table}");
        let mut tx = tables.begin().await.unwrap();
        let sql = match &tx {
            Tx::Sqlite(_) => plain,
            Tx::Postgres(_) => named,
        };
        let sql = sqlx::AssertSqlSafe(sql);
        on!(tx, |db| sqlx::query(sql).execute(db).await.map(drop).unwrap());
        tables.commit(tx).await.unwrap();
    }
}

async fn h27_the_database_refuses_to_change_the_record_and_a_change_by_force_is_found(
    fresh: Fresh,
) {
    let tables = open(&fresh).await;
    tables.put_on_record((1..=9).map(entry).collect()).await.unwrap();
    let whole = tables.verify_audit(TENANT, None).await.unwrap();
    assert_eq!((whole.entries, whole.problems.len()), (9, 0), "{whole:?}");
    for sql in [
        "UPDATE audit SET actor = 'eve' WHERE seq = 3",
        "UPDATE audit SET seq = 20 WHERE seq = 9",
        "DELETE FROM audit WHERE seq = 9",
        "DELETE FROM audit",
        "UPDATE audit_heads SET seq = 8",
        "DELETE FROM audit_heads",
    ] {
        assert!(by_force(&tables, sql).await.is_err(), "{sql}");
    }
    assert_eq!(tables.verify_audit(TENANT, None).await.unwrap(), whole);

    without_triggers(&tables).await;
    assert_eq!(by_force(&tables, "UPDATE audit SET actor = 'eve' WHERE seq = 3").await.unwrap(), 1);
    let edited = tables.verify_audit(TENANT, None).await.unwrap();
    assert!(edited.problems.iter().any(|p| p.contains("entry 3")), "{edited:?}");
    assert_eq!(by_force(&tables, "DELETE FROM audit WHERE seq = 9").await.unwrap(), 1);
    let cut = tables.verify_audit(TENANT, None).await.unwrap();
    assert!(cut.problems.iter().any(|p| p.contains("9 to 9 are missing")), "{cut:?}");
    let noted = tables.verify_audit(TENANT, Some((9, whole.head))).await.unwrap();
    assert!(noted.problems.len() > cut.problems.len(), "{noted:?}");
}

async fn many_writers_make_one_chain(fresh: Fresh) {
    let tables = open(&fresh).await;
    let writers = (0..8).map(|n| {
        let tables = tables.clone();
        tokio::spawn(async move {
            for i in 0..5 {
                tables.put_on_record(vec![entry(n * 5 + i)]).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let whole = tables.verify_audit(TENANT, None).await.unwrap();
    assert_eq!((whole.entries, whole.problems.len()), (40, 0), "{whole:?}");
}

async fn changes_of_settings_go_on_record_once(fresh: Fresh) {
    let tables = open(&fresh).await;
    assert_eq!(tables.settings_on_record().await.unwrap(), 0);
    assert!(tables.put_settings_on_record((0, 4), vec![entry(1), entry(2)]).await.unwrap());
    assert!(!tables.put_settings_on_record((0, 4), vec![entry(1), entry(2)]).await.unwrap());
    assert_eq!(tables.settings_on_record().await.unwrap(), 4);
    assert_eq!(tables.verify_audit(TENANT, None).await.unwrap().entries, 2);
}
