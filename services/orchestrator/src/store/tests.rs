//! One suite for both engines.

use super::*;
use crate::core::queue::{Task, TaskState};
use crate::core::quota::{Action, PERIOD_MS, Quota};
use crate::core::run::Run;
use crate::core::transition::{Input, TaskKind};
use crate::core::work::{Finish, Given, Work};
use meta_domain::id::{RunId, TenantId};
use meta_domain::time::Timestamp;
use meta_storage::on_both_engines;
use meta_storage::testing::{Fresh, prepare_all, unpaired};
use std::sync::Arc;
use uuid::Uuid;

on_both_engines! {
    every_statement_can_be_prepared;
    what_was_written_is_read_again;
    a_stale_revision_stores_nothing;
    one_call_stores_as_much_as_a_transaction;
    the_event_log_is_append_only;
    a_run_that_ended_long_ago_is_removed_whole;
    a_request_makes_one_run;
    tenants_are_read_page_by_page_in_the_order_of_their_ids;
    the_queue_gives_each_tenant_a_part;
    leases_are_renewed_and_lost;
    a_quota_gives_each_time_once_and_a_clock_set_back_gives_nothing;
    of_two_that_take_the_last_one_at_once_one_gets_it;
    a_key_is_held_answered_given_back_and_forgotten;
}

#[test]
fn the_migrations_of_both_engines_have_the_same_numbers() {
    let (sqlite, postgres) =
        (sqlx::migrate!("migrations/sqlite"), sqlx::migrate!("migrations/postgres"));
    let migrations = Migrations { sqlite: &sqlite, postgres: &postgres };
    assert_eq!(unpaired(migrations), Vec::<i64>::new());
}

async fn open(fresh: &Fresh) -> Tables {
    Tables::open(fresh.location()).await.unwrap()
}

async fn every_statement_can_be_prepared(fresh: Fresh) {
    let tables = open(&fresh).await;
    prepare_all(&tables.engine, ALL).await.unwrap();
}

fn run(n: u128) -> Run {
    let file = "[[step]]\nname='a'\nrun='t'\n[[step]]\nname='b'\nrun='t'\nneeds=['a']\n";
    Run { id: RunId(Uuid::from_u128(n)), ..crate::core::transition::tests::run(file) }
}

/// Writes what was decided, with a patch; false when something else was faster.
async fn write(tables: &Tables, work: &Work) -> Result<bool, Error> {
    let mut writes = Writes::default();
    writes.add(work);
    writes.artifacts.push((work.run.id, "patch".to_owned(), b"+ a line".to_vec()));
    tables.store(Opening::new(tables), &writes).await
}

/// The same in one call of the store.
async fn write_at_once(tables: &Tables, work: &Work) -> Result<bool, Error> {
    let mut writes = Writes::default();
    writes.add(work);
    writes.audit.clear();
    tables.store(Opening::new(tables), &writes).await
}

fn created(n: u128, request: Option<&str>) -> Work {
    let mut ids = meta_runtime::new_id;
    let mut given = Given { now: Timestamp(10), ids: &mut ids, lease_ms: 1_000 };
    let mut work = Work::create(run(n), &mut given).unwrap();
    work.request_id = request.map(str::to_owned);
    work
}

async fn read(tables: &Tables, id: RunId) -> Loaded {
    let mut tx = tables.begin().await.unwrap();
    let loaded = load(&mut tx, id, None).await.unwrap().expect("it was written");
    tx.rollback().await.unwrap();
    loaded
}

