//! One transaction: what was wished for and what is claimed, decided and stored.

use super::cache::Cached;
use super::writer::Writer;
use super::{Change, Leased, Reply};
use crate::core::audit::By;
use crate::core::queue::Task;
use crate::core::ready::{Candidate, Ready};
use crate::core::run::Run;
use crate::core::work::{Given, Work};
use crate::store::{Opening, Writes, load, lock, of_request};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId};
use meta_storage::Error;
use meta_telemetry::catalogue as metric;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// How often a batch is decided again when another process changed one of its runs in between.
const CONFLICT_TRIES_MAX: usize = 10;

/// Batches whose runs are locked first, after another process was faster with one.
const CAREFUL_BATCHES: u32 = 64;

/// Something that a caller wants, and where the answer goes.
pub(super) struct Wish {
    what: What,
    reply: Option<Reply>,
}

enum What {
    Create { run: Box<Run>, request_id: Option<String>, by: Option<Arc<By>> },
    Change { run: RunId, change: Change },
}

/// A task that is to be leased to somebody who waits.
pub(super) struct Claim {
    pub(super) slot: u64,
    pub(super) owner: String,
    pub(super) run: RunId,
    pub(super) task: TaskId,
}

/// What a committed batch came to.
struct Done {
    works: Vec<(Work, Arc<Vec<Task>>)>,
    answers: Vec<Result<RunId, Fault>>,
    given: Vec<(u64, RunId, Task)>,
    /// Runs of earlier requests, and runs that did not change.
    others: HashMap<RunId, Arc<Run>>,
    /// The runs were taken as this process knew them, without asking the store.
    from_memory: bool,
}

/// What came of a try to decide and store a batch.
enum Tried {
    Done(Done),
    /// Another process was faster with one of the runs.
    Overtaken,
    /// Somebody would be answered by what may be out of date.
    Unsure,
}

impl Done {
    /// Whether a run that somebody wanted something of stays as it was.
    fn leaves_runs(&self) -> bool {
        self.works.iter().any(|(work, _)| !work.is_changed())
    }
}

impl Wish {
    pub(super) fn create(
        run: Box<Run>,
        request_id: Option<String>,
        by: Option<Arc<By>>,
        reply: Reply,
    ) -> Self {
        Self { what: What::Create { run, request_id, by }, reply: Some(reply) }
    }

    pub(super) fn change(run: RunId, change: Change, reply: Option<Reply>) -> Self {
        Self { what: What::Change { run, change }, reply }
    }

    fn run(&self) -> Option<RunId> {
        match &self.what {
            What::Create { .. } => None,
            What::Change { run, .. } => Some(*run),
        }
    }

    /// Leases are looked at: the tables know best when they end.
    fn is_about_leases(&self) -> bool {
        matches!(&self.what, What::Change { change: Change::Expire | Change::Restart, .. })
    }

    fn answer(self, answer: Result<Arc<Run>, Fault>) {
        match (self.reply, answer) {
            (Some(reply), answer) => {
                // A caller that is gone does not want to know.
                let _ = reply.send(answer);
            }
            (None, Err(fault)) if fault.kind != ErrorKind::FailedPrecondition => {
                tracing::warn!(%fault, "a run could not be changed");
            }
            (None, _) => {}
        }
    }
}

impl Writer {
    /// Stores a batch and answers everyone. When the store refuses something in it, each is stored
    /// on its own, so that one bad wish takes no others with it.
    pub(super) async fn store(&mut self, wishes: Vec<Wish>, claims: Vec<Claim>) {
        match self.try_often(&wishes, &claims).await {
            Ok(done) => self.finish(wishes, done),
            Err(Error::Statement(_) | Error::CorruptRow { .. })
                if wishes.len() + claims.len() > 1 =>
            {
                tracing::warn!(wishes = wishes.len(), "storing a batch one by one");
                self.stale = true;
                for wish in wishes {
                    match self.try_often(std::slice::from_ref(&wish), &[]).await {
                        Ok(done) => self.finish(vec![wish], done),
                        Err(error) => self.give_up(vec![wish], error),
                    }
                }
            }
            Err(error) => self.give_up(wishes, error),
        }
    }

    fn give_up(&mut self, wishes: Vec<Wish>, error: Error) {
        self.stale = true;
        // The batch may be stored all the same, with tasks that are leased or done.
        self.swept = false;
        let fault = Fault::from(error);
        self.store_failed(&fault);
        for wish in wishes {
            if let Some(run) = wish.run() {
                self.cache.forget(run);
            }
            wish.answer(Err(fault.clone()));
        }
    }

    async fn try_often(&mut self, wishes: &[Wish], claims: &[Claim]) -> Result<Done, Error> {
        for _ in 0..CONFLICT_TRIES_MAX {
            match self.try_once(wishes, claims).await? {
                Tried::Done(done) => {
                    self.careful = self.careful.saturating_sub(1);
                    return Ok(done);
                }
                Tried::Overtaken => self.careful = CAREFUL_BATCHES,
                Tried::Unsure => self.careful = 1,
            }
        }
        let text = "runs change too fast; try again".to_owned();
        Err(Error::Unreachable(meta_storage::sqlx::Error::Protocol(text)))
    }

