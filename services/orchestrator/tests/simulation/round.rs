//! An orchestrator's transaction: gather, decide, commit, answer, hand out; as the shell's writer.

use super::faults::Call;
use super::replica::{After, Cached, Change};
use super::store::Refused;
use super::trace::RUN_MARK;
use super::world::{Answer, LEASE_MS, Node, Timer, World, store_failed};
use meta_domain::fault::Fault;
use meta_domain::id::{RunId, TaskId, TenantId};
use orchestrator::core::queue::Task;
use orchestrator::core::ready::{Candidate, Offer, Ready};
use orchestrator::core::run::Run;
use orchestrator::core::work::{Given, Work, lease_lost};
use orchestrator::store::Writes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often a batch is decided again when another process was faster.
const CONFLICT_TRIES_MAX: u32 = 10;

/// Something that a caller wants.
#[derive(Debug, Clone)]
pub struct Wish {
    what: What,
    after: After,
}

#[derive(Debug, Clone)]
enum What {
    Create(Box<Run>, String),
    Change(RunId, Change),
}

impl Wish {
    /// Of a new run.
    pub fn create(run: Box<Run>, request: String, after: After) -> Self {
        Self { what: What::Create(run, request), after }
    }

    /// Of a run that is there.
    pub fn change(run: RunId, change: Change, after: After) -> Self {
        Self { what: What::Change(run, change), after }
    }

    fn run(&self) -> Option<RunId> {
        match &self.what {
            What::Create(..) => None,
            What::Change(run, _) => Some(*run),
        }
    }

    fn is_about_leases(&self) -> bool {
        matches!(&self.what, What::Change(_, Change::Expire | Change::Restart))
    }
}

/// Somebody who waits for tasks.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its number.
    pub id: u64,
    /// What it takes.
    pub offer: Offer,
    /// How many.
    pub room: usize,
    /// Until when it waits.
    pub until: i64,
    /// The caller; nobody when it is the orchestrator itself.
    pub to: Option<(Node, u64)>,
    /// Leased for it.
    pub gathered: Vec<Task>,
}

impl Slot {
    fn room_left(&self) -> usize {
        self.room.saturating_sub(self.gathered.len())
    }
}

#[derive(Debug, Clone)]
struct Claim {
    slot: u64,
    owner: String,
    run: RunId,
    task: TaskId,
}

type Works = BTreeMap<RunId, (Work, Arc<Vec<Task>>)>;

/// What was decided, and is not committed yet.
#[derive(Debug)]
pub struct Batch {
    wishes: Vec<Wish>,
    claims: Vec<Claim>,
    works: Works,
    answers: Vec<Result<RunId, Fault>>,
    given: Vec<(u64, Task)>,
    /// Leases that are over, and until when they had been promised when that was decided.
    lost: Vec<(TaskId, i64, i64)>,
    others: BTreeMap<RunId, Arc<Run>>,
    tries: u32,
}

impl World {
    pub(super) fn round(&mut self, at: usize) {
        if self.replicas[at].batch.is_some() {
            return;
        }
        let mut wishes = Vec::new();
        for task in std::mem::take(&mut self.replicas[at].returned) {
            let (now, key) = (self.clock(at), (task.id, task.epoch));
            match task.run {
                Some(run) => {
                    let change = Change::Release(key.0, key.1, now, true);
                    wishes.push(Wish::change(run, change, After::Nobody));
                }
                None => self.store.release_loose(key.0, key.1, now),
            }
        }
        wishes.append(&mut self.replicas[at].inbox);
        if std::mem::take(&mut self.replicas[at].sweeps) {
            wishes.extend(self.sweep(at).unwrap_or_default());
        }
        self.poll_own(at);
        let claims = self.choose(at);
        if wishes.is_empty() && claims.is_empty() {
            return self.hand_out(at);
        }
        self.decide(at, wishes, claims, 0);
        if self.is_stormy() && self.random.chance(self.faults.slow_commit) {
            let later = self.random.between(1, 40);
            self.wake(Node::Replica(at), later, Timer::Commit);
        } else {
            self.commit(at);
        }
    }

