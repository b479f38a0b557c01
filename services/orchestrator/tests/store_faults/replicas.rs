//! Two engines on one database: each knows runs as of the revision that it stored or read last, and
//! answers by what is stored all the same.

use super::scenarios::{ALL, Scenario};
use super::stage::engine_on;
use meta_domain::fault::Fault;
use meta_storage::testing::Fresh;
use orchestrator::core::queue::Task;
use orchestrator::core::ready::Offer;
use orchestrator::core::run::Run;
use orchestrator::core::transition::{Input, TaskKind};
use orchestrator::shell::{Engine, Finish, Leased};
use orchestrator::store::Tables;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A task is leased within it.
const LIMIT: Duration = Duration::from_secs(20);

/// Two engines, and one run that the first has in memory.
struct Pair {
    _fresh: Fresh,
    _folder: tempfile::TempDir,
    first: Engine,
    second: Engine,
    run: Arc<Run>,
}

impl Pair {
    async fn start(scenario: &Scenario) -> Self {
        let fresh = Fresh::postgres().await;
        let folder = tempfile::tempdir().expect("there is room");
        let mut engines = Vec::new();
        for _ in 0..2 {
            let tables = Tables::open(fresh.location()).await.expect("the database can be made");
            engines.push(engine_on(tables, folder.path()).await);
        }
        let (second, first) = (engines.remove(1), engines.remove(0));
        let run = first.create(scenario.run(), None).await.expect("it is valid");
        Self { _fresh: fresh, _folder: folder, first, second, run }
    }
}

/// Leases the next task of runners.
async fn lease(engine: &Engine) -> Task {
    let owner = "somebody".to_owned();
    let offer = Offer { owner, internal: false, only: None, labels: Vec::new(), others: false };
    let answer = engine.poll(offer, 1).await.expect("it runs");
    let leased = timeout(LIMIT, answer).await.expect("there is one").expect("it runs");
    let Leased { task, .. } = &leased[0];
    task.clone()
}

async fn complete(engine: &Engine, task: &Task, input: Input) -> Result<Arc<Run>, Fault> {
    let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
    engine.advance(task.run.expect("it is of a run"), input, finish).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_a_lease_of_the_other_process_is_taken() {
    let scenario = ALL.iter().find(|s| s.name == "retry").expect("there is one");
    let pair = Pair::start(scenario).await;
    let made = |kind, step: &str| scenario.made(kind, step, &pair.run).expect("it is known");

    let prepare = lease(&pair.second).await;
    let input = made(TaskKind::Prepare, "");
    let run = complete(&pair.first, &prepare, input).await.expect("its lease holds");
    assert_eq!(run.base, "first");

    let step = lease(&pair.second).await;
    let name = &run.steps[0].planned.name;
    let input = made(TaskKind::Step, name);
    let run = complete(&pair.first, &step, input).await.expect("its lease holds");
    assert_eq!(run.steps[0].executions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_of_a_lease_that_the_other_process_gave_up_is_refused() {
    let scenario = ALL.iter().find(|s| s.name == "retry").expect("there is one");
    let pair = Pair::start(scenario).await;
    let prepare = lease(&pair.first).await;
    let now = pair.second.clock.now();
    pair.second.release(&prepare, now, false).await.expect("its lease holds");

    let input = scenario.made(TaskKind::Prepare, "", &pair.run).expect("it is known");
    let refused = complete(&pair.first, &prepare, input).await.expect_err("it is not leased");
    assert_eq!(refused.reason, "LEASE_LOST");
}