    async fn try_once(&mut self, wishes: &[Wish], claims: &[Claim]) -> Result<Tried, Error> {
        let began = Instant::now();
        let mut opening = Opening::new(&self.tables);
        let decided = self.decide(&mut opening, wishes, claims).await?;
        // What is stored is checked by its revision. What is refused or left as it is would be so by
        // what this process knows alone: another one may know better.
        if self.tables.is_shared() && decided.from_memory && decided.leaves_runs() {
            return Ok(Tried::Unsure);
        }
        match self.tables.store(opening, &writes(&decided)).await {
            Ok(true) => {}
            // the next try asks which of them changed
            Ok(false) if self.tables.is_shared() => return Ok(Tried::Overtaken),
            other => {
                self.forget(&decided);
                return other.map(|_| Tried::Overtaken);
            }
        }
        metric::STORE_COMMIT.record_in(&[], began.elapsed(), None);
        Ok(Tried::Done(decided))
    }

    fn forget(&self, done: &Done) {
        for (work, _) in &done.works {
            self.cache.forget(work.run.id);
        }
    }

    async fn decide(
        &mut self,
        opening: &mut Opening,
        wishes: &[Wish],
        claims: &[Claim],
    ) -> Result<Done, Error> {
        let fresh: BTreeSet<RunId> =
            wishes.iter().filter(|w| w.is_about_leases()).filter_map(Wish::run).collect();
        let ids: BTreeSet<RunId> =
            wishes.iter().filter_map(Wish::run).chain(claims.iter().map(|c| c.run)).collect();
        let mut works = self.open(opening, &ids.into_iter().collect::<Vec<_>>(), &fresh).await?;
        let mut ids = meta_runtime::new_id;
        let mut given_ids =
            Given { now: self.clock.now(), ids: &mut ids, lease_ms: self.options.lease_ms };
        let mut done = Done {
            works: Vec::new(),
            answers: Vec::with_capacity(wishes.len()),
            given: Vec::new(),
            others: HashMap::new(),
            from_memory: !opening.has_begun(),
        };
        let mut requests: HashMap<_, RunId> = HashMap::new();
        for wish in wishes {
            let answer = match &wish.what {
                What::Change { run, change } => match works.get_mut(run) {
                    Some((work, _)) => self.change(work, change, &mut given_ids).map(|()| *run),
                    None => Err(Fault::not_found("RUN_NOT_FOUND", "run", run)),
                },
                What::Create { run, request_id, by } => {
                    let key = request_id.clone().map(|r| (run.tenant, r));
                    let first = match &key {
                        Some(key) => match requests.get(key) {
                            Some(first) => Some(*first),
                            None => of_request(opening.tx().await?, key.0, &key.1).await?,
                        },
                        None => None,
                    };
                    match first {
                        Some(first) => {
                            if !works.contains_key(&first)
                                && let Some(loaded) = load(opening.tx().await?, first, None).await?
                            {
                                done.others.insert(first, Arc::new(loaded.run));
                            }
                            Ok(first)
                        }
                        None => Work::create((**run).clone(), &mut given_ids).map(|mut work| {
                            work.note_asked(0, by.as_ref());
                            requests.extend(key.map(|key| (key, run.id)));
                            works.insert(run.id, (work, Arc::default()));
                            run.id
                        }),
                    }
                }
            };
            done.answers.push(answer);
        }
        for claim in claims {
            claim_one(&mut works, claim, &mut given_ids, &mut done.given);
        }
        self.direct(&mut works, &mut given_ids, &mut done.given);
        let mut requests: HashMap<RunId, _> = requests.into_iter().map(|(k, v)| (v, k.1)).collect();
        for (id, (mut work, before)) in works {
            work.request_id = requests.remove(&id);
            done.works.push((work, before));
        }
        Ok(done)
    }

    /// The runs as they are now, or as they were when this process stored or read them last: then
    /// they are stored only if nobody changed them since.
    async fn open(
        &self,
        opening: &mut Opening,
        ids: &[RunId],
        fresh: &BTreeSet<RunId>,
    ) -> Result<HashMap<RunId, (Work, Arc<Vec<Task>>)>, Error> {
        let known: HashMap<RunId, Cached> =
            ids.iter().filter_map(|id| self.cache.get(*id).map(|c| (*id, c))).collect();
        let asked = self.to_be_asked_for(ids, &known, fresh);
        let revs = match asked.as_slice() {
            [] => HashMap::new(),
            asked => lock(opening.tx().await?, asked).await?,
        };
        let mut works = HashMap::with_capacity(ids.len());
        for id in ids {
            let sure = |cached: &Cached| {
                let unchanged = !asked.contains(id) || revs.get(id) == Some(&cached.rev);
                unchanged && !fresh.contains(id)
            };
            let cached = match known.get(id) {
                Some(cached) if sure(cached) => cached.clone(),
                known => {
                    let known = known.map(|c| (*c.run).clone());
                    let tx = opening.tx().await?;
                    let Some(loaded) = load(tx, *id, known).await? else { continue };
                    let (run, tasks) = (Arc::new(loaded.run), Arc::new(loaded.tasks));
                    Cached { run, rev: loaded.rev, tasks }
                }
            };
            let work = Work::new(cached.run, cached.rev, Arc::clone(&cached.tasks));
            works.insert(*id, (work, cached.tasks));
        }
        Ok(works)
    }

