//! Changes reach watchers.

use crate::{Caller, PATIENCE, per_step, run_id, total, wire};
use meta_proto::flags::WatchResponse;
use meta_proto::flags::flags_service_client::FlagsServiceClient;
use meta_proto::status::from_status;
use meta_runtime::auth::{Auth, Mode};
use meta_runtime::serve::{Bound, Drain, run};
use meta_runtime::transport::remote;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};

/// A change is in force everywhere within this time.
const IN_FORCE: Duration = Duration::from_secs(1);
/// Long enough for a wrong message to arrive.
const QUIET: Duration = Duration::from_millis(600);

async fn next(stream: &mut Streaming<WatchResponse>, within: Duration) -> (u32, u32, u64) {
    let message = tokio::time::timeout(within, stream.message()).await.expect("in time");
    let message = message.unwrap().expect("a message");
    let settings = message.resolved.unwrap().settings.unwrap();
    (settings.max_total_attempts, settings.max_per_step_attempts, message.version)
}

#[tokio::test]
async fn a_watcher_sees_the_present_and_then_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let run = run_id();
    let mut of_tenant = ann.watch("").await.unwrap();
    let mut of_run = ann.watch(&run).await.unwrap();
    assert_eq!(next(&mut of_tenant, PATIENCE).await, (10, 5, 0));
    assert_eq!(next(&mut of_run, PATIENCE).await, (10, 5, 0));
    ann.set("", total(8)).await.unwrap();
    assert_eq!(next(&mut of_tenant, IN_FORCE).await, (8, 5, 1));
    assert_eq!(next(&mut of_run, IN_FORCE).await, (8, 5, 1));
    ann.set(&run, per_step(2)).await.unwrap();
    assert_eq!(next(&mut of_run, IN_FORCE).await, (8, 2, 2));
    ann.clear("").await.unwrap();
    assert_eq!(next(&mut of_tenant, IN_FORCE).await, (10, 5, 3));
    assert_eq!(next(&mut of_run, IN_FORCE).await, (10, 2, 3));
}

#[tokio::test]
async fn a_watcher_hears_nothing_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut stream = ann.watch("").await.unwrap();
    next(&mut stream, PATIENCE).await;
    ann.of_another_tenant().set("", total(8)).await.unwrap();
    ann.set(&run_id(), total(9)).await.unwrap();
    assert!(tokio::time::timeout(QUIET, stream.message()).await.is_err());
    ann.set("", total(7)).await.unwrap();
    assert_eq!(next(&mut stream, IN_FORCE).await, (7, 5, 3));
}

#[tokio::test]
async fn a_watcher_that_lags_arrives_at_what_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut stream = ann.watch("").await.unwrap();
    for n in 1..=20 {
        ann.set("", total(n)).await.unwrap();
    }
    let mut seen = vec![next(&mut stream, PATIENCE).await];
    while seen.last().is_some_and(|last| last.0 != 20) {
        seen.push(next(&mut stream, IN_FORCE).await);
    }
    assert!(seen.is_sorted_by(|a, b| a.2 < b.2), "{seen:?}");
    assert_eq!(seen.last(), Some(&(20, 5, 20)));
}

#[tokio::test]
async fn a_change_by_another_process_reaches_watchers_within_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let mut ann = Caller::start(dir.path()).await;
    let mut elsewhere = Caller::start(dir.path()).await;
    elsewhere.principal = ann.principal.clone();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = ann.watch("").await.unwrap();
        next(&mut stream, PATIENCE).await;
        streams.push(stream);
    }
    elsewhere.set("", total(8)).await.unwrap();
    let began = Instant::now();
    for stream in &mut streams {
        assert_eq!(next(stream, IN_FORCE).await, (8, 5, 1));
    }
    assert!(began.elapsed() < IN_FORCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn watches_end_with_an_error_when_the_service_stops_and_do_not_hold_it_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut wiring = wire(dir.path(), &[]).await.unwrap();
    let mut ann = Caller::of(&wiring);
    let auth = Auth::new(Mode::Token, "token", None);
    let bound = Bound::new("127.0.0.1:0".parse().unwrap(), &[&wiring], &auth).await.unwrap();
    let address = format!("http://{}", bound.address().unwrap());
    let stop = CancellationToken::new();
    let token = stop.clone();
    let drain = Drain { lame_duck: Duration::ZERO, grace: PATIENCE };
    let served = tokio::spawn(async move { run(vec![bound], &mut wiring, token, drain).await });
    ann.client = FlagsServiceClient::new(remote(&address, "token").unwrap());
    let mut stream = ann.watch("").await.unwrap();
    assert_eq!(next(&mut stream, PATIENCE).await, (10, 5, 0));
    ann.set("", total(8)).await.unwrap();
    assert_eq!(next(&mut stream, IN_FORCE).await, (8, 5, 1));
    let began = Instant::now();
    stop.cancel();
    let status = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(from_status(&status).reason, "STOPPING");
    drop((stream, ann));
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap().unwrap();
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
}