    fn choose(&mut self, at: usize) -> Vec<Claim> {
        let (now, instant, limit) = (self.clock(at), self.now, self.tenant_tasks_max);
        let fails = self.replicas[at].stale && self.call_store() != Call::Fine;
        let replica = &mut self.replicas[at];
        replica.slots.retain(|slot| slot.until > instant);
        replica.ready.ripen(now);
        if replica.stale && !fails {
            for internal in [false, true] {
                for candidate in self.store.candidates(internal) {
                    replica.ready.put(candidate, now);
                }
            }
            replica.stale = false;
            replica.ready.ripen(now);
        }
        let mut held = replica.held.clone();
        let (mut claims, mut loose) = (Vec::new(), Vec::new());
        for slot in &replica.slots {
            for _ in 0..slot.room_left() {
                let Some(next) = replica.ready.take(&slot.offer, &held, limit) else { break };
                if !next.internal {
                    *held.entry(next.tenant).or_default() += 1;
                }
                let (slot, owner) = (slot.id, slot.offer.owner.clone());
                match next.run {
                    Some(run) => claims.push(Claim { slot, owner, run, task: next.task }),
                    None => loose.push((slot, owner, next.task)),
                }
            }
        }
        for (slot, owner, task) in loose {
            self.lease_loose(at, slot, &owner, task);
        }
        if let Some(due) = self.replicas[at].ready.next_due() {
            self.plan_round(at, (due.0 - now.0).max(1));
        }
        claims
    }

    fn lease_loose(&mut self, at: usize, slot: u64, owner: &str, task: TaskId) {
        let until = self.clock(at).plus_ms(LEASE_MS);
        let fate = self.call_store();
        let leased = match fate {
            Call::FailsBefore => None,
            Call::Fine | Call::FailsAfter => self.store.lease_loose(task, owner, until),
        };
        match leased {
            Some(task) if fate == Call::Fine => self.gather(at, slot, task),
            _ => self.replicas[at].stale = true,
        }
    }

    /// Decides what is wished for and claimed, on the runs as they are, or as they are remembered.
    fn decide(&mut self, at: usize, wishes: Vec<Wish>, claims: Vec<Claim>, tries: u32) {
        let mut works = self.open(at, &wishes, &claims);
        let now = self.clock(at);
        let own_leases = self.own_leases;
        let mut random = self.random.clone();
        let mut ids = || random.id();
        let mut given = Given { now, ids: &mut ids, lease_ms: LEASE_MS };
        let (mut answers, mut lost) = (Vec::new(), Vec::new());
        let mut others = BTreeMap::new();
        let mut requests: BTreeMap<(TenantId, String), RunId> = BTreeMap::new();
        for wish in &wishes {
            answers.push(match &wish.what {
                What::Change(run, change) => match works.get_mut(run) {
                    Some((work, _)) => {
                        changed(work, change, own_leases, &mut given, &mut lost).map(|()| *run)
                    }
                    None => Err(Fault::not_found("RUN_NOT_FOUND", "run", run)),
                },
                What::Create(run, request) => {
                    let key = (run.tenant, request.clone());
                    let first = requests.get(&key).copied();
                    match first.or_else(|| self.store.of_request(run.tenant, request)) {
                        Some(first) => {
                            let loaded = self.store.load(first);
                            others.extend(loaded.map(|l| (first, Arc::new(l.run))));
                            Ok(first)
                        }
                        None => Work::create((**run).clone(), &mut given).map(|mut work| {
                            requests.insert(key, run.id);
                            work.request_id = Some(request.clone());
                            works.insert(run.id, (work, Arc::default()));
                            run.id
                        }),
                    }
                }
            });
        }
        let mut leased = Vec::new();
        for claim in &claims {
            claim_one(&mut works, claim, &mut given, &mut leased);
        }
        direct(
            &self.replicas[at].slots,
            &self.replicas[at].held,
            self.tenant_tasks_max,
            &mut works,
            &mut given,
            &mut leased,
        );
        self.random = random;
        let given = leased;
        let until = |(task, epoch)| (task, epoch, self.checks.promised(task, epoch));
        let lost = lost.into_iter().map(until).collect();
        self.replicas[at].batch =
            Some(Batch { wishes, claims, works, answers, given, lost, others, tries });
    }

    fn open(&self, at: usize, wishes: &[Wish], claims: &[Claim]) -> Works {
        let fresh: BTreeSet<RunId> =
            wishes.iter().filter(|w| w.is_about_leases()).filter_map(Wish::run).collect();
        let ids: BTreeSet<RunId> =
            wishes.iter().filter_map(Wish::run).chain(claims.iter().map(|c| c.run)).collect();
        let mut works = BTreeMap::new();
        for id in ids {
            let known = self.replicas[at].cache.get(&id);
            let known = known.filter(|c| self.alone || self.store.rev(id) == Some(c.rev));
            let cached = if let Some(cached) = known.filter(|_| !fresh.contains(&id)) {
                cached.clone()
            } else {
                let Some(loaded) = self.store.load(id) else { continue };
                let (run, tasks) = (Arc::new(loaded.run), Arc::new(loaded.tasks));
                Cached { run, rev: loaded.rev, tasks }
            };
            let work = Work::new(cached.run, cached.rev, Arc::clone(&cached.tasks));
            works.insert(id, (work, cached.tasks));
        }
        works
    }