    /// The runs that are to be locked and asked for their revisions. Where other processes change
    /// runs too that is all of a batch, once there is a transaction anyway or they were in the way
    /// lately; nobody but this process is likely to have changed the others.
    fn to_be_asked_for(
        &self,
        ids: &[RunId],
        known: &HashMap<RunId, Cached>,
        fresh: &BTreeSet<RunId>,
    ) -> Vec<RunId> {
        let unknown = |id: &&RunId| !known.contains_key(*id);
        let all = self.tables.is_shared()
            && (self.careful > 0 || !fresh.is_empty() || ids.iter().any(|id| unknown(&id)));
        ids.iter().filter(|id| all || unknown(id)).copied().collect()
    }

    fn change(&self, work: &mut Work, change: &Change, given: &mut Given<'_>) -> Result<(), Fault> {
        let now = given.now;
        match change {
            Change::Advance(input, finish, by) => {
                let from = work.events.len();
                let done = work.advance((**input).clone(), finish.clone(), given);
                work.note_asked(from, by.as_ref());
                done
            }
            Change::Release { task, epoch, due, unused } => {
                work.release(*task, *epoch, *due, *unused, now)
            }
            Change::Forget { task, epoch } => {
                work.forget(*task, *epoch, now);
                Ok(())
            }
            Change::Expire => {
                for task in work.expire(now) {
                    tracing::warn!(run = %work.run.id, %task, "a lease ran out");
                }
                Ok(())
            }
            Change::Restart => {
                work.restart(self.options.own_leases, now, given.lease_ms);
                Ok(())
            }
        }
    }

    /// Leases what has just become ready to those who still wait, in the same transaction.
    fn direct(
        &self,
        works: &mut HashMap<RunId, (Work, Arc<Vec<Task>>)>,
        given: &mut Given<'_>,
        leased: &mut Vec<(u64, RunId, Task)>,
    ) {
        let mut room: Vec<(usize, usize)> = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let taken = leased.iter().filter(|(id, ..)| *id == slot.id).count();
            let left = slot.room_left().saturating_sub(taken);
            if left > 0 {
                room.push((at, left));
            }
        }
        if room.is_empty() {
            return;
        }
        let mut fresh = Ready::default();
        for (work, _) in works.values().filter(|(w, _)| w.is_changed()) {
            for candidate in work.claimable(given.now).filter_map(Candidate::of) {
                fresh.put(candidate, given.now);
            }
        }
        let mut held = self.held.clone();
        for (at, left) in room {
            let slot = &self.slots[at];
            let mut left = left;
            while left > 0
                && let Some(next) = fresh.take(&slot.offer, &held, self.options.tenant_tasks_max)
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

    fn finish(&mut self, wishes: Vec<Wish>, done: Done) {
        let mut runs = done.others;
        for (work, before) in &done.works {
            if work.is_changed() {
                super::telling::tell(work);
                self.stored(work, before);
            }
            runs.insert(work.run.id, Arc::clone(&work.run));
        }
        for (wish, answer) in wishes.into_iter().zip(done.answers) {
            let run = |id| {
                let here = runs.get(&id).cloned();
                here.ok_or_else(|| Fault::not_found("RUN_NOT_FOUND", "run", id))
            };
            wish.answer(answer.and_then(run));
        }
        for (slot, run, task) in done.given {
            let run = runs.get(&run).cloned();
            self.gather(slot, Leased { task, run });
        }
    }
}

/// Leases one task; false when it cannot be leased any more.
fn claim_one(
    works: &mut HashMap<RunId, (Work, Arc<Vec<Task>>)>,
    claim: &Claim,
    given: &mut Given<'_>,
    leased: &mut Vec<(u64, RunId, Task)>,
) -> bool {
    let Some((work, _)) = works.get_mut(&claim.run) else { return false };
    match work.claim(claim.task, &claim.owner, given) {
        Ok(Some(task)) => {
            leased.push((claim.slot, claim.run, task));
            true
        }
        Ok(None) => false,
        Err(fault) => {
            tracing::error!(%fault, run = %claim.run, task = %claim.task, "cannot lease a task");
            false
        }
    }
}

fn writes(done: &Done) -> Writes {
    let mut writes = Writes::default();
    for (work, _) in done.works.iter().filter(|(w, _)| w.is_changed()) {
        writes.add(work);
    }
    // everybody locks rows in the same order
    writes.runs.sort_unstable_by_key(|row| row.run.id);
    writes
}
