//! Every call of the real tables fails once: scenarios run through the engine while the first, the
//! second, the third call is lost, and so on until a scenario needs no more calls. After each, the
//! run has ended as it should, its log is dense and says what the tables say, and no task is left.

mod crowd;
mod replicas;
mod scenarios;
mod stage;

use meta_storage::testing::Fresh;
use orchestrator::store::When;
use scenarios::{ALL, Scenario};
use stage::Stage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Cases that run at once: most of their time they wait for a lease to run out.
const AT_ONCE: u64 = 12;
/// No scenario needs so many calls: its end was missed.
const CALLS_MAX: u64 = 400;

/// A place for a database, on one of the engines.
#[derive(Debug, Clone, Copy)]
enum On {
    Sqlite,
    Postgres,
}

impl On {
    async fn fresh(self) -> Fresh {
        match self {
            Self::Sqlite => Fresh::sqlite(),
            Self::Postgres => Fresh::postgres().await,
        }
    }
}

/// Lets every call fail once, and says how many there were.
async fn every_call_fails_once(on: On, scenario: &'static Scenario, when: When) {
    let next = Arc::new(AtomicU64::new(1));
    let ended = Arc::new(AtomicBool::new(false));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, ended) = (Arc::clone(&next), Arc::clone(&ended));
        lanes.spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                assert!(nth < CALLS_MAX, "{}: {when:?} {nth}: no end of calls", scenario.name);
                let stage = Stage::set(on.fresh().await).await;
                if !stage.play(scenario, Some((nth, when))).await {
                    ended.store(true, Ordering::Relaxed);
                }
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        if let Err(panic) = lane {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    println!("{}: {when:?}: {} calls", scenario.name, next.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_sqlite_fails_once_before_it_is_done() {
    for scenario in &ALL {
        every_call_fails_once(On::Sqlite, scenario, When::Before).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_commit_of_sqlite_loses_its_answer_once() {
    for scenario in &ALL {
        every_call_fails_once(On::Sqlite, scenario, When::AfterCommit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_of_sqlite_is_refused_once() {
    for scenario in &ALL {
        every_call_fails_once(On::Sqlite, scenario, When::Statement).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_commit_of_postgres_loses_its_answer_once() {
    for scenario in ALL.iter().filter(|s| s.name == "fix" || s.name == "gate") {
        every_call_fails_once(On::Postgres, scenario, When::AfterCommit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_postgres_fails_once_before_it_is_done() {
    for scenario in ALL.iter().filter(|s| s.name == "gate") {
        every_call_fails_once(On::Postgres, scenario, When::Before).await;
    }
}