    /// The transaction ends, one way or another.
    pub(super) fn commit(&mut self, at: usize) {
        let Some(batch) = self.replicas[at].batch.take() else { return };
        let dies = self.is_stormy() && self.random.chance(self.faults.dies_at_commit);
        if dies && self.random.chance(500) {
            return self.kill(Node::Replica(at));
        }
        let fate = self.call_store();
        if fate == Call::FailsBefore {
            return self.give_up(at, batch);
        }
        match self.store_batch(at, &batch) {
            Err(Refused::Sequence(text)) => self.check(Err(format!("I7: {text}"))),
            Err(Refused::Conflict) if batch.tries < CONFLICT_TRIES_MAX => {
                self.trace.say(self.now, format_args!("Replica({at}) was slower; decides again"));
                for id in batch.works.keys() {
                    self.replicas[at].cache.remove(id);
                }
                self.decide(at, batch.wishes, batch.claims, batch.tries + 1);
                self.commit(at);
            }
            Err(Refused::Conflict) => self.give_up(at, batch),
            Ok(()) if dies => self.kill(Node::Replica(at)),
            Ok(()) if fate == Call::FailsAfter => self.give_up(at, batch),
            Ok(()) => self.finish(at, batch),
        }
    }

    fn store_batch(&mut self, at: usize, batch: &Batch) -> Result<(), Refused> {
        let mut writes = Writes::default();
        for (work, _) in batch.works.values().filter(|(w, _)| w.is_changed()) {
            writes.add(work);
        }
        self.store.commit(&writes)?;
        for event in &writes.events {
            let word = event.event.step();
            let text = serde_json::to_value(&event.event).unwrap_or_default();
            self.trace.say(
                self.now,
                format_args!(
                    "Replica({at}) {RUN_MARK}{} {} {} {word}",
                    event.run.id, event.seq, text["type"]
                ),
            );
        }
        for task in writes.tasks.iter().filter(|t| t.state.as_str() == "leased") {
            self.checks.leased(task.id, task.epoch, self.now, LEASE_MS);
        }
        let verdict = self.checks.committed(&writes, self.now, &self.store);
        self.check(verdict);
        for (task, epoch, until) in &batch.lost {
            self.trace.say(self.now, format_args!("the lease {task}.{epoch} is over"));
            let verdict = self.checks.expired(*task, *until, self.now);
            self.check(verdict);
        }
        Ok(())
    }

    /// A process dies while its transaction is on its way.
    pub(super) fn dying(&mut self, at: usize) {
        if let Some(batch) = self.replicas[at].batch.take()
            && self.random.chance(500)
        {
            match self.store_batch(at, &batch) {
                Err(Refused::Sequence(text)) => self.check(Err(format!("I7: {text}"))),
                Ok(()) | Err(Refused::Conflict) => {}
            }
        }
    }

    fn give_up(&mut self, at: usize, batch: Batch) {
        self.replicas[at].stale = true;
        self.replicas[at].swept = false;
        for id in batch.works.keys() {
            self.replicas[at].cache.remove(id);
        }
        for wish in batch.wishes {
            self.answered(at, wish.after, wish.what, Err(store_failed()));
        }
        let pause = 200;
        self.plan_round(at, pause);
        self.hand_out(at);
    }

    fn finish(&mut self, at: usize, batch: Batch) {
        let mut runs = batch.others;
        for (id, (work, before)) in &batch.works {
            if work.is_changed() {
                self.remember(at, work, before);
            }
            runs.insert(*id, Arc::clone(&work.run));
        }
        for (wish, answer) in batch.wishes.into_iter().zip(batch.answers) {
            let run = |id| {
                let here = runs.get(&id).cloned();
                here.ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", id))
            };
            self.answered(at, wish.after, wish.what, answer.and_then(run));
        }
        for (slot, task) in batch.given {
            self.gather(at, slot, task);
        }
        self.hand_out(at);
        let more = !self.replicas[at].inbox.is_empty() || !self.replicas[at].returned.is_empty();
        if more || self.replicas[at].ready.next_due().is_some() {
            self.plan_round(at, i64::from(!more));
        }
    }

    /// What a stored change means for those who wait.
    fn remember(&mut self, at: usize, work: &Work, before: &[Task]) {
        let now = self.clock(at);
        let replica = &mut self.replicas[at];
        let id = work.run.id;
        let tasks = Arc::new(work.tasks.clone());
        if work.run.status.is_terminal() && tasks.is_empty() {
            replica.cache.remove(&id);
        } else {
            let cached = Cached { run: Arc::clone(&work.run), rev: work.rev + 1, tasks };
            replica.cache.insert(id, cached);
        }
        let counts = |t: &&Task| t.state.as_str() == "leased" && !t.kind.is_internal();
        for task in before {
            replica.ready.remove(task.id);
        }
        for task in before.iter().filter(counts) {
            let held = replica.held.entry(task.tenant).or_default();
            *held = held.saturating_sub(1);
        }
        for task in work.tasks.iter().filter(counts) {
            *replica.held.entry(task.tenant).or_default() += 1;
        }
        for task in work.tasks.iter().chain(&work.loose) {
            if let Some(candidate) = Candidate::of(task) {
                replica.ready.put(candidate, now);
            }
        }
    }

