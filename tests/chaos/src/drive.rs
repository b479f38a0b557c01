//! The clients: they make the runs of a recipe, watch them, decide their gates, cancel some, and
//! note everything that they ask and are told.

use crate::client::{Client, PAUSE};
use crate::records::{Answer, Ask, Records, Sighting, digest};
use crate::workload::{Kinds, Order, Recipe};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

/// How long a client goes on asking for the same thing.
const PERSIST: Duration = Duration::from_mins(2);
/// How often somebody looks whether reads are served.
const PROBE: Duration = Duration::from_millis(100);
/// At every so many of those looks a run is asked for.
const SUBMIT_EVERY: u128 = 4;

/// The clients of a test.
pub struct Driver {
    /// One for each tenant.
    pub clients: Vec<Client>,
    /// What they note.
    pub records: Arc<Records>,
    /// What they do.
    pub recipe: Recipe,
    /// How many decide each gate at once.
    pub deciders: usize,
    /// Runs that were acknowledged, with their tenants' numbers.
    runs: Mutex<Vec<(usize, String)>>,
    complete: Mutex<Vec<(u64, String)>>,
    orders: AtomicU64,
    watchers: AtomicU64,
    /// How many gates were reached: who wants to disturb a decision waits for the next.
    gates: watch::Sender<u64>,
}

impl Driver {
    /// Clients that have done nothing yet.
    pub fn new(
        clients: Vec<Client>,
        records: Arc<Records>,
        recipe: Recipe,
        deciders: usize,
    ) -> Self {
        Self {
            clients,
            records,
            recipe,
            deciders,
            runs: Mutex::default(),
            complete: Mutex::default(),
            orders: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
            gates: watch::Sender::new(0),
        }
    }

    /// Acknowledged runs so far.
    pub fn runs(&self) -> Vec<(usize, String)> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watchers whose stream ended as complete.
    pub fn complete_streams(&self) -> Vec<(u64, String)> {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how many gates were reached.
    pub fn gates(&self) -> watch::Receiver<u64> {
        self.gates.subscribe()
    }

    /// Makes runs, so many at a time, as long as it is wanted; answers what went wrong with the
    /// clients themselves. Runs that do not come to rest within `rest` after that are left.
    pub async fn load(
        self: &Arc<Self>,
        at_a_time: usize,
        mut wanted: watch::Receiver<bool>,
        rest: Duration,
    ) -> Vec<String> {
        let mut tasks = JoinSet::new();
        for _ in 0..at_a_time {
            let (driver, wanted) = (Arc::clone(self), wanted.clone());
            tasks.spawn(async move {
                while *wanted.borrow() {
                    let number = driver.orders.fetch_add(1, Ordering::Relaxed);
                    let order = driver.recipe.order(number);
                    driver.perform(&order).await.with_context(|| order.title.clone())?;
                }
                Ok::<_, anyhow::Error>(())
            });
        }
        let mut wrong = Vec::new();
        // the sender is gone when the faults are over, however they ended
        while *wanted.borrow_and_update() && wanted.changed().await.is_ok() {}
        let until = Instant::now() + rest;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, tasks.join_next()).await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => wrong.push(format!("{error:#}")),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        wrong
    }

    /// Reads a run again and again, to see whether reads are served; asks for runs as well where
    /// that is wanted, once each.
    pub async fn probe(&self, wanted: watch::Receiver<bool>, submits: bool) -> Result<()> {
        let client = &self.clients[0];
        let order = Recipe { kind: Kinds::Plain, ..self.recipe.clone() }.order(u64::MAX);
        let spec = client.planned("probe", &order.steps).await?;
        for number in 0_u128.. {
            if !*wanted.borrow() {
                break;
            }
            if submits && number.is_multiple_of(SUBMIT_EVERY) {
                let key = Uuid::from_u128(u128::from(self.recipe.seed) << 64 | number).to_string();
                let sent = meta_runtime::now();
                let answer = client.create_run(&spec, &key).await.map(|run| vec![run]);
                if let Answer::Done(runs) =
                    self.note(client, sent, Ask::CreateRun { key }, answer)?
                {
                    let runs = runs.into_iter().map(|run| (0, run));
                    self.runs.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
                }
            }
            let first = self.runs().first().cloned();
            if let Some((tenant, run)) = first {
                let client = &self.clients[tenant];
                let sent = meta_runtime::now();
                let answer = client.read(&run).await.map(|run| vec![run.id]);
                self.note(client, sent, Ask::Read { run }, answer)?;
            }
            tokio::time::sleep(PROBE).await;
        }
        Ok(())
    }

    /// Waits until every acknowledged run is at rest, at most so long.
    pub async fn settle(&self, limit: Duration) {
        let until = Instant::now() + limit;
        for (tenant, run) in self.runs() {
            while Instant::now() < until {
                let busy = self.clients[tenant].read(&run).await.map_or(true, |r| {
                    use meta_proto::orchestrator::RunStatus::{Pending, Running};
                    [Pending, Running].contains(&r.status())
                });
                if !busy {
                    break;
                }
                self.clients[tenant].turn();
                tokio::time::sleep(PROBE).await;
            }
        }
    }

    /// Every tenant lists its runs.
    pub async fn list(&self) -> Result<()> {
        for client in &self.clients {
            let sent = meta_runtime::now();
            let answer = client.list().await;
            self.note(client, sent, Ask::List, answer)?;
        }
        Ok(())
    }