async fn what_was_written_is_read_again(fresh: Fresh) {
    let tables = open(&fresh).await;
    let work = created(1, None);
    assert!(write(&tables, &work).await.unwrap());
    let loaded = read(&tables, work.run.id).await;
    assert_eq!((&loaded.run, loaded.rev, &loaded.tasks), (&*work.run, 1, &work.tasks));

    let mut next = Work::new(Arc::new(loaded.run), loaded.rev, Arc::new(loaded.tasks));
    let mut ids = meta_runtime::new_id;
    let mut given = Given { now: Timestamp(20), ids: &mut ids, lease_ms: 1_000 };
    let prepare = next.tasks[0].id;
    let task = next.claim(prepare, "r", &mut given).unwrap().expect("it is ready");
    let input = Input::Prepared { commit: "c0".into(), files: 1, bot_commits: 0 };
    let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
    next.advance(input, finish, &mut given).unwrap();
    assert!(write(&tables, &next).await.unwrap());
    let loaded = read(&tables, work.run.id).await;
    assert_eq!((&loaded.run, loaded.rev, &loaded.tasks), (&*next.run, 2, &next.tasks));
    assert_eq!(tables.rebuilt(work.run.id, next.run.seq).await.unwrap(), *next.run);
    let verified = tables.verify(work.run.id).await.unwrap();
    assert_eq!(verified, Verified { events: next.run.seq, problems: Vec::new() });
    let whole = tables.run(work.run.id).await.unwrap();
    assert_eq!(whole.as_ref(), Some(&*next.run));
    let body = tables.artifact(work.run.id, "patch").await.unwrap();
    assert_eq!(body.as_deref(), Some(&b"+ a line"[..]));
    let (ids, total) = tables
        .runs(work.run.tenant, &ListRuns { limit: 5, created_after: -1, ..ListRuns::default() })
        .await
        .unwrap();
    assert_eq!((ids, total), (vec![work.run.id], 1));
}

async fn a_stale_revision_stores_nothing(fresh: Fresh) {
    let tables = open(&fresh).await;
    let first = created(1, None);
    assert!(write(&tables, &first).await.unwrap());
    let before = read(&tables, first.run.id).await;
    let mut late = Work::new(Arc::new(before.run.clone()), 0, Arc::new(before.tasks.clone()));
    let mut ids = meta_runtime::new_id;
    let mut given = Given { now: Timestamp(20), ids: &mut ids, lease_ms: 1_000 };
    late.advance(Input::Cancel { actor: "ann".into() }, Finish::default(), &mut given).unwrap();
    late.rev = 7;
    assert!(!write(&tables, &late).await.unwrap());
    assert!(!write_at_once(&tables, &late).await.unwrap());
    let verified = tables.verify(first.run.id).await.unwrap();
    assert_eq!(verified, Verified { events: before.run.seq, problems: Vec::new() });
    let after = read(&tables, first.run.id).await;
    assert_eq!((after.run, after.rev, after.tasks), (before.run, before.rev, before.tasks));
}

async fn one_call_stores_as_much_as_a_transaction(fresh: Fresh) {
    let tables = open(&fresh).await;
    for n in 1..4 {
        let work = created(n, None);
        assert!(write_at_once(&tables, &work).await.unwrap());
        assert!(!write_at_once(&tables, &work).await.unwrap(), "it is there already");
        let loaded = read(&tables, work.run.id).await;
        assert_eq!((&loaded.run, loaded.rev, &loaded.tasks), (&*work.run, 1, &work.tasks));
    }
    let asked = created(8, Some("one"));
    assert!(write_at_once(&tables, &asked).await.unwrap());
    let again = created(9, Some("one"));
    assert!(!write_at_once(&tables, &again).await.unwrap(), "of one request there is one run");
}

async fn the_event_log_is_append_only(fresh: Fresh) {
    let tables = open(&fresh).await;
    assert!(write(&tables, &created(1, None)).await.unwrap());
    for sql in ["UPDATE events SET step = 'x'", "DELETE FROM events"] {
        assert!(execute(&tables, sql).await.is_err(), "{sql}");
    }
}

/// A statement of a test's own, that the store would not make.
async fn execute(tables: &Tables, sql: &'static str) -> Result<u64, Error> {
    let mut tx = tables.begin().await?;
    Ok(meta_storage::on!(tx, |db| sqlx::query(sql).execute(db).await?.rows_affected()))
}

async fn a_run_that_ended_long_ago_is_removed_whole(fresh: Fresh) {
    let tables = open(&fresh).await;
    let (old, young) = (created(1, None), created(2, None));
    for (work, at) in [(&old, 1_000), (&young, 5_000)] {
        assert!(write(&tables, work).await.unwrap());
        let loaded = read(&tables, work.run.id).await;
        let mut next = Work::new(Arc::new(loaded.run), loaded.rev, Arc::new(loaded.tasks));
        let mut ids = meta_runtime::new_id;
        let mut given = Given { now: Timestamp(at), ids: &mut ids, lease_ms: 1_000 };
        let cancel = Input::Cancel { actor: "ann".into() };
        next.advance(cancel, Finish::default(), &mut given).unwrap();
        assert!(write(&tables, &next).await.unwrap());
    }
    let before = Timestamp(2_000);
    assert_eq!(tables.ended_before(before, 9).await.unwrap(), [old.run.id]);
    let whole = tables.run(old.run.id).await.unwrap().unwrap();
    assert!(tables.prune(&whole, before).await.unwrap());
    assert!(!tables.prune(&whole, before).await.unwrap());
    assert_eq!(tables.run(old.run.id).await.unwrap(), None);
    assert!(tables.events(old.run.id, 0, 9).await.unwrap().is_empty());
    assert_eq!(tables.artifact(old.run.id, "patch").await.unwrap(), None);
    assert!(tables.verify(young.run.id).await.unwrap().problems.is_empty());
}

