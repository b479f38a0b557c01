//! Many runs at once on one engine: what comes while a batch is in the store is decided meanwhile.

use super::On;
use super::scenarios::{ALL, Scenario};
use super::stage::{AGAIN, LIMIT, client, engine_on, work};
use meta_domain::id::RunId;
use meta_domain::status::RunStatus;
use meta_storage::testing::Fresh;
use meta_storage::{Side, sqlx};
use orchestrator::core::audit::Entry;
use orchestrator::core::ready::Offer;
use orchestrator::core::transition::Input;
use orchestrator::shell::{Engine, Finish};
use orchestrator::store::{Tables, When};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Runs at once.
const RUNS: usize = 24;
/// Calls of the store from one that fails to the next.
const CALLS_BETWEEN: u64 = 23;
/// How long the store does not get on, so that something is waiting for it.
const BUSY: Duration = Duration::from_millis(200);

fn scenario(name: &str) -> &'static Scenario {
    ALL.iter().find(|s| s.name == name).expect("there is one")
}

/// Lets a call fail again and again; answers how often one did.
fn failing(tables: &Tables, when: When, stop: CancellationToken) -> JoinHandle<u32> {
    let faults = tables.faults.clone();
    faults.fail(CALLS_BETWEEN, when);
    tokio::spawn(async move {
        let mut failed = 0;
        while !stop.is_cancelled() {
            if faults.has_failed(when) {
                failed += 1;
                faults.fail(CALLS_BETWEEN, when);
            }
            sleep(Duration::from_millis(1)).await;
        }
        faults.stop();
        failed
    })
}

async fn ends_right(on: On, scenario: &'static Scenario, when: When) {
    let what = format!("{} {when:?} on {on:?}", scenario.name);
    let (fresh, folder) = (on.fresh().await, tempfile::tempdir().expect("there is room"));
    let tables = Tables::open(fresh.location()).await.expect("the database can be made");
    let engine = engine_on(tables.clone(), folder.path()).await;
    let (stop, healthy) = (CancellationToken::new(), CancellationToken::new());
    let mut workers = JoinSet::new();
    for internal in [false, false, false, true, true] {
        workers.spawn(work(engine.clone(), scenario, internal, stop.clone()));
    }
    let failing = failing(&tables, when, healthy.clone());
    let mut clients = JoinSet::new();
    for n in 0..RUNS {
        let engine = engine.clone();
        clients.spawn(async move { client(&engine, scenario, &format!("request {n}")).await });
    }
    let runs = timeout(LIMIT, clients.join_all()).await;
    let runs = runs.unwrap_or_else(|_| panic!("{what}: they do not end"));
    healthy.cancel();
    assert!(failing.await.expect("it ends") > 0, "{what}: no call failed");
    for run in runs {
        look(&engine, scenario.ends, run, &what).await;
    }
    stop.cancel();
    workers.join_all().await;
}

