//! One transaction: what was wished for and what is claimed, decided and stored.

use super::cache::Cached;
use super::draft::Draft;
use super::writer::{BATCH_MAX, Writer};
use super::{Change, Leased, Reply};
use crate::core::audit::By;
use crate::core::ready::{Candidate, Ready};
use crate::core::run::Run;
use crate::core::work::Given;
use crate::store::{Opening, load, lock, of_request};
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId};
use meta_storage::Error;
use meta_telemetry::catalogue as metric;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// How often a batch is decided again when another process changed one of its runs in between.
const CONFLICT_TRIES_MAX: usize = 10;

/// Batches whose runs are locked first, after another process was faster with one.
const CAREFUL_BATCHES: u32 = 64;

/// Something that a caller wants, and where the answer goes.
pub(super) struct Wish {
    pub(super) what: What,
    reply: Option<Reply>,
}

pub(super) enum What {
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

/// What came while a batch was in the store: the next one.
#[derive(Default)]
pub(super) struct Ahead {
    /// Decided already.
    wishes: Vec<Wish>,
    draft: Draft,
    /// Not to be decided before that batch is stored, or not without the store.
    later: Vec<Wish>,
}

impl Ahead {
    /// How many wishes there are.
    pub(super) fn len(&self) -> usize {
        self.wishes.len() + self.later.len()
    }

    /// Leaves all of them to be decided later.
    fn take_back(&mut self) {
        let (wishes, _) = std::mem::take(self).into_parts();
        self.later = wishes;
    }

    /// The wishes, and the first of them decided.
    pub(super) fn into_parts(mut self) -> (Vec<Wish>, Draft) {
        self.wishes.append(&mut self.later);
        (self.wishes, self.draft)
    }
}

/// What came of a try to decide and store a batch.
enum Tried {
    Done(Draft),
    /// Another process was faster with one of the runs.
    Overtaken,
    /// Somebody would be answered by what may be out of date.
    Unsure,
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