async fn a_request_makes_one_run(fresh: Fresh) {
    let tables = open(&fresh).await;
    assert!(write(&tables, &created(1, Some("r"))).await.unwrap());
    assert!(!write(&tables, &created(2, Some("r"))).await.unwrap());
    let mut tx = tables.begin().await.unwrap();
    let first = of_request(&mut tx, run(1).tenant, "r").await.unwrap();
    assert_eq!(first, Some(run(1).id));
    assert_eq!(of_request(&mut tx, run(1).tenant, "s").await.unwrap(), None);
}

async fn tenants_are_read_page_by_page_in_the_order_of_their_ids(fresh: Fresh) {
    let tables = open(&fresh).await;
    let id = |n: u128| TenantId(Uuid::from_u128(n));
    for n in [3, 1, 2] {
        let name = format!("tenant {n}");
        assert!(tables.insert_tenant(id(n), &name, Timestamp(7)).await.unwrap());
    }
    let first = tables.tenants(None, 2).await.unwrap();
    let expected = TenantRow { id: id(1), name: "tenant 1".into(), created_at: Timestamp(7) };
    assert_eq!((first.len(), &first[0], first[1].id), (2, &expected, id(2)));
    let rest = tables.tenants(Some(id(2)), 2).await.unwrap();
    assert_eq!(rest.iter().map(|t| t.id).collect::<Vec<_>>(), [id(3)]);
    assert_eq!(tables.tenants(Some(id(3)), 2).await.unwrap(), []);
}

fn loose(n: u128, tenant: u128, labels: &str, due: i64) -> Task {
    let (id, tenant) = (Uuid::from_u128(n).into(), TenantId(Uuid::from_u128(tenant)));
    Task { labels: labels.into(), ..Task::new(id, tenant, TaskKind::Inspect, Timestamp(due)) }
}

async fn the_queue_gives_each_tenant_a_part(fresh: Fresh) {
    let tables = open(&fresh).await;
    for n in 0..20 {
        tables.insert_loose(&loose(n, 1, "", 1)).await.unwrap();
    }
    tables.insert_loose(&loose(30, 2, "", 9)).await.unwrap();
    tables.insert_loose(&loose(31, 1, "gpu", 1)).await.unwrap();
    tables.insert_loose(&loose(32, 3, "a,b", 1)).await.unwrap();
    let found = tables.candidates(false, None, 5).await.unwrap();
    let mut ids: Vec<u128> = found.iter().map(|c| c.task.0.as_u128()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4, 30, 31, 32]);
    assert!(tables.candidates(true, None, 5).await.unwrap().is_empty());
}

async fn leases_are_renewed_and_lost(fresh: Fresh) {
    let tables = open(&fresh).await;
    let task = loose(1, 1, "", 1);
    tables.insert_loose(&task).await.unwrap();
    let leased = tables.lease_loose(task.id, "r", Timestamp(50)).await.unwrap().unwrap();
    assert_eq!((leased.state, leased.epoch, leased.tries), (TaskState::Leased, 1, 1));
    assert_eq!(tables.lease_loose(task.id, "s", Timestamp(50)).await.unwrap(), None);
    assert_eq!(tables.held().await.unwrap().get(&task.tenant), Some(&1));
    let lost = tables.renew(&[(task.id, 1), (task.id, 2)], Timestamp(90)).await.unwrap();
    assert_eq!(lost, [(task.id, 2)], "another epoch's lease is lost");
    assert!(tables.release_overdue_loose(Timestamp(89)).await.unwrap().is_empty());
    assert_eq!(tables.release_overdue_loose(Timestamp(91)).await.unwrap(), ["inspect"]);
    assert_eq!(tables.renew(&[(task.id, 1)], Timestamp(95)).await.unwrap(), [(task.id, 1)]);
    tables.forget_loose(task.id, 1).await.unwrap();
    assert_eq!(tables.task(task.id).await.unwrap(), None);
}

