//! The tasks that could be leased, as far as this process knows, and whose turn it is.
//!
//! What is here may be out of date: a lease is taken under the run's lock, which knows better.

use super::queue::{Task, TaskState};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Tasks kept in memory; above it they are read from the tables when it is their turn.
const READY_MAX: usize = 100_000;
/// Tenants whose last turns are remembered; without one a tenant's is taken to be long ago.
const TURNS_MAX: usize = 10_000;
/// How long a task that is due waits for another runner than the one it avoids, in milliseconds:
/// the others may be busy for long, or lack what it needs.
const AVOID_MS_MAX: u64 = 10_000;

/// A task that could be leased, as far as choosing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub task: TaskId,
    /// Of which run, if of one.
    pub run: Option<RunId>,
    /// Whose.
    pub tenant: TenantId,
    /// The orchestrator's own, or a runner's.
    pub internal: bool,
    /// What a runner has to offer, joined by commas.
    pub labels: String,
    /// Rather not on this runner.
    pub avoid: String,
    /// How often it was leased.
    pub tries: i64,
    /// The greater goes first.
    pub priority: i32,
    /// Not before.
    pub due: Timestamp,
}

impl Candidate {
    /// Of a task that nobody holds and nothing is in the way of.
    pub fn of(task: &Task) -> Option<Self> {
        (task.state == TaskState::Ready).then(|| Self {
            task: task.id,
            run: task.run,
            tenant: task.tenant,
            internal: task.kind.is_internal(),
            labels: task.labels.clone(),
            avoid: task.avoid.clone(),
            tries: task.tries,
            priority: task.priority,
            due: task.due,
        })
    }
}

/// Who asks for a task, and which would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The lease's owner.
    pub owner: String,
    /// The orchestrator's own tasks, or a runner's.
    pub internal: bool,
    /// Only this run's (and what belongs to no run).
    pub only: Option<RunId>,
    /// What the runner offers.
    pub labels: Vec<String>,
    /// Other runners are there, for tasks that rather not go to this one.
    pub others: bool,
}

impl Offer {
    fn offers(&self, labels: &str) -> bool {
        labels.split(',').filter(|l| !l.is_empty()).all(|l| self.labels.iter().any(|o| o == l))
    }

    fn takes(&self, candidate: &Candidate, now: Timestamp) -> bool {
        let elsewhere = self.others
            && candidate.tries == 0
            && candidate.avoid == self.owner
            && now.since_ms(candidate.due) < AVOID_MS_MAX;
        let other_run =
            self.only.is_some() && candidate.run.is_some() && candidate.run != self.only;
        !elsewhere && !other_run
    }
}

type QueueKey = (bool, TenantId, String);
type Turn = (Reverse<i32>, Timestamp, TaskId);

/// The tasks that could be leased.
#[derive(Debug, Default)]
pub struct Ready {
    queues: BTreeMap<QueueKey, BTreeMap<Turn, Candidate>>,
    later: BTreeMap<(Timestamp, TaskId), Candidate>,
    places: HashMap<TaskId, (QueueKey, Turn)>,
    /// When this was looked at last.
    now: Timestamp,
    /// Which turn each tenant had last; those with no task may be missing.
    turns: HashMap<TenantId, u64>,
    /// How many turns there were.
    turns_had: u64,
}

impl Ready {
    /// Notes a task; false when there was no room for it, or another one had to go for it.
    pub fn put(&mut self, candidate: Candidate, now: Timestamp) -> bool {
        self.now = self.now.max(now);
        self.remove(candidate.task);
        let full = self.places.len() >= READY_MAX;
        if full && !self.make_room(candidate.tenant) {
            return false;
        }
        let queue = (candidate.internal, candidate.tenant, candidate.labels.clone());
        let turn = (Reverse(candidate.priority), candidate.due, candidate.task);
        self.places.insert(candidate.task, (queue.clone(), turn));
        if candidate.due > now {
            self.later.insert((candidate.due, candidate.task), candidate);
        } else {
            self.queues.entry(queue).or_default().insert(turn, candidate);
        }
        !full
    }

