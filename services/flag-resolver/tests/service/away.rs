//! The database is away: what is known serves, what is not is waited for.

use crate::served::{config, wire};
use crate::{Served, because, per_step, run_id, total, until};
use meta_domain::settings::{Layer, Setting, Value};
use meta_proto::common;
use meta_proto::status::from_status;
use meta_runtime::now;
use meta_storage::Location;
use meta_storage::testing::Postgres;
use serde_json::Value as Json;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

/// The file of the last known settings.
const KEPT: &str = "flag-resolver-snapshot.json";
/// When an answer counts as stale, and when auto-fix is off.
const STALE_MS: u64 = 3_000;
const EXPIRED_MS: i64 = 5 * 60 * 1000;

async fn kept(data: &Path) -> Json {
    serde_json::from_slice(&tokio::fs::read(data.join(KEPT)).await.unwrap()).unwrap()
}

#[tokio::test]
async fn while_the_database_is_away_reads_are_stale_and_writes_unavailable() {
    let server = Postgres::own().await;
    let data = tempfile::tempdir().unwrap();
    let served = Served::of(config(&server.empty().await, data.path()), &[]).await;
    let mut ann = served.caller();
    let mut stream = ann.watch("").await.unwrap();
    stream.message().await.unwrap().unwrap();
    ann.set("", total(8)).await.unwrap();
    assert!(!stream.message().await.unwrap().unwrap().stale);
    server.stop().await;
    let answer = until(async || ann.clone().resolve("").await.unwrap(), |a| a.stale).await;
    assert!(answer.stale_ms > STALE_MS && answer.version == 1, "{answer:?}");
    assert_eq!(ann.total("").await, (8, Layer::Tenant), "the last word serves");
    let told = stream.message().await.unwrap().unwrap();
    assert!(told.stale, "a watcher is told: {told:?}");
    for status in [
        ann.set("", total(9)).await.unwrap_err(),
        ann.clear("", &[]).await.unwrap_err(),
        ann.changes("").await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert_eq!(from_status(&status).reason, "STORE_UNREACHABLE");
    }
    assert_eq!(served.health().await, ServingStatus::Serving, "it serves what it knows");
    server.start().await;
    until(async || ann.clone().resolve("").await.unwrap(), |a| !a.stale).await;
    assert!(!stream.message().await.unwrap().unwrap().stale, "and that it is over");
    ann.set("", total(9)).await.unwrap();
    assert_eq!(ann.total("").await, (9, Layer::Tenant));
    assert_eq!(ann.changes("").await.unwrap().len(), 2, "nothing half done");
}

#[tokio::test]
async fn a_start_without_the_database_serves_what_is_kept_until_it_is_back() {
    let server = Postgres::own().await;
    let (location, data) = (server.empty().await, tempfile::tempdir().unwrap());
    let first = Served::of(config(&location, data.path()), &[]).await;
    let mut ann = first.caller();
    let run = run_id();
    ann.set("", total(8)).await.unwrap();
    ann.set(&run, per_step(2)).await.unwrap();
    first.stop().await;
    assert_eq!(kept(data.path()).await["snapshot"]["version"], 2, "the last change is kept too");
    server.stop().await;
    let second = Served::of(config(&location, data.path()), &[]).await;
    let mut ann = ann.at(second.channel());
    until(async || second.health().await, |h| *h == ServingStatus::Serving).await;
    assert_eq!(ann.total(&run).await, (8, Layer::Tenant));
    until(async || ann.clone().resolve("").await.unwrap(), |a| a.stale).await;
    assert_eq!(ann.set("", total(9)).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(ann.explain("").await.unwrap_err().code(), Code::Unavailable);
    server.start().await;
    until(async || ann.clone().resolve("").await.unwrap(), |a| !a.stale).await;
    assert_eq!(ann.set("", total(9)).await.unwrap().version, 3);
}

#[tokio::test]
async fn a_start_without_the_database_or_anything_kept_is_not_ready_until_it_is_back() {
    let server = Postgres::own().await;
    let (location, data) = (server.empty().await, tempfile::tempdir().unwrap());
    server.stop().await;
    let served = Served::of(config(&location, data.path()), &[]).await;
    let mut ann = served.caller();
    assert_eq!(served.health().await, ServingStatus::NotServing);
    for status in [
        ann.resolve("").await.unwrap_err(),
        ann.explain("").await.unwrap_err(),
        ann.set("", total(8)).await.unwrap_err(),
        ann.watch("").await.unwrap_err(),
        ann.follow().await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unavailable, "nothing is made up: {status}");
    }
    server.start().await;
    until(async || served.health().await, |h| *h == ServingStatus::Serving).await;
    assert_eq!(ann.set("", total(8)).await.unwrap().version, 1);
    assert!(!ann.resolve("").await.unwrap().stale);
}

/// What was written down, changed as a test needs it, at a start without the database.
async fn recalled(
    vars: &[(&str, &str)],
    change: impl FnOnce(&mut Json),
) -> (Served, crate::Caller) {
    let server = Postgres::own().await;
    let (location, data) = (server.empty().await, tempfile::tempdir().unwrap());
    let first = Served::of(config(&location, data.path()), &[]).await;
    let mut ann = first.caller();
    ann.set("", total(8)).await.unwrap();
    let why = because("slow");
    ann.ops().platform(common::Layer::Platform, per_step(2), why).await.unwrap();
    first.stop().await;
    let mut document = kept(data.path()).await;
    change(&mut document);
    tokio::fs::write(data.path().join(KEPT), document.to_string()).await.unwrap();
    server.stop().await;
    let second = Served::of(config(&location, data.path()), vars).await;
    let ann = ann.at(second.channel());
    (second, ann)
}

