//! One database, one engine, a runner and the orchestrator's own worker, and a client that asks
//! again when it gets no answer.

use super::scenarios::{Client, Scenario};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::gate::GateStatus;
use meta_domain::id::RunId;
use meta_storage::testing::Fresh;
use orchestrator::core::queue::Task;
use orchestrator::core::ready::Offer;
use orchestrator::core::run::Run;
use orchestrator::core::transition::{Input, TaskKind};
use orchestrator::core::workspace::Workspaces;
use orchestrator::logs::Logs;
use orchestrator::shell::{Engine, Finish, Leased, Options};
use orchestrator::store::{ListRuns, Tables, When};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long a lease holds, in milliseconds: short, since a lost answer costs one.
const LEASE_MS: i64 = 300;
/// Wait before a caller without an answer asks again.
pub const AGAIN: Duration = Duration::from_millis(10);
/// No scenario takes longer, whatever fails.
pub const LIMIT: Duration = Duration::from_mins(1);

/// See the module.
pub struct Stage {
    fresh: Fresh,
    tables: Tables,
    folder: tempfile::TempDir,
}

impl Stage {
    /// With an empty database.
    pub async fn set(fresh: Fresh) -> Self {
        let tables = Tables::open(fresh.location()).await.expect("the database can be made");
        let folder = tempfile::tempdir().expect("there is room");
        Self { fresh, tables, folder }
    }

    /// Plays a scenario while one call fails; answers whether it came to that call.
    pub async fn play(self, scenario: &'static Scenario, fault: Option<(u64, When)>) -> bool {
        let faults = self.tables.faults.clone();
        if let Some((nth, when)) = fault {
            faults.fail(nth, when);
        }
        let what = format!("{} {fault:?} on {:?}", scenario.name, self.fresh.location());
        let engine = self.engine().await;
        let (stop, mut workers) = (CancellationToken::new(), tokio::task::JoinSet::new());
        for internal in [false, true] {
            workers.spawn(work(engine.clone(), scenario, internal, stop.clone()));
        }
        let played = tokio::time::timeout(LIMIT, client(&engine, scenario, "request")).await;
        let Ok(run) = played else { panic!("{what}: it does not end: {}", self.picture().await) };
        let failed = fault.is_some_and(|(_, when)| faults.has_failed(when));
        faults.stop();
        self.look(&engine, scenario, run, &what).await;
        stop.cancel();
        workers.join_all().await;
        drop(engine);
        self.tables.close().await;
        failed
    }

    async fn engine(&self) -> Engine {
        engine_on(self.tables.clone(), self.folder.path()).await
    }

    async fn picture(&self) -> String {
        self.tables.faults.stop();
        let held = self.tables.leased_runs(None).await;
        let ready = self.tables.candidates(false, None, 9).await;
        format!("held {held:?}, ready {ready:?}")
    }

    /// What must hold, whatever failed.
    async fn look(&self, engine: &Engine, scenario: &Scenario, run: RunId, what: &str) {
        let tables = &self.tables;
        let began = Instant::now();
        while self.tasks_left().await {
            assert!(began.elapsed() < LIMIT, "{what}: a task is left: {}", self.picture().await);
            sleep(AGAIN).await;
        }
        let list = ListRuns { created_after: -1, limit: 9, ..ListRuns::default() };
        let (runs, _) =
            tables.runs(orchestrator::DEFAULT_TENANT, &list).await.expect("the store answers");
        assert_eq!(runs, [run], "{what}: a request makes one run");
        let stored = tables.run(run).await.expect("the store answers").expect("it is there");
        assert_eq!(stored.status, scenario.ends, "{what}: {}", stored.reason);
        assert_eq!(
            tables.rebuilt(run, u64::MAX).await.expect("the store answers"),
            stored,
            "{what}: the log says the same"
        );
        assert_eq!(
            *engine.load(run).await.expect("the store answers"),
            stored,
            "{what}: so does the memory"
        );
        let events = tables.events(run, 0, 10_000).await.expect("the store answers");
        let numbers: Vec<u64> = events.iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (1..=stored.seq).collect::<Vec<_>>(), "{what}: it is dense");
        assert!(stored.gates.iter().all(|g| g.status != GateStatus::Pending), "{what}");
        let applied = stored.attempts.iter().filter(|a| !a.commit.is_empty()).count();
        assert_eq!(applied, usize::from(scenario.name == "fix"), "{what}: one commit");
        for status in [GateStatus::Pending, GateStatus::Approved] {
            let gates =
                tables.runs_with_gates(stored.tenant, status).await.expect("the store answers");
            let of_run = stored.gates.iter().filter(|g| g.status == status).count();
            assert_eq!(gates.len(), of_run, "{what}: the index of gates says the same");
        }
    }

    async fn tasks_left(&self) -> bool {
        let (tables, at_most) = (&self.tables, 9);
        let ready = tables.candidates(false, None, at_most).await.expect("the store answers");
        let own = tables.candidates(true, None, at_most).await.expect("the store answers");
        let held = tables.leased_runs(None).await.expect("the store answers");
        !ready.is_empty() || !own.is_empty() || !held.is_empty()
    }
}