async fn look(engine: &Engine, ends: RunStatus, run: RunId, what: &str) {
    let tables = &engine.tables;
    let stored = tables.run(run).await.expect("the store answers").expect("it is there");
    assert_eq!(stored.status, ends, "{what}: {}", stored.reason);
    assert_eq!(tables.rebuilt(run, u64::MAX).await.expect("the store answers"), stored, "{what}");
    assert_eq!(*engine.load(run).await.expect("the store answers"), stored, "{what}");
    let events = tables.events(run, 0, 10_000).await.expect("the store answers");
    let numbers: Vec<u64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(numbers, (1..=stored.seq).collect::<Vec<_>>(), "{what}: it is dense");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_end_right_while_calls_of_sqlite_fail() {
    for when in [When::Before, When::AfterCommit, When::Statement] {
        ends_right(On::Sqlite, scenario("retry"), when).await;
        ends_right(On::Sqlite, scenario("gate"), when).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_end_right_while_calls_of_postgres_fail() {
    for when in [When::Before, When::AfterCommit] {
        ends_right(On::Postgres, scenario("diamond"), when).await;
    }
}

/// An engine on SQLite, whose store a test can keep busy.
async fn alone() -> (Fresh, tempfile::TempDir, Engine) {
    let (fresh, folder) = (Fresh::sqlite(), tempfile::tempdir().expect("there is room"));
    let tables = Tables::open(fresh.location()).await.expect("the database can be made");
    let engine = engine_on(tables, folder.path()).await;
    (fresh, folder, engine)
}

fn create(engine: &Engine) -> (RunId, JoinHandle<()>) {
    let (engine, run) = (engine.clone(), scenario("diamond").run());
    let id = run.id;
    let made = async move { drop(engine.create(run, None).await.expect("it is valid")) };
    (id, tokio::spawn(made))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_store_is_busy_is_decided_then() {
    let (_fresh, _folder, engine) = alone().await;
    let busy = engine.tables.begin().await.expect("nobody else has it");
    let (_, first) = create(&engine);
    sleep(AGAIN).await;
    let (second, later) = create(&engine);
    sleep(BUSY).await;
    assert!(
        !first.is_finished() && !later.is_finished(),
        "nothing is answered before it is stored"
    );
    let freed = engine.clock.now();
    busy.rollback().await.expect("it holds nothing");
    timeout(LIMIT, async { (first.await, later.await) })
        .await
        .expect("the store is free")
        .1
        .unwrap();

    let events = engine.tables.events(second, 0, 9).await.expect("the store answers");
    assert!(events[0].at < freed, "decided at {:?}, after {freed:?}", events[0].at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_one_run_are_decided_one_after_the_other() {
    let (_fresh, _folder, engine) = alone().await;
    let (run, made) = create(&engine);
    made.await.expect("it is valid");
    let busy = engine.tables.begin().await.expect("nobody else has it");
    let cancel = |actor: &str| {
        let (engine, input) = (engine.clone(), Input::Cancel { actor: actor.into() });
        tokio::spawn(async move { engine.advance(run, input, Finish::default()).await })
    };
    let mut answers = Vec::new();
    for actor in ["ann", "bob", "eve"] {
        answers.push(cancel(actor));
        sleep(AGAIN).await;
    }
    busy.rollback().await.expect("it holds nothing");
    let mut taken = Vec::new();
    for answer in answers {
        let answer = timeout(LIMIT, answer).await.expect("the store is free").expect("it ends");
        taken.push(answer.map(|run| run.status).map_err(|fault| fault.reason));
    }
    let refused = Err("RUN_ALREADY_ENDED");
    assert_eq!(taken, [Ok(RunStatus::Canceled), refused, refused]);
    look(&engine, RunStatus::Canceled, run, "canceled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_goes_on_after_what_another_process_put_there() {
    let (fresh, _folder, engine) = alone().await;
    let other = Tables::open(fresh.location()).await.expect("it is there");
    let tenant = orchestrator::DEFAULT_TENANT;
    let before = engine.tables.verify_audit(tenant, None).await.expect("the store answers");
    for _ in 0..3 {
        // the first looks where the chain ends, the second remembers it
        for _ in 0..2 {
            create(&engine).1.await.expect("it is valid");
        }
        let entry = Entry::new(tenant, engine.clock.now(), "key.revoked", "eve", "key/1".into());
        other.put_on_record(vec![entry]).await.expect("the store answers");
    }
    let after = engine.tables.verify_audit(tenant, None).await.expect("the store answers");
    assert!(after.problems.is_empty(), "{:?}", after.problems);
    assert_eq!(after.entries - before.entries, 9);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_read_takes_no_other_with_it() {
    let (_fresh, folder, first) = alone().await;
    let (bad, made) = create(&first);
    made.await.expect("it is valid");
    let (good, made) = create(&first);
    made.await.expect("it is valid");
    let mut tx = first.tables.begin().await.expect("nobody else has it");
    let spoil = "UPDATE runs SET body = '{', body_seq = seq WHERE id = ?";
    let Side::Sqlite(db) = tx.side() else { panic!("it is SQLite") };
    sqlx::query(spoil).bind(bad.0).execute(db).await.expect("nothing forbids it");
    tx.commit().await.expect("the store answers");
    // one that remembers neither
    let engine = engine_on(first.tables.clone(), folder.path()).await;
    let owner = "runner".to_owned();
    let offer = Offer { owner, internal: false, only: None, labels: Vec::new(), others: false };
    let poll = engine.poll(offer, 4).await.expect("it works");
    let leased = timeout(LIMIT, poll).await.expect("the good one is leased").expect("it works");
    let runs: Vec<_> = leased.iter().map(|leased| leased.task.run).collect();
    assert_eq!(runs, [Some(good)]);
}