    fn answered(&mut self, at: usize, after: After, what: What, answer: Result<Arc<Run>, Fault>) {
        match (after, answer) {
            (After::Nobody, _) | (After::Job(_), Ok(_)) => {}
            (After::Run(to, call), answer) => self.answer(at, to, call, Answer::Run(answer)),
            (After::Complete(to, call, task, epoch), Err(fault))
                if fault.reason == "STALE_INPUT" =>
            {
                if let What::Change(run, _) = what {
                    let forget = Change::Forget(task, epoch);
                    self.wish(at, Wish::change(run, forget, After::Nobody));
                }
                self.answer(at, to, call, Answer::Done(Err(lease_lost())));
            }
            (After::Complete(to, call, ..), answer) => {
                self.answer(at, to, call, Answer::Done(answer.map(drop)));
            }
            (After::Job(task), Err(fault)) => self.job_failed(at, &task, &fault),
        }
    }

    fn gather(&mut self, at: usize, slot: u64, task: Task) {
        if let Some(slot) = self.replicas[at].slots.iter_mut().find(|s| s.id == slot) {
            slot.gathered.push(task);
        }
    }

    /// Hands out what was leased. What nobody takes any more is given back in the next round.
    fn hand_out(&mut self, at: usize) {
        let slots = std::mem::take(&mut self.replicas[at].slots);
        let (full, waiting) = slots.into_iter().partition(|s| !s.gathered.is_empty());
        self.replicas[at].slots = waiting;
        let full: Vec<Slot> = full;
        for slot in full {
            match slot.to {
                None => slot.gathered.into_iter().for_each(|task| self.job_begins(at, task)),
                Some(_) if self.is_stormy() && self.random.chance(self.faults.waiter_gone) => {
                    self.replicas[at].returned.extend(slot.gathered);
                    self.plan_round(at, 0);
                }
                Some((to, call)) => self.answer(at, to, call, Answer::Tasks(slot.gathered)),
            }
        }
    }
}

fn changed(
    work: &mut Work,
    change: &Change,
    own_leases: bool,
    given: &mut Given<'_>,
    lost: &mut Vec<(TaskId, i64)>,
) -> Result<(), Fault> {
    match change {
        Change::Advance(input, finish) => work.advance((**input).clone(), finish.clone(), given)?,
        Change::Release(task, epoch, due, unused) => {
            work.release(*task, *epoch, *due, *unused, given.now)?;
        }
        Change::Forget(task, epoch) => work.forget(*task, *epoch, given.now),
        Change::Expire => {
            let epochs: BTreeMap<TaskId, i64> =
                work.tasks.iter().map(|t| (t.id, t.epoch)).collect();
            lost.extend(work.expire(given.now).into_iter().map(|id| (id, epochs[&id])));
        }
        Change::Restart => work.restart(own_leases, given.now, given.lease_ms),
    }
    Ok(())
}

fn claim_one(
    works: &mut Works,
    claim: &Claim,
    given: &mut Given<'_>,
    leased: &mut Vec<(u64, Task)>,
) -> bool {
    let Some((work, _)) = works.get_mut(&claim.run) else { return false };
    match work.claim(claim.task, &claim.owner, given) {
        Ok(Some(task)) => {
            leased.push((claim.slot, task));
            true
        }
        Ok(None) | Err(_) => false,
    }
}

/// Leases what has just become ready to those who still wait, in the same transaction.
fn direct(
    slots: &[Slot],
    held: &std::collections::HashMap<TenantId, u32>,
    limit: u32,
    works: &mut Works,
    given: &mut Given<'_>,
    leased: &mut Vec<(u64, Task)>,
) {
    let mut fresh = Ready::default();
    for (work, _) in works.values().filter(|(w, _)| w.is_changed()) {
        for candidate in work.claimable(given.now).filter_map(Candidate::of) {
            fresh.put(candidate, given.now);
        }
    }
    let mut held = held.clone();
    for slot in slots {
        let taken = leased.iter().filter(|(id, _)| *id == slot.id).count();
        let mut left = slot.room_left().saturating_sub(taken);
        while left > 0
            && let Some(next) = fresh.take(&slot.offer, &held, limit)
        {
            let Some(run) = next.run else { continue };
            let owner = slot.offer.owner.clone();
            let claim = Claim { slot: slot.id, owner, run, task: next.task };
            if claim_one(works, &claim, given, leased) {
                left -= 1;
                if !next.internal {
                    *held.entry(next.tenant).or_default() += 1;
                }
            }
        }
    }
}