/// A process that does not come up is started again.
pub async fn engine_on(tables: Tables, folder: &Path) -> Engine {
    let options = Options {
        lease_ms: LEASE_MS,
        tenant_tasks_max: 4,
        only: None,
        own_leases: false,
        workspaces: Workspaces::new(24, false),
    };
    loop {
        let logs = Logs::new(&folder.join("logs"));
        match Engine::start(tables.clone(), logs, options).await {
            Ok((engine, _writing)) => return engine,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Leases tasks and carries them out until stopped.
pub async fn work(
    engine: Engine,
    scenario: &'static Scenario,
    internal: bool,
    stop: CancellationToken,
) {
    let owner = if internal { "orchestrator" } else { "runner" }.to_owned();
    let offer = Offer { owner, internal, only: None, labels: Vec::new(), others: false };
    loop {
        let Ok(answer) = engine.poll(offer.clone(), 4).await else { return };
        let leased = tokio::select! {
            () = stop.cancelled() => return,
            leased = answer => leased.unwrap_or_default(),
        };
        for Leased { task, run } in leased {
            assert!(engine.clock.now() >= task.due, "{task:?} is handed out before its time");
            // A fault of the store is no reason to lose a result: it is sent until it is answered.
            while let Err(fault) = carry_out(&engine, scenario, &task, run.as_deref()).await {
                if !fault.kind.is_transient() {
                    break;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(AGAIN) => {}
                }
            }
        }
    }
}

async fn carry_out(
    engine: &Engine,
    scenario: &Scenario,
    task: &Task,
    then: Option<&Run>,
) -> Result<(), Fault> {
    let Some(id) = task.run else {
        return engine.forget(task.id, task.epoch, None).await;
    };
    let Some(leased) = engine.leased(task.id, task.epoch).await? else {
        // It was canceled: its workspace is free again.
        return match engine.task(task.id).await? {
            Some(now) if now.epoch == task.epoch => {
                engine.forget(task.id, task.epoch, task.run).await
            }
            _ => Ok(()),
        };
    };
    let made = match (task.kind, then) {
        (TaskKind::Step, Some(run)) => scenario.made(task.kind, &leased.step, run),
        _ => scenario.made(task.kind, &leased.step, &*engine.load(id).await?),
    };
    let done = match made {
        Ok(input) => {
            let finish = Finish { task: Some((task.id, task.epoch)), ..Finish::default() };
            engine.advance(id, input, finish).await.map(drop)
        }
        Err(fault) => Err(fault),
    };
    match done {
        Err(fault) if fault.kind == ErrorKind::Conflict => {
            engine.release(task, engine.clock.now(), false).await
        }
        Err(fault) if fault.kind == ErrorKind::FailedPrecondition => {
            engine.forget(task.id, task.epoch, task.run).await
        }
        other => other,
    }
}

/// Starts a run, does its part, and waits for the end.
pub async fn client(engine: &Engine, scenario: &Scenario, request: &str) -> RunId {
    let request = Some(request.to_owned());
    let run = insist(|| engine.create(scenario.run(), request.clone())).await.expect("it is valid");
    if scenario.client == Client::RepeatsRequest {
        let again = insist(|| engine.create(scenario.run(), request.clone())).await;
        assert_eq!(again.map(|r| r.id), Ok(run.id), "a request makes one run");
    }
    let id = run.id;
    loop {
        let run = insist(|| engine.load(id)).await.expect("it is there");
        if run.status.is_terminal() {
            return id;
        }
        if let Some(input) = wanted(scenario, &run) {
            let answer = insist(|| engine.advance(id, input.clone(), Finish::default())).await;
            let known = ["GATE_ALREADY_DECIDED", "RUN_ALREADY_ENDED"];
            assert!(answer.as_ref().err().is_none_or(|f| known.contains(&f.reason)), "{answer:?}");
        }
        let mut changes = engine.watch(id);
        Engine::wait(&mut changes, AGAIN).await;
    }
}

fn wanted(scenario: &Scenario, run: &Run) -> Option<Input> {
    match scenario.client {
        Client::Approves => {
            let gate = run.gates.iter().find(|g| g.status == GateStatus::Pending)?;
            Some(Input::GateDecided {
                gate: gate.id,
                approve: true,
                actor: "bob".into(),
                notes: String::new(),
                seen: (String::new(), 0),
            })
        }
        Client::Cancels if run.steps.iter().any(|s| s.executions > 0) => {
            Some(Input::Cancel { actor: "bob".into() })
        }
        _ => None,
    }
}

/// Asks until there is an answer.
async fn insist<F, A>(ask: F) -> Result<Arc<Run>, Fault>
where
    F: Fn() -> A,
    A: Future<Output = Result<Arc<Run>, Fault>>,
{
    loop {
        match ask().await {
            Err(f) if f.kind.is_transient() || f.kind == ErrorKind::Internal => sleep(AGAIN).await,
            answer => return answer,
        }
    }
}
