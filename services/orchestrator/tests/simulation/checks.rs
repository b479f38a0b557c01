//! The invariants, from outside: over what was acknowledged, what runners did, and the event log.

use super::cases::{ATTEMPTS_MAX, STEP_ATTEMPTS_MAX};
use super::store::{Store, gate_event};
use meta_domain::autofix::Strategy;
use meta_domain::id::{GateId, RunId, TaskId, TenantId};
use meta_domain::status::RunStatus;
use meta_domain::time::Timestamp;
use orchestrator::core::apply::apply;
use orchestrator::core::event::RunEvent;
use orchestrator::core::invariants;
use orchestrator::core::queue::{Task, TaskState};
use orchestrator::core::run::{Attempt, Run, State};
use orchestrator::core::transition::Sharing;
use orchestrator::core::work::log_name;
use orchestrator::store::Writes;
use std::collections::{BTreeMap, BTreeSet};

/// How far the processes' clocks may be from the store's, in milliseconds.
pub const CLOCK_ERROR_MS: i64 = 100;
/// The longest wait before a retry, in milliseconds (`backoff_cap_seconds`).
const BACKOFF_CAP_MS: i64 = 60_000;

/// What is known of one run.
#[derive(Debug, Default)]
struct Seen {
    /// Built from its events alone.
    replayed: Option<Run>,
    /// The log of the execution that each step is in.
    executing: BTreeMap<String, String>,
    /// Canceled, and not sent on since.
    canceled: bool,
    decided: BTreeMap<GateId, String>,
}

/// Everything that was promised or done.
#[derive(Debug, Default)]
pub struct Checks {
    runs: BTreeMap<RunId, Seen>,
    created: BTreeMap<(TenantId, String), RunId>,
    /// Results that runners were told are stored: of which run, and how they are known.
    results: Vec<(RunId, String)>,
    /// Each execution's task and epoch, by the number that names it.
    executions: BTreeMap<u64, (TaskId, i64)>,
    /// Numbers of executions that ended in a log.
    ended: BTreeSet<u64>,
    gates_won: BTreeMap<GateId, String>,
    canceled_by: Vec<(RunId, String)>,
    /// Until when each lease was last promised.
    leases: BTreeMap<(TaskId, i64), i64>,
    /// How much was seen.
    pub counts: Counts,
}

/// How much was seen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Events stored.
    pub events: u64,
    /// Completions refused.
    pub refused: u64,
    /// Leases that ran out.
    pub expired: u64,
    /// Executions of steps begun by runners.
    pub executions: u64,
    /// Gates decided.
    pub gates: u64,
}

type Verdict = Result<(), String>;

impl Checks {
    /// A client was told that its request made this run (I1).
    pub fn created(&mut self, tenant: TenantId, request: &str, run: RunId) -> Verdict {
        let first = *self.created.entry((tenant, request.to_owned())).or_insert(run);
        if first == run {
            return Ok(());
        }
        Err(format!("I1: request {request} was answered with run {first}, and then with {run}"))
    }

    /// A runner begins: the log says so already (I8, and no lease before its commit).
    pub fn begins(&mut self, task: &Task, nonce: u64) -> Verdict {
        self.executions.insert(nonce, (task.id, task.epoch));
        if task.kind.as_str() != "step" {
            return Ok(());
        }
        self.counts.executions += 1;
        let name = log_name(task.id, task.epoch);
        let run = task.run.and_then(|r| self.runs.get(&r)).and_then(|s| s.replayed.as_ref());
        let known = run.is_some_and(|r| {
            let logs = r.steps.iter().flat_map(|s| &s.logs);
            logs.into_iter().any(|l| l.name == name) || r.step(&task.step).is_none()
        });
        if known {
            return Ok(());
        }
        Err(format!("I8: a runner executes {} as {name}, which no log knows of", task.step))
    }

    /// A runner was told that its result is stored (I2).
    pub fn stored(&mut self, run: RunId, mark: Option<String>) {
        self.results.extend(mark.map(|mark| (run, mark)));
    }

    /// Somebody was told that their decision of a gate holds (I6).
    pub fn won(&mut self, gate: GateId, actor: &str) -> Verdict {
        let first = self.gates_won.entry(gate).or_insert_with(|| actor.to_owned());
        if first == actor {
            return Ok(());
        }
        Err(format!("I6: gate {gate} was decided by {first}, and again by {actor}"))
    }

    /// Somebody was told that the run is canceled (I10).
    pub fn canceled(&mut self, run: RunId, actor: &str) {
        self.canceled_by.push((run, actor.to_owned()));
    }

