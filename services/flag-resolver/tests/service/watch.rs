//! Watching an owner's settings.

use crate::{IN_FORCE, PATIENCE, Served, because, per_step, run_id, total};
use meta_proto::common::Layer;
use meta_proto::flags::WatchResponse;
use meta_proto::status::from_status;
use meta_storage::testing::Fresh;
use std::time::{Duration, Instant};
use tonic::{Code, Streaming};

/// Long enough for a wrong message to arrive.
const QUIET: Duration = Duration::from_millis(600);

async fn next(stream: &mut Streaming<WatchResponse>, within: Duration) -> (u32, u32, u64) {
    let message = tokio::time::timeout(within, stream.message()).await.expect("in time");
    let message = message.unwrap().expect("a message");
    assert!(!message.stale);
    let settings = message.resolved.unwrap().settings.unwrap();
    (settings.max_total_attempts, settings.max_per_step_attempts, message.version)
}

meta_storage::on_both_engines! {
    a_watcher_sees_the_present_and_then_every_change;
    a_watcher_hears_nothing_of_others;
    a_watcher_that_lags_arrives_at_what_is_in_force;
    a_change_by_another_process_reaches_watchers_within_a_second;
}

async fn a_watcher_sees_the_present_and_then_every_change(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let (mut ann, run) = (served.caller(), run_id());
    let mut of_tenant = ann.watch("").await.unwrap();
    let mut of_run = ann.watch(&run).await.unwrap();
    assert_eq!(next(&mut of_tenant, PATIENCE).await, (10, 5, 0));
    assert_eq!(next(&mut of_run, PATIENCE).await, (10, 5, 0));
    ann.set("", total(8)).await.unwrap();
    assert_eq!(next(&mut of_tenant, IN_FORCE).await, (8, 5, 1));
    assert_eq!(next(&mut of_run, IN_FORCE).await, (8, 5, 1));
    ann.set(&run, per_step(2)).await.unwrap();
    assert_eq!(next(&mut of_run, IN_FORCE).await, (8, 2, 2));
    ann.clear("", &[]).await.unwrap();
    assert_eq!(next(&mut of_tenant, IN_FORCE).await, (10, 5, 3));
    assert_eq!(next(&mut of_run, IN_FORCE).await, (10, 2, 3));
    ann.ops().platform(Layer::Platform, total(4), because("less")).await.unwrap();
    assert_eq!(next(&mut of_tenant, IN_FORCE).await, (4, 5, 4));
    assert_eq!(next(&mut of_run, IN_FORCE).await, (4, 2, 4));
}

async fn a_watcher_hears_nothing_of_others(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut stream = ann.watch("").await.unwrap();
    next(&mut stream, PATIENCE).await;
    ann.of_another_tenant().set("", total(8)).await.unwrap();
    ann.set(&run_id(), total(9)).await.unwrap();
    assert!(tokio::time::timeout(QUIET, stream.message()).await.is_err());
    ann.set("", total(7)).await.unwrap();
    assert_eq!(next(&mut stream, IN_FORCE).await, (7, 5, 3));
}

async fn a_watcher_that_lags_arrives_at_what_is_in_force(fresh: Fresh) {
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut stream = ann.watch("").await.unwrap();
    for n in 1..=20 {
        ann.set("", total(n)).await.unwrap();
    }
    let mut seen = vec![next(&mut stream, PATIENCE).await];
    while seen.last().is_some_and(|last| last.0 != 20) {
        seen.push(next(&mut stream, PATIENCE).await);
    }
    assert!(seen.is_sorted_by(|a, b| a.2 < b.2), "{seen:?}");
    assert_eq!(seen.last(), Some(&(20, 5, 20)));
}

async fn a_change_by_another_process_reaches_watchers_within_a_second(fresh: Fresh) {
    let (served, other) = (Served::start(&fresh).await, Served::start(&fresh).await);
    let mut ann = served.caller();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = ann.watch("").await.unwrap();
        next(&mut stream, PATIENCE).await;
        streams.push(stream);
    }
    ann.at(other.channel()).set("", total(8)).await.unwrap();
    let began = Instant::now();
    for stream in &mut streams {
        assert_eq!(next(stream, IN_FORCE).await, (8, 5, 1));
    }
    println!("20 watchers of the other process in {:?}", began.elapsed());
    assert!(began.elapsed() < IN_FORCE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn streams_end_with_an_error_when_the_service_stops_and_do_not_hold_it_up() {
    let fresh = Fresh::sqlite();
    let served = Served::start(&fresh).await;
    let mut ann = served.caller();
    let mut watching = ann.watch("").await.unwrap();
    let mut following = ann.follow().await.unwrap();
    next(&mut watching, PATIENCE).await;
    following.message().await.unwrap().unwrap();
    let began = Instant::now();
    served.begin_to_stop();
    let ended = tokio::time::timeout(PATIENCE, watching.message()).await.unwrap().unwrap_err();
    assert_eq!(
        (ended.code(), from_status(&ended).reason.as_str()),
        (Code::Unavailable, "STOPPING")
    );
    let ended = async {
        loop {
            if let Err(status) = following.message().await {
                return status;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(from_status(&ended).reason, "STOPPING");
    drop((watching, following, ann));
    served.stop().await;
    assert!(began.elapsed() < PATIENCE / 3, "{:?}", began.elapsed());
}
