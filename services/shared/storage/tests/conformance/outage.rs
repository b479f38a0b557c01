//! PostgreSQL goes away and comes back.

use crate::{MIGRATIONS, PATIENCE, count, counter, insert, open};
use meta_storage::testing::Postgres;
use meta_storage::{Engine, Error, Location};
use std::path::Path;
use std::time::Instant;

#[tokio::test]
async fn calls_fail_in_time_while_the_server_is_down_and_work_when_it_is_back() {
    let server = Postgres::own().await;
    let location = server.empty().await;
    let engine = open(&location).await;
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
    for _ in 0..2 {
        server.stop().await;
        let since = Instant::now();
        assert!(matches!(engine.ping().await, Err(Error::Unreachable(_))));
        assert!(matches!(count(&engine, "runs").await, Err(Error::Unreachable(_))));
        assert!(matches!(counter(&engine, "runs").await, Err(Error::Unreachable(_))));
        let opened = Engine::open(&location, MIGRATIONS).await;
        assert!(matches!(opened, Err(Error::Unreachable(_))), "{opened:?}");
        assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
        server.start().await;
        engine.ping().await.unwrap();
    }
    assert_eq!(count(&engine, "runs").await.unwrap(), 2);
}

#[tokio::test]
async fn a_restart_between_calls_is_not_noticed() {
    let server = Postgres::own().await;
    let engine = open(&server.empty().await).await;
    let many = || (0..8).map(|_| count(&engine, "runs"));
    for n in futures::future::join_all(many()).await {
        n.unwrap();
    }
    server.stop().await;
    server.start().await;
    for n in futures::future::join_all(many()).await {
        n.unwrap();
    }
    assert_eq!(counter(&engine, "runs").await.unwrap(), Some(16));
}

#[tokio::test]
async fn a_crash_keeps_what_was_committed_and_nothing_else() {
    let server = Postgres::own().await;
    let engine = open(&server.empty().await).await;
    assert_eq!(count(&engine, "runs").await.unwrap(), 1);
    let mut tx = engine.begin().await.unwrap();
    insert(&mut tx, "half", 1).await.unwrap();
    server.crash().await;
    let committed = tx.commit().await;
    assert!(matches!(committed, Err(Error::Unreachable(_))), "{committed:?}");
    server.start().await;
    assert_eq!(counter(&engine, "runs").await.unwrap(), Some(1));
    assert_eq!(counter(&engine, "half").await.unwrap(), None);
}

/// Nobody listens; somebody listens and says nothing.
#[tokio::test]
async fn a_start_does_not_wait_for_ever() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ports = [silent.local_addr().unwrap().port(), nobody.local_addr().unwrap().port()];
    drop(nobody);
    let starts = ports.map(|port| async move {
        let url = format!("postgres://ann:s3cr3t@127.0.0.1:{port}/t");
        let location = Location::parse(&url, Path::new("/")).unwrap();
        Engine::open(&location, MIGRATIONS).await
    });
    let since = Instant::now();
    for opened in futures::future::join_all(starts).await {
        let error = opened.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("s3cr3t"));
    }
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
}
