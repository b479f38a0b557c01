//! Transactions.

use crate::{COUNTER_PUT, JOB_CLAIM, JOB_INSERT, count, counter, insert, open};
use meta_storage::testing::Fresh;
use meta_storage::{Engine, Error, on};
use std::collections::BTreeSet;

meta_storage::on_both_engines! {
    what_was_committed_is_read_and_what_was_dropped_is_not;
    a_rollback_leaves_nothing;
    nobody_reads_what_is_not_committed;
    concurrent_writers_lose_nothing;
    each_job_is_claimed_once;
    a_key_that_is_taken_is_told_from_other_errors;
    an_upsert_changes_one_row;
}

async fn what_was_committed_is_read_and_what_was_dropped_is_not(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let mut tx = engine.begin().await.unwrap();
    assert_eq!(insert(&mut tx, "kept", 1).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let mut tx = engine.begin().await.unwrap();
    insert(&mut tx, "dropped", 2).await.unwrap();
    drop(tx);
    assert_eq!(counter(&engine, "kept").await.unwrap(), Some(1));
    assert_eq!(counter(&engine, "dropped").await.unwrap(), None);
    engine.close().await;
    let again = open(fresh.location()).await;
    assert_eq!(counter(&again, "kept").await.unwrap(), Some(1));
}

async fn a_rollback_leaves_nothing(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let mut tx = engine.begin().await.unwrap();
    insert(&mut tx, "undone", 1).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(counter(&engine, "undone").await.unwrap(), None);
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
}

async fn nobody_reads_what_is_not_committed(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let mut tx = engine.begin().await.unwrap();
    insert(&mut tx, "hidden", 1).await.unwrap();
    assert_eq!(counter(&engine, "hidden").await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(counter(&engine, "hidden").await.unwrap(), Some(1));
}

/// Two engines stand for two replicas; each writer locks the counter's row by changing it first.
async fn concurrent_writers_lose_nothing(fresh: Fresh) {
    const WRITERS: i64 = 8;
    const EACH: i64 = 20;
    let replicas = [open(fresh.location()).await, open(fresh.location()).await];
    let mut writers = tokio::task::JoinSet::new();
    for engine in (0..WRITERS).map(|w| replicas[usize::from(w % 2 == 0)].clone()) {
        writers.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..EACH {
                mine.push(count(&engine, "runs").await.unwrap());
            }
            mine
        });
    }
    let numbers: BTreeSet<i64> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(numbers, (1..=WRITERS * EACH).collect());
    assert_eq!(counter(&replicas[0], "runs").await.unwrap(), Some(WRITERS * EACH));
}

async fn each_job_is_claimed_once(fresh: Fresh) {
    const JOBS: i64 = 40;
    let engine = open(fresh.location()).await;
    let mut tx = engine.begin().await.unwrap();
    for id in 0..JOBS {
        let sql = JOB_INSERT.on(&tx);
        on!(tx, |db| sqlx::query(sql).bind(id).execute(db).await.map(drop).unwrap());
    }
    tx.commit().await.unwrap();
    let mut claimers = tokio::task::JoinSet::new();
    for owner in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let engine = engine.clone();
        claimers.spawn(async move {
            let mut mine = Vec::new();
            while let Some(id) = claim(&engine, owner).await.unwrap() {
                mine.push(id);
            }
            mine
        });
    }
    let mut claimed: Vec<i64> = claimers.join_all().await.into_iter().flatten().collect();
    claimed.sort_unstable();
    assert_eq!(claimed, (0..JOBS).collect::<Vec<_>>());
}

async fn claim(engine: &Engine, owner: &str) -> Result<Option<i64>, Error> {
    let mut tx = engine.begin().await?;
    let sql = JOB_CLAIM.on(&tx);
    let id = on!(tx, |db| sqlx::query_scalar(sql).bind(owner).fetch_optional(db).await?);
    tx.commit().await?;
    Ok(id)
}

async fn a_key_that_is_taken_is_told_from_other_errors(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    let mut tx = engine.begin().await.unwrap();
    let error = insert(&mut tx, "runs", 1).await.unwrap_err();
    assert!(error.is_unique_violation(), "{error:?}");
    drop(tx);
    let error = crate::run(&engine, "INSERT INTO nowhere VALUES (1)").await.unwrap_err();
    assert!(matches!(error, Error::Statement(_)), "{error:?}");
    assert!(!error.is_unique_violation());
}

async fn an_upsert_changes_one_row(fresh: Fresh) {
    let engine = open(fresh.location()).await;
    for n in [3_i64, 4] {
        let mut tx = engine.begin().await.unwrap();
        let sql = COUNTER_PUT.on(&tx);
        let put = on!(tx, |db| sqlx::query(sql).bind("runs").bind(n).execute(db).await.map(drop));
        put.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(counter(&engine, "runs").await.unwrap(), Some(n));
    }
}
