//! Transactions of SQLite whose end fails, as all do on a full disk.

use crate::{count, insert, open};
use meta_storage::testing::Fresh;
use meta_storage::{Engine, Tx};
use tokio::task::JoinSet;

/// Callers at once, and transactions of each.
const CALLERS: usize = 8;
const TIMES: usize = 25;

/// A transaction that the database has ended by itself: neither its commit nor its rollback works.
async fn break_one(engine: &Engine) {
    let mut tx = engine.begin().await.expect("an earlier one that broke is no reason");
    insert(&mut tx, "lost", 1).await.ok();
    let Tx::Sqlite(db) = &mut tx else { panic!("this is about SQLite") };
    sqlx::query("ROLLBACK").execute(&mut **db).await.unwrap();
    tx.commit().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_cannot_be_ended_is_in_nobodys_way() {
    let fresh = Fresh::sqlite();
    let engine = open(fresh.location()).await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let engine = engine.clone();
        callers.spawn(async move {
            for _ in 0..TIMES {
                break_one(&engine).await;
            }
        });
    }
    callers.join_all().await;
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
}