const TENANT: TenantId = TenantId(Uuid::from_u128(7));

fn quota(times: u32) -> (Action, Quota) {
    (Action::Specs, Quota::per_hour(times).unwrap())
}

async fn a_quota_gives_each_time_once_and_a_clock_set_back_gives_nothing(fresh: Fresh) {
    let tables = open(&fresh).await;
    let now = Timestamp(1_000_000_000_000);
    let take = async |at: Timestamp| {
        matches!(tables.take(TENANT, quota(2), at).await.unwrap(), Taken::Yes(_))
    };
    assert!(take(now).await && take(now).await);
    for _ in 0..3 {
        assert!(!take(now).await, "a refusal costs nothing and gives nothing");
    }
    assert!(take(now.plus_ms(PERIOD_MS / 2)).await, "half an hour gives one of two back");
    assert!(!take(now.plus_ms(-24 * PERIOD_MS)).await, "the clock was set back a day");
    assert!(!take(now.plus_ms(-24 * PERIOD_MS + 1)).await);
    assert!(take(now.plus_ms(-23 * PERIOD_MS)).await, "it refills by the clock as it is now");
    let other = TenantId(Uuid::from_u128(8));
    assert!(matches!(tables.take(other, quota(2), now).await.unwrap(), Taken::Yes(_)));
    assert_eq!(tables.prune_quotas(now.plus_ms(9 * PERIOD_MS)).await.unwrap(), 2);
}

async fn of_two_that_take_the_last_one_at_once_one_gets_it(fresh: Fresh) {
    let tables = open(&fresh).await;
    let now = Timestamp(1_000_000_000_000);
    for _ in 0..19 {
        assert!(matches!(tables.take(TENANT, quota(20), now).await.unwrap(), Taken::Yes(_)));
    }
    let asked = (0..20).map(|_| {
        let tables = tables.clone();
        tokio::spawn(async move { tables.take(TENANT, quota(20), now).await.unwrap() })
    });
    let mut passed = 0;
    for one in asked.collect::<Vec<_>>() {
        passed += u32::from(matches!(one.await.unwrap(), Taken::Yes(_)));
    }
    assert_eq!(passed, 1);
}

async fn a_key_is_held_answered_given_back_and_forgotten(fresh: Fresh) {
    let tables = open(&fresh).await;
    let now = Timestamp(1_000_000_000_000);
    let slot = Slot { tenant: TENANT, hash: &[1; 32] };
    let begin = async |request: u8, at: Timestamp| {
        tables.begin_answer(slot, &[request; 32], (at, 1_000)).await.unwrap()
    };
    let KeyState::Taken(first) = begin(1, now).await else { panic!("it was free") };
    assert_eq!(begin(1, now).await, KeyState::Working);
    assert_eq!(begin(2, now).await, KeyState::OtherRequest);
    let later = now.plus_ms(1_001);
    let KeyState::Taken(second) = begin(1, later).await else { panic!("its holder is dead") };
    let kept = KeptAnswer {
        status: 201,
        location: "/specs/1".into(),
        body: Some(b"{}".to_vec()),
        sealed: false,
    };
    assert!(!tables.finish_answer(slot, first, &kept).await.unwrap(), "it was taken over");
    assert!(tables.finish_answer(slot, second, &kept).await.unwrap());
    assert_eq!(begin(1, later).await, KeyState::Answered(kept));
    assert_eq!(begin(2, later).await, KeyState::OtherRequest);
    let foreign = Slot { tenant: TenantId(Uuid::from_u128(8)), ..slot };
    let got = tables.begin_answer(foreign, &[2; 32], (later, 1_000)).await.unwrap();
    let KeyState::Taken(theirs) = got else { panic!("another tenant's key: {got:?}") };
    tables.release_answer(foreign, theirs).await.unwrap();
    let got = tables.begin_answer(foreign, &[3; 32], (later, 1_000)).await.unwrap();
    assert!(matches!(got, KeyState::Taken(_)), "{got:?}");
    let tomorrow = later.plus_ms(ANSWER_MS);
    assert!(matches!(begin(2, tomorrow).await, KeyState::Taken(_)), "a day is over");
    assert_eq!(tables.prune_answers(tomorrow.plus_ms(ANSWER_MS)).await.unwrap(), 2);
}