    /// A lease was promised for so long.
    pub fn leased(&mut self, task: TaskId, epoch: i64, now: i64, lease_ms: i64) {
        self.leases.insert((task, epoch), now + lease_ms);
    }

    /// Until when a lease was promised.
    pub fn promised(&self, task: TaskId, epoch: i64) -> i64 {
        self.leases.get(&(task, epoch)).copied().unwrap_or(0)
    }

    /// A lease was taken back as over: it was, by the store's clock.
    pub fn expired(&mut self, task: TaskId, until: i64, now: i64) -> Verdict {
        self.counts.expired += 1;
        if now + CLOCK_ERROR_MS >= until {
            return Ok(());
        }
        Err(format!("leases: task {task} is taken back {} ms early", until - now))
    }

    /// A batch was stored.
    pub fn committed(&mut self, writes: &Writes, now: i64, store: &Store) -> Verdict {
        for event in &writes.events {
            self.counts.events += 1;
            let seen = self.runs.entry(event.run.id).or_default();
            seen.take(&event.event, event.at, now, &self.executions, &mut self.ended)
                .map_err(|e| format!("{e} (run {}, event {})", event.run.id, event.seq))?;
            if gate_event(&event.event).is_some() {
                self.counts.gates += 1;
            }
        }
        for row in &writes.runs {
            let id = row.run.id;
            let replayed = self.runs.get(&id).and_then(|s| s.replayed.as_ref());
            if replayed != Some(&*row.run) {
                return Err(format!("I7: run {id} is not what its log says"));
            }
            if let Some(name) = invariants::broken(&row.run) {
                return Err(format!("{name} does not hold of run {id}"));
            }
            within_budget(&row.run)?;
            alone(&store.tasks_of(id))?;
        }
        Ok(())
    }

    /// What must hold at the end, whatever happened.
    pub fn at_the_end(&self, store: &Store) -> Verdict {
        for ((tenant, request), run) in &self.created {
            if store.rev(*run).is_none() || store.of_request(*tenant, request) != Some(*run) {
                return Err(format!("I1: run {run} of request {request} is lost"));
            }
        }
        let mut logs: BTreeMap<RunId, String> = BTreeMap::new();
        for id in store.runs() {
            let loaded = store.load(id).map(|l| l.run);
            if loaded.as_ref() != self.runs.get(&id).and_then(|s| s.replayed.as_ref()) {
                return Err(format!("I7: run {id} read from the tables is not what its log says"));
            }
            let text = serde_json::to_string(store.events(id)).map_err(|e| e.to_string())?;
            logs.insert(id, text);
        }
        let holds = |run: &RunId, what: &str| logs.get(run).is_some_and(|log| log.contains(what));
        for (run, mark) in &self.results {
            let step = mark.strip_prefix("mark-").and_then(|m| m.strip_suffix('-'));
            let ended = step.and_then(|n| n.parse().ok()).is_some_and(|n| self.ended.contains(&n));
            if !ended && !holds(run, mark) {
                return Err(format!("I2: the result {mark} of run {run} is lost"));
            }
        }
        for (gate, actor) in &self.gates_won {
            let by = self.runs.values().find_map(|s| s.decided.get(gate));
            if by != Some(actor) {
                return Err(format!("I6: {actor} decided gate {gate}; the log says {by:?}"));
            }
        }
        for (run, actor) in &self.canceled_by {
            if !holds(run, &format!("\"{actor}\"")) {
                return Err(format!("I10: the cancel of run {run} by {actor} is lost"));
            }
        }
        Ok(())
    }

    /// What must hold once faults have stopped for long enough (I11).
    pub fn at_rest(&self, store: &Store, now: Timestamp) -> Verdict {
        for id in store.runs() {
            let Some(run) = self.runs.get(&id).and_then(|s| s.replayed.as_ref()) else { continue };
            let rests = run.status.is_terminal() || run.status == RunStatus::PausedAwaitingApproval;
            if !rests || run.rolling_back {
                let tasks = store.tasks_of(id);
                return Err(format!("I11: run {id} is {} for ever; tasks {tasks:?}", run.status));
            }
        }
        match store.tasks().find(|t| t.kind.as_str() != "expire" || t.due < now) {
            Some(task) => Err(format!("I11: a task is left: {task:?}")),
            None => Ok(()),
        }
    }
}