    async fn perform(self: &Arc<Self>, order: &Order) -> Result<()> {
        let client = &self.clients[order.tenant];
        let spec = client.planned(&order.title, &order.steps).await?;
        let run = self.create(client, &spec, &order.key).await?;
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push((order.tenant, run.clone()));
        if order.ask_twice {
            self.create(client, &spec, &order.key).await?;
            self.read_foreign(order.tenant, &run).await?;
        }
        let mut side = JoinSet::new();
        if let Some(after) = order.cancel_after {
            let (driver, client, run) = (Arc::clone(self), client.clone(), run.clone());
            side.spawn(async move {
                tokio::time::sleep(after).await;
                let ask = Ask::Cancel { run: run.clone() };
                let cancel = || async { client.cancel(&run).await.map(|()| vec![run.clone()]) };
                driver.until_told(&client, ask, cancel).await.map(drop)
            });
        }
        self.watch(client, &run, order).await?;
        while let Some(ended) = side.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn create(&self, client: &Client, spec: &str, key: &str) -> Result<String> {
        let ask = Ask::CreateRun { key: key.to_owned() };
        let create = || async { client.create_run(spec, key).await.map(|id| vec![id]) };
        match self.until_told(client, ask, create).await? {
            Answer::Done(ids) => ids.into_iter().next().context("a run has an id"),
            other => bail!("a run was refused: {other:?}"),
        }
    }

    /// Asks again until the answer is certain.
    async fn until_told<F>(&self, client: &Client, ask: Ask, one: impl Fn() -> F) -> Result<Answer>
    where
        F: Future<Output = Result<Vec<String>, Status>>,
    {
        let until = Instant::now() + PERSIST;
        loop {
            let sent = meta_runtime::now();
            let answer = self.note(client, sent, ask.clone(), one().await)?;
            let wait = match &answer {
                Answer::Unknown { .. } => true,
                // a process whose clock is off takes nobody's signature
                Answer::Refused { code, .. } => {
                    code == "ResourceExhausted" || code == "Unauthenticated"
                }
                Answer::Done(_) => false,
            };
            if !wait {
                return Ok(answer);
            }
            if Instant::now() > until {
                bail!("no answer in {PERSIST:?} to {ask:?}: {answer:?}");
            }
            client.turn();
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn note(
        &self,
        client: &Client,
        sent: meta_domain::time::Timestamp,
        ask: Ask,
        answer: Result<Vec<String>, Status>,
    ) -> Result<Answer> {
        let answer = answer.map_or_else(|status| Answer::of(&status), Answer::Done);
        self.records.call(&client.tenant(), sent, ask, answer.clone())?;
        Ok(answer)
    }

    async fn read_foreign(&self, tenant: usize, run: &str) -> Result<()> {
        let other = &self.clients[(tenant + 1) % self.clients.len()];
        let sent = meta_runtime::now();
        let answer = other.read(run).await.map(|run| vec![run.id]);
        self.note(other, sent, Ask::ReadForeign { run: run.to_owned() }, answer)?;
        Ok(())
    }

    /// Watches a run to its end, coming back with the last number whenever the stream breaks.
    async fn watch(self: &Arc<Self>, client: &Client, run: &str, order: &Order) -> Result<()> {
        let watcher = self.watchers.fetch_add(1, Ordering::Relaxed);
        let mut last = 0;
        let mut decisions = JoinSet::new();
        loop {
            let Ok(mut stream) = client.follow(run, last).await else {
                client.turn();
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let broke = loop {
                let event = match stream.message().await {
                    Ok(Some(answer)) => answer.event.context("an answer has an event")?,
                    Ok(None) => break false,
                    Err(_) => break true,
                };
                last = event.seq;
                self.records.sighting(Sighting {
                    watcher,
                    run: run.to_owned(),
                    seq: event.seq,
                    digest: digest(&event.r#type, &event.step, &event.data_json),
                })?;
                let asks = event.r#type == "approval.requested";
                // nobody waits for a gate that the work did not plan: it is rejected
                if asks || event.r#type == "autofix.escalated" {
                    let data: Value = serde_json::from_str(&event.data_json)?;
                    let gate = data["gate"]["id"].as_str().context("a gate has an id")?;
                    self.decide(&mut decisions, client, run, gate, asks && order.approve);
                }
            };
            if !broke {
                break;
            }
            client.turn();
            tokio::time::sleep(PAUSE).await;
        }
        let ended = (watcher, run.to_owned());
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).push(ended);
        while let Some(decided) = decisions.join_next().await {
            decided??;
        }
        Ok(())
    }

    /// Lets the deciders loose on a gate; where there are several, they want different things.
    fn decide(
        self: &Arc<Self>,
        tasks: &mut JoinSet<Result<()>>,
        client: &Client,
        run: &str,
        gate: &str,
        approve: bool,
    ) {
        self.gates.send_modify(|n| *n += 1);
        for number in 0..self.deciders {
            let approve = approve ^ (number % 2 == 1);
            let client = client.named(&format!("user:decider-{number}"));
            let (driver, run, gate) = (Arc::clone(self), run.to_owned(), gate.to_owned());
            tasks.spawn(async move {
                let actor = client.actor().to_owned();
                let ask = Ask::Decide { run, gate: gate.clone(), approve, actor };
                let decide = || async { client.decide(&gate, approve).await.map(|by| vec![by]) };
                driver.until_told(&client, ask, decide).await.map(drop)
            });
        }
    }
}
