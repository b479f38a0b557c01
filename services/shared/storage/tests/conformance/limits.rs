//! PostgreSQL's limits: a call ends, whatever it waits for.

use crate::{PATIENCE, count, counter, open, run};
use meta_storage::testing::Fresh;
use meta_storage::{Engine, Error, Location, on};
use std::path::Path;
use std::time::{Duration, Instant};

/// An engine whose limit of one kind is shorter; the operator's word counts.
async fn limited(fresh: &Fresh, limit: &str) -> Engine {
    let url = format!("{}&options[{limit}]=1000", fresh.location().to_setting());
    open(&Location::parse(&url, Path::new("/")).unwrap()).await
}

async fn setting(engine: &Engine, sql: &'static str) -> String {
    on!(engine.read(), |db| sqlx::query_scalar(sql).fetch_one(db).await).unwrap()
}

#[tokio::test]
async fn every_connection_has_its_limits() {
    let fresh = Fresh::postgres().await;
    let engine = open(fresh.location()).await;
    assert_eq!(setting(&engine, "SHOW statement_timeout").await, "30s");
    assert_eq!(setting(&engine, "SHOW lock_timeout").await, "15s");
    assert_eq!(setting(&engine, "SHOW idle_in_transaction_session_timeout").await, "1min");
    assert_eq!(setting(&engine, "SHOW application_name").await, "metabuilder");
    let engine = limited(&fresh, "statement_timeout").await;
    assert_eq!(setting(&engine, "SHOW statement_timeout").await, "1s");
    assert_eq!(setting(&engine, "SHOW lock_timeout").await, "15s");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended() {
    let fresh = Fresh::postgres().await;
    let engine = limited(&fresh, "statement_timeout").await;
    let error = run(&engine, "SELECT pg_sleep(600)").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
}

#[tokio::test]
async fn a_wait_for_a_lock_is_ended() {
    let fresh = Fresh::postgres().await;
    let engine = limited(&fresh, "lock_timeout").await;
    let mut holder = engine.begin().await.unwrap();
    let sql = "UPDATE counters SET n = 7 WHERE name = 'runs'";
    on!(holder, |db| sqlx::query(sql).execute(db).await.map(drop)).unwrap();
    let error = count(&engine, "runs").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    holder.commit().await.unwrap();
    assert_eq!(count(&engine, "runs").await.unwrap(), 8);
}

#[tokio::test]
async fn a_deadlock_ends_for_the_loser() {
    let fresh = Fresh::postgres().await;
    let engine = open(fresh.location()).await;
    run(&engine, "INSERT INTO counters VALUES ('a', 0), ('b', 0)").await.unwrap();
    let met = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let both = |first: &'static str, second: &'static str| {
        let (engine, met) = (engine.clone(), met.clone());
        async move {
            let mut tx = engine.begin().await?;
            let sql = crate::COUNTER_NEXT.on(&tx);
            on!(tx, |db| sqlx::query(sql).bind(first).execute(db).await.map(drop)?);
            met.wait().await;
            on!(tx, |db| sqlx::query(sql).bind(second).execute(db).await.map(drop)?);
            tx.commit().await
        }
    };
    let (one, other) = tokio::join!(both("a", "b"), both("b", "a"));
    let (winner, loser) = if one.is_ok() { (one, other) } else { (other, one) };
    winner.unwrap();
    assert!(matches!(loser, Err(Error::Unreachable(_))), "{loser:?}");
    assert_eq!(counter(&engine, "a").await.unwrap(), Some(1));
}

#[tokio::test]
async fn more_calls_than_connections_wait_and_then_fail() {
    let fresh = Fresh::postgres().await;
    let engine = open(fresh.location()).await;
    let mut held = Vec::new();
    let since = Instant::now();
    let error = loop {
        match engine.begin().await {
            Ok(tx) => held.push(tx),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert_eq!(held.len(), 16);
    assert!(since.elapsed() < PATIENCE);
    drop(held);
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
}

#[tokio::test]
async fn a_call_that_was_given_up_leaves_nothing_and_blocks_nobody() {
    let fresh = Fresh::postgres().await;
    let engine = limited(&fresh, "statement_timeout").await;
    for n in 0..20 {
        let mut tx = engine.begin().await.unwrap();
        crate::insert(&mut tx, &format!("half {n}"), 1).await.unwrap();
        let slow = async {
            on!(tx, |db| sqlx::query("SELECT pg_sleep(600)").execute(db).await.map(drop)).unwrap();
        };
        assert!(tokio::time::timeout(Duration::from_millis(5), slow).await.is_err());
        drop(tx);
    }
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
    assert_eq!(counter(&engine, "half 0").await.unwrap(), None);
}