    /// Whether it can only be decided with the store's help.
    fn asks_the_store(&self) -> bool {
        self.is_about_leases() || matches!(&self.what, What::Create { request_id: Some(_), .. })
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

/// Whether the store answers and does not take what it is given.
fn is_refused(error: &Error) -> bool {
    matches!(error, Error::Statement(_) | Error::CorruptRow { .. })
}

impl Writer {
    /// Stores a batch, of which the first wishes may be decided already, and answers everyone. When
    /// the store refuses something in it, each is stored on its own, so that one bad wish or task
    /// takes no others with it.
    pub(super) async fn store(&mut self, wishes: Vec<Wish>, claims: Vec<Claim>, draft: Draft) {
        match self.try_often(&wishes, &claims, draft).await {
            Ok(done) => self.finish(wishes, done),
            Err(error) if is_refused(&error) && wishes.len() + claims.len() > 1 => {
                tracing::warn!(wishes = wishes.len(), claims = claims.len(), %error,
                    "storing a batch one by one");
                self.store_one_by_one(wishes, claims).await;
            }
            Err(error) => self.give_up(wishes, error),
        }
    }

    async fn store_one_by_one(&mut self, wishes: Vec<Wish>, claims: Vec<Claim>) {
        let wishes = wishes.into_iter().map(|wish| (vec![wish], Vec::new()));
        let claims = claims.into_iter().map(|claim| (Vec::new(), vec![claim]));
        let mut all = wishes.chain(claims);
        while let Some((mut wish, claim)) = all.next() {
            match self.try_often(&wish, &claim, Draft::default()).await {
                Ok(done) => self.finish(wish, done),
                Err(error) => {
                    if !is_refused(&error) {
                        // the rest would only wait for the same
                        wish.extend(all.by_ref().flat_map(|(wish, _)| wish));
                    }
                    self.give_up(wish, error);
                }
            }
        }
        // it was decided while its runs still waited for their own turn
        self.ahead.take_back();
    }

    fn give_up(&mut self, wishes: Vec<Wish>, error: Error) {
        // The batch may be stored all the same, with tasks that are leased or done.
        self.swept = false;
        let refused = is_refused(&error);
        let fault = Fault::from(error);
        if refused {
            self.store_refused(&fault);
        } else {
            self.stale = true;
            self.store_failed(&fault);
        }
        for wish in wishes {
            if let Some(run) = wish.run() {
                self.cache.forget(run);
            }
            wish.answer(Err(fault.clone()));
        }
    }

    async fn try_often(
        &mut self,
        wishes: &[Wish],
        claims: &[Claim],
        mut draft: Draft,
    ) -> Result<Draft, Error> {
        for _ in 0..CONFLICT_TRIES_MAX {
            match self.try_once(wishes, claims, std::mem::take(&mut draft)).await? {
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

    async fn try_once(
        &mut self,
        wishes: &[Wish],
        claims: &[Claim],
        draft: Draft,
    ) -> Result<Tried, Error> {
        let began = Instant::now();
        let mut opening = Opening::new(&self.tables);
        let decided = self.decide(&mut opening, wishes, claims, draft).await?;
        // What is stored is checked by its revision. What is refused or left as it is would be so by
        // what this process knows alone: another one may know better.
        if self.tables.is_shared() && !decided.asked && decided.leaves_runs() {
            return Ok(Tried::Unsure);
        }
        match self.put(opening, &decided).await {
            Ok(true) => {}
            // the next try asks which of them changed
            Ok(false) if self.tables.is_shared() => return Ok(Tried::Overtaken),
            other => {
                decided.works.keys().for_each(|run| self.cache.forget(*run));
                return other.map(|_| Tried::Overtaken);
            }
        }
        metric::STORE_COMMIT.record_in(&[], began.elapsed(), None);
        Ok(Tried::Done(decided))
    }

    /// Puts a batch into the store. What comes meanwhile is decided for the next one, as far as it
    /// is about other runs.
    async fn put(&mut self, opening: Opening, decided: &Draft) -> Result<bool, Error> {
        let (tables, writes) = (self.tables.clone(), decided.writes());
        let storing = tables.store(opening, &writes);
        tokio::pin!(storing);
        let waiting = self.ahead.later.iter().filter_map(Wish::run);
        let mut busy: HashSet<RunId> = decided.works.keys().copied().chain(waiting).collect();
        loop {
            tokio::select! {
                biased;
                stored = &mut storing => return stored,
                Some(op) = self.inbox.recv(), if self.ahead.len() < BATCH_MAX => {
                    if let Some(wish) = self.take_in(op) {
                        self.decide_ahead(wish, &mut busy);
                    }
                }
            }
        }
    }

    /// Decides a wish while other runs' batch is in the store, or leaves it for later, and with it
    /// what comes after it for the same run.
    fn decide_ahead(&mut self, wish: Wish, busy: &mut HashSet<RunId>) {
        if !self.can_be_ahead(&wish, busy) {
            busy.extend(wish.run());
            self.ahead.later.push(wish);
            return;
        }
        let mut ids = meta_runtime::new_id;
        let mut given = self.given(&mut ids);
        self.ahead.draft.decide(&wish, &self.options, &mut given);
        self.ahead.wishes.push(wish);
    }

    /// Whether all that a wish takes is at hand; its run is in the draft then.
    fn can_be_ahead(&mut self, wish: &Wish, busy: &HashSet<RunId>) -> bool {
        if wish.asks_the_store() {
            return false;
        }
        let Some(run) = wish.run() else { return true };
        if busy.contains(&run) {
            return false;
        }
        let draft = &mut self.ahead.draft;
        if !draft.works.contains_key(&run) {
            let Some(cached) = self.cache.get(run) else { return false };
            draft.put(run, cached);
        }
        true
    }

    fn given<'a>(&self, ids: &'a mut (dyn FnMut() -> Uuid + Send)) -> Given<'a> {
        Given { now: self.clock.now(), ids, lease_ms: self.options.lease_ms }
    }

    async fn decide(
        &mut self,
        opening: &mut Opening,
        wishes: &[Wish],
        claims: &[Claim],
        draft: Draft,
    ) -> Result<Draft, Error> {
        let mut draft = self.open(opening, wishes, claims, draft).await?;
        let mut ids = meta_runtime::new_id;
        let mut given = self.given(&mut ids);
        for wish in &wishes[draft.answers.len()..] {
            match self.earlier(opening, wish, &mut draft).await? {
                Some(first) => draft.answers.push(Ok(first)),
                None => draft.decide(wish, &self.options, &mut given),
            }
        }
        for claim in claims {
            draft.claim(claim, &mut given);
        }
        self.direct(&mut draft, &mut given);
        Ok(draft)
    }

    /// The run that was made for the same request before.
    async fn earlier(
        &self,
        opening: &mut Opening,
        wish: &Wish,
        draft: &mut Draft,
    ) -> Result<Option<RunId>, Error> {
        let What::Create { run, request_id: Some(request_id), .. } = &wish.what else {
            return Ok(None);
        };
        if let Some(first) = draft.of_request(run.tenant, request_id) {
            return Ok(Some(first));
        }
        let tx = opening.tx().await?;
        let Some(first) = of_request(tx, run.tenant, request_id).await? else { return Ok(None) };
        if !draft.works.contains_key(&first)
            && let Some(loaded) = load(tx, first, None).await?
        {
            draft.others.insert(first, Arc::new(loaded.run));
        }
        Ok(Some(first))
    }

    /// The runs of a batch as they are now, or as they were when this process stored or read them
    /// last: then they are stored only if nobody changed them since.
    async fn open(
        &self,
        opening: &mut Opening,
        wishes: &[Wish],
        claims: &[Claim],
        mut draft: Draft,
    ) -> Result<Draft, Error> {
        let fresh: BTreeSet<RunId> =
            wishes.iter().filter(|w| w.is_about_leases()).filter_map(Wish::run).collect();
        let ids: BTreeSet<RunId> =
            wishes.iter().filter_map(Wish::run).chain(claims.iter().map(|c| c.run)).collect();
        let known: HashMap<RunId, Cached> =
            ids.iter().filter_map(|id| self.cache.get(*id).map(|c| (*id, c))).collect();
        let asked = self.to_be_asked_for(&ids, &known, &fresh);
        if !asked.is_empty() || !fresh.is_empty() {
            // what was decided was so by memory alone
            draft = Draft::of_the_store();
        }
        let revs = match asked.as_slice() {
            [] => HashMap::new(),
            asked => lock(opening.tx().await?, asked).await?,
        };
        for id in ids {
            if draft.works.contains_key(&id) {
                continue;
            }
            let sure = |cached: &Cached| {
                let unchanged = !asked.contains(&id) || revs.get(&id) == Some(&cached.rev);
                unchanged && !fresh.contains(&id)
            };
            let cached = match known.get(&id) {
                Some(cached) if sure(cached) => cached.clone(),
                known => {
                    let known = known.map(|c| (*c.run).clone());
                    let tx = opening.tx().await?;
                    let Some(loaded) = load(tx, id, known).await? else { continue };
                    let (run, tasks) = (Arc::new(loaded.run), Arc::new(loaded.tasks));
                    Cached { run, rev: loaded.rev, tasks }
                }
            };
            draft.put(id, cached);
        }
        Ok(draft)
    }

    /// The runs that are to be locked and asked for their revisions. Where other processes change
    /// runs too that is all of a batch, once there is a transaction anyway or they were in the way
    /// lately; nobody but this process is likely to have changed the others.
    fn to_be_asked_for(
        &self,
        ids: &BTreeSet<RunId>,
        known: &HashMap<RunId, Cached>,
        fresh: &BTreeSet<RunId>,
    ) -> Vec<RunId> {
        let unknown = |id: &&RunId| !known.contains_key(*id);
        let all = self.tables.is_shared()
            && (self.careful > 0 || !fresh.is_empty() || ids.iter().any(|id| unknown(&id)));
        ids.iter().filter(|id| all || unknown(id)).copied().collect()
    }

    /// Leases what has just become ready to those who still wait, in the same transaction.
    fn direct(&self, draft: &mut Draft, given: &mut Given<'_>) {
        let mut room: Vec<(usize, usize)> = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let taken = draft.given.iter().filter(|(id, ..)| *id == slot.id).count();
            let left = slot.room_left().saturating_sub(taken);
            if left > 0 {
                room.push((at, left));
            }
        }
        if room.is_empty() {
            return;
        }
        let mut fresh = Ready::default();
        for work in draft.works.values().filter(|work| work.is_changed()) {
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
                if draft.claim(&claim, given) {
                    left -= 1;
                    if !next.internal {
                        *held.entry(next.tenant).or_default() += 1;
                    }
                }
            }
        }
    }

    fn finish(&mut self, wishes: Vec<Wish>, done: Draft) {
        let mut runs = done.others;
        for (id, work) in done.works {
            runs.insert(id, Arc::clone(&work.run));
            if work.is_changed() {
                super::telling::tell(&work);
                self.stored(work);
            }
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