    /// Forgets the last task of the longest queue, unless that is the tenant's own: whoever has very
    /// many tasks keeps nobody else's out.
    fn make_room(&mut self, tenant: TenantId) -> bool {
        let longest = self.queues.iter().max_by_key(|(_, queue)| queue.len());
        let last = longest
            .filter(|((_, of, _), queue)| *of != tenant && queue.len() > 1)
            .and_then(|(_, queue)| queue.last_key_value())
            .map(|(_, candidate)| candidate.task);
        last.inspect(|task| self.remove(*task)).is_some()
    }

    /// Forgets a task.
    pub fn remove(&mut self, task: TaskId) {
        let Some((key, turn)) = self.places.remove(&task) else { return };
        if self.later.remove(&(turn.1, task)).is_some() {
            return;
        }
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.remove(&turn);
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
    }

    /// When the next task's time comes.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.keys().next().map(|(due, _)| *due)
    }

    /// Puts those whose time has come into their queues.
    pub fn ripen(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let candidate = entry.remove();
            let queue = (candidate.internal, candidate.tenant, candidate.labels.clone());
            let turn = (Reverse(candidate.priority), candidate.due, candidate.task);
            self.queues.entry(queue).or_default().insert(turn, candidate);
        }
    }

    /// Whether there is a task for this offer, as far as its labels go.
    pub fn has(&self, offer: &Offer) -> bool {
        let fits =
            |(internal, _, labels): &QueueKey| *internal == offer.internal && offer.offers(labels);
        self.queues.iter().any(|(key, q)| fits(key) && q.values().any(|c| offer.takes(c, self.now)))
    }

    /// Takes the task whose turn it is: of the tenant that holds the fewest, and of none that holds
    /// `limit` already; among those that hold as many, of the one whose last turn is longest ago;
    /// within a tenant the one of greatest priority that is due longest.
    pub fn take(
        &mut self,
        offer: &Offer,
        held: &HashMap<TenantId, u32>,
        limit: u32,
    ) -> Option<Candidate> {
        let holds = |tenant: &TenantId| held.get(tenant).copied().unwrap_or(0);
        let fits =
            |((internal, tenant, labels), queue): (&QueueKey, &BTreeMap<Turn, Candidate>)| {
                let open = *internal == offer.internal
                    && (offer.internal || holds(tenant) < limit)
                    && offer.offers(labels);
                let found = queue.iter().find(|(_, c)| open && offer.takes(c, self.now));
                let last = self.turns.get(tenant).copied().unwrap_or(0);
                found.map(|(turn, c)| (holds(tenant), last, *turn, c.task))
            };
        let (.., task) = self.queues.iter().filter_map(fits).min()?;
        let (key, turn) = self.places.get(&task)?.clone();
        let found = self.queues.get(&key)?.get(&turn)?.clone();
        self.remove(task);
        self.had_a_turn(found.tenant);
        Some(found)
    }

    /// Takes the task of a run whose time comes first, until `soon`.
    pub fn take_early(
        &mut self,
        offer: &Offer,
        held: &HashMap<TenantId, u32>,
        limit: u32,
        soon: Timestamp,
    ) -> Option<Candidate> {
        let open =
            |tenant: &TenantId| offer.internal || held.get(tenant).copied().unwrap_or(0) < limit;
        let fits = |c: &&Candidate| {
            c.run.is_some()
                && c.internal == offer.internal
                && offer.offers(&c.labels)
                && offer.takes(c, c.due)
                && open(&c.tenant)
        };
        let found = self.later.values().take_while(|c| c.due <= soon).find(fits)?.clone();
        self.remove(found.task);
        self.had_a_turn(found.tenant);
        Some(found)
    }

    fn had_a_turn(&mut self, tenant: TenantId) {
        self.turns_had += 1;
        self.turns.insert(tenant, self.turns_had);
        if self.turns.len() > TURNS_MAX {
            let oldest = self.turns_had.saturating_sub(TURNS_MAX as u64 / 2);
            self.turns.retain(|_, turn| *turn > oldest);
        }
    }
}

#[cfg(test)]
mod tests;