#[tokio::test]
async fn what_is_kept_serves_five_minutes_and_then_auto_fix_is_off() {
    let old = |ms: i64| move |kept: &mut Json| kept["heard_at"] = now().plus_ms(-ms).0.into();
    let (_served, mut ann) = recalled(&[], old(EXPIRED_MS - 60_000)).await;
    assert_eq!(ann.value("", Setting::AutofixEnabled).await.0, Value::Bool(true));
    let (_served, mut ann) = recalled(&[], old(EXPIRED_MS + 1_000)).await;
    let answer = ann.resolve("").await.unwrap();
    assert!(answer.stale && answer.stale_ms > EXPIRED_MS.unsigned_abs(), "{answer:?}");
    let off = (Value::Bool(false), Layer::FailClosed);
    assert_eq!(ann.value("", Setting::AutofixEnabled).await, off);
    assert_eq!(ann.total("").await, (8, Layer::Tenant), "the others stay");
}

#[tokio::test]
async fn variables_of_the_new_start_hold_whatever_is_kept() {
    let vars = [("FEATURE_META_V3_AUTOFIX", "off"), ("META_V3_MAX_PER_STEP_ATTEMPTS", "7")];
    let (_served, mut ann) = recalled(&vars, |_| {}).await;
    let autofix = ann.value("", Setting::AutofixEnabled).await;
    assert_eq!(autofix, (Value::Bool(false), Layer::Platform));
    let per_step = ann.value("", Setting::MaxPerStepAttempts).await;
    assert_eq!(per_step, (Value::Int(2), Layer::Platform), "what was set is above the variable");
}

#[tokio::test]
async fn what_is_kept_but_not_readable_is_as_nothing() {
    let (served, mut ann) = recalled(&[], |kept| *kept = "broken".into()).await;
    assert_eq!(served.health().await, ServingStatus::NotServing);
    assert_eq!(ann.resolve("").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_database_that_is_there_but_not_for_us_stops_the_start() {
    let server = Postgres::own().await;
    let location = server.empty().await.to_setting();
    let missing = location.replace("/t0?", "/nowhere?");
    assert_ne!(missing, location);
    let location = Location::parse(&missing, Path::new("/")).unwrap();
    let data = tempfile::tempdir().unwrap();
    let error = wire(config(&location, data.path()), &[]).await.err().expect("no start");
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// A database that was put back to an earlier state is followed there, by everybody.
#[tokio::test]
async fn a_store_that_was_set_back_is_read_whole_again() {
    use meta_storage::sqlx::{self, Connection};
    let server = Postgres::own().await;
    let (location, data) = (server.empty().await, tempfile::tempdir().unwrap());
    let served = Served::of(config(&location, data.path()), &[]).await;
    let mut ann = served.caller();
    for n in 1..=5 {
        ann.set("", total(n)).await.unwrap();
    }
    let mut stream = ann.follow().await.unwrap();
    stream.message().await.unwrap().unwrap();
    let url = location.to_setting();
    let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
    let set_back = "WITH v AS (UPDATE snapshot SET version = 2) DELETE FROM layers";
    sqlx::query(set_back).execute(&mut database).await.unwrap();
    until(async || ann.clone().version().await, |v| *v == 2).await;
    assert_eq!(ann.total("").await, (10, Layer::Platform));
    let mut told = stream.message().await.unwrap().unwrap();
    while told.version != 2 {
        told = stream.message().await.unwrap().unwrap();
    }
    assert!(told.reset && told.overrides.is_empty());
}

/// A store that is there and does not answer is as one that is away, and no request waits for it.
#[tokio::test]
async fn while_the_database_does_not_answer_reads_are_stale_and_it_is_heard_again_afterwards() {
    use meta_storage::sqlx::{self, Connection, Executor};
    let server = Postgres::own().await;
    let (location, data) = (server.empty().await, tempfile::tempdir().unwrap());
    let served = Served::of(config(&location, data.path()), &[]).await;
    let mut ann = served.caller();
    ann.set("", total(8)).await.unwrap();
    let mut database = sqlx::PgConnection::connect(&location.to_setting()).await.unwrap();
    database.execute("BEGIN; LOCK TABLE snapshot").await.unwrap();
    let longest = std::cell::Cell::new(Duration::ZERO);
    let asked = async || {
        let began = Instant::now();
        let answer = ann.clone().resolve("").await.unwrap();
        longest.set(longest.get().max(began.elapsed()));
        answer
    };
    // longer than the service waits for one answer
    until(asked, |a| a.stale_ms > 7_000).await;
    println!("the slowest read took {:?}", longest.get());
    assert!(longest.get() < Duration::from_secs(1), "{longest:?}");
    database.execute("ROLLBACK").await.unwrap();
    until(async || ann.clone().resolve("").await.unwrap(), |a| !a.stale).await;
    assert_eq!(ann.set("", total(9)).await.unwrap().version, 2);
}