impl Seen {
    fn take(
        &mut self,
        event: &RunEvent,
        at: Timestamp,
        now: i64,
        executions: &BTreeMap<u64, (TaskId, i64)>,
        ended: &mut BTreeSet<u64>,
    ) -> Verdict {
        if let RunEvent::Created { run } = event {
            if self.replayed.is_some() {
                return Err("I7: it is created twice".to_owned());
            }
            let mut first = (**run).clone();
            apply(&mut first, event, at);
            self.replayed = Some(first);
            return Ok(());
        }
        let run = self.replayed.take().ok_or("I7: its log does not begin with it")?;
        match event {
            RunEvent::StepStarted { step, execution, log, .. } => {
                self.starts(&run, step, *execution, log, at, now)?;
            }
            RunEvent::StepSucceeded { step, execution, .. }
            | RunEvent::StepAttemptFailed { step, execution } => {
                let nonce = execution.duration_ms;
                let open = self.executing.remove(step);
                let of = executions.get(&nonce).map(|(task, epoch)| log_name(*task, *epoch));
                if open.is_none() || (nonce > 0 && of != open) {
                    let text = format!("step {step} ends {open:?} by the result of {of:?}");
                    return Err(format!("I3: {text}"));
                }
                if nonce > 0 && !ended.insert(nonce) {
                    return Err(format!("I3: the result {nonce} of step {step} is stored twice"));
                }
            }
            RunEvent::Retry { due, .. } if due.0 - now > BACKOFF_CAP_MS + CLOCK_ERROR_MS => {
                return Err(format!("I5: a retry waits until {due:?}"));
            }
            RunEvent::Replanned { delta, version, .. }
                if *version != run.plan_version + 1 || delta.original_plan != run.plan =>
            {
                return Err(format!("I8: plan {version} follows plan {}", run.plan_version));
            }
            RunEvent::Canceled { .. } => (self.canceled, self.executing) = (true, BTreeMap::new()),
            RunEvent::RunRetry { .. } => self.canceled = false,
            _ => {}
        }
        if let Some((gate, actor)) = gate_event(event)
            && let Some(first) = self.decided.insert(gate, actor.to_owned())
        {
            return Err(format!("I6: gate {gate} is decided by {first:?} and by {actor:?}"));
        }
        let run = self.replayed.insert(run);
        apply(run, event, at);
        Ok(())
    }

    fn starts(
        &mut self,
        run: &Run,
        name: &str,
        execution: u32,
        log: &str,
        at: Timestamp,
        now: i64,
    ) -> Verdict {
        let step = run.step(name).ok_or_else(|| format!("I8: step {name} is not in the plan"))?;
        if self.canceled {
            return Err(format!("I10: step {name} starts after the cancel"));
        }
        if execution != step.executions + 1 {
            return Err(format!("I4: execution {execution} follows {}", step.executions));
        }
        if let State::Queued { due } = step.state
            && (at < due || now + 2 * CLOCK_ERROR_MS < due.0)
        {
            return Err(format!("I5: step {name} starts at {now} before it is due at {due:?}"));
        }
        let done = |n: &String| {
            run.step(n).is_some_and(|n| matches!(n.state, State::Succeeded | State::Skipped))
        };
        if !step.planned.needs.iter().all(done) {
            return Err(format!("I8: step {name} starts before what it needs"));
        }
        self.executing.insert(name.to_owned(), log.to_owned());
        Ok(())
    }
}

/// I4: the auto-fixer never decides beyond the budget, so the run never spends more. What takes a
/// patch back that broke a step is counted, but never refused: leaving the patch would be worse.
fn within_budget(run: &Run) -> Verdict {
    let chosen = |a: &&Attempt| a.strategy != Strategy::Rollback;
    let paid: Vec<&Attempt> = run.paid_attempts().filter(chosen).collect();
    if paid.len() > ATTEMPTS_MAX {
        return Err(format!("I4: run {} has paid {} attempts", run.id, paid.len()));
    }
    for step in &run.steps {
        let of_step = paid.iter().filter(|a| a.step == step.planned.name).count();
        if of_step > STEP_ATTEMPTS_MAX {
            return Err(format!("I4: step {} has paid {of_step} attempts", step.planned.name));
        }
    }
    Ok(())
}

/// What uses the workspace alone does so.
fn alone(tasks: &[Task]) -> Verdict {
    let held = |t: &&Task| t.state == TaskState::Leased && t.sharing != Sharing::None;
    let held: Vec<&Task> = tasks.iter().filter(held).collect();
    let exclusive = held.iter().any(|t| t.sharing == Sharing::Exclusive);
    if exclusive && held.len() > 1 {
        return Err(format!("the workspace is used alone, and beside others: {held:?}"));
    }
    Ok(())
}
