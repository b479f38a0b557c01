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
}

impl Ready {
    /// Notes a task; false when there is no room for it.
    pub fn put(&mut self, candidate: Candidate, now: Timestamp) -> bool {
        self.now = self.now.max(now);
        self.remove(candidate.task);
        if self.places.len() >= READY_MAX {
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
        true
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
    /// `limit` already; within a tenant the one of greatest priority that is due longest.
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
                found.map(|(turn, c)| (holds(tenant), *turn, c.task))
            };
        let (_, _, task) = self.queues.iter().filter_map(fits).min()?;
        let (key, turn) = self.places.get(&task)?.clone();
        let found = self.queues.get(&key)?.get(&turn)?.clone();
        self.remove(task);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn tenant(n: u128) -> TenantId {
        TenantId(Uuid::from_u128(n))
    }

    fn candidate(n: u128, of: u128) -> Candidate {
        Candidate {
            task: Uuid::from_u128(n).into(),
            run: None,
            tenant: tenant(of),
            internal: false,
            labels: String::new(),
            avoid: String::new(),
            tries: 0,
            priority: 0,
            due: Timestamp(1),
        }
    }

    fn offer() -> Offer {
        Offer {
            owner: "r".to_owned(),
            internal: false,
            only: None,
            labels: Vec::new(),
            others: false,
        }
    }

    fn ready(candidates: impl IntoIterator<Item = Candidate>) -> Ready {
        let mut ready = Ready::default();
        for candidate in candidates {
            assert!(ready.put(candidate, Timestamp(5)));
        }
        ready
    }

    /// Takes until nothing is left, each taken task being held from then on.
    fn drain(mut ready: Ready, offer: &Offer, held: &[(u128, u32)], limit: u32) -> Vec<u128> {
        let mut held: HashMap<_, _> = held.iter().map(|(n, h)| (tenant(*n), *h)).collect();
        let mut taken = Vec::new();
        while let Some(next) = ready.take(offer, &held, limit) {
            *held.entry(next.tenant).or_default() += 1;
            taken.push(next.task.0.as_u128());
        }
        taken
    }

    #[test]
    fn the_tenant_that_holds_the_fewest_is_next() {
        let all =
            || ready((0..4).map(|n| candidate(n, 1)).chain((20..22).map(|n| candidate(n, 2))));
        assert_eq!(drain(all(), &offer(), &[], 100), [0, 20, 1, 21, 2, 3]);
        assert_eq!(drain(all(), &offer(), &[(1, 2)], 100), [20, 21, 0, 1, 2, 3]);
        assert_eq!(drain(all(), &offer(), &[], 1), [0, 20]);
    }

    #[test]
    fn the_greater_priority_goes_first_then_what_is_due_longest() {
        let first = Candidate { priority: 5, ..candidate(3, 1) };
        let oldest = Candidate { due: Timestamp(0), ..candidate(2, 1) };
        let all = ready([candidate(1, 1), oldest, first]);
        assert_eq!(drain(all, &offer(), &[], 100), [3, 2, 1]);
    }

    #[test]
    fn a_runner_takes_only_what_it_offers() {
        let gpu = Candidate { labels: "gpu,linux".to_owned(), ..candidate(1, 1) };
        let all = || ready([gpu.clone(), candidate(2, 1)]);
        assert_eq!(drain(all(), &offer(), &[], 100), [2]);
        let labels = vec!["linux".to_owned(), "gpu".to_owned(), "big".to_owned()];
        assert_eq!(drain(all(), &Offer { labels, ..offer() }, &[], 100), [1, 2]);
    }

    #[test]
    fn a_task_that_was_moved_away_goes_to_another_runner_where_there_is_one() {
        let moved = Candidate { avoid: "r".to_owned(), ..candidate(1, 1) };
        let others = Offer { others: true, ..offer() };
        assert_eq!(drain(ready([moved.clone()]), &others, &[], 100), [] as [u128; 0]);
        assert_eq!(drain(ready([moved.clone()]), &offer(), &[], 100), [1]);
        let again = Candidate { tries: 1, ..moved };
        assert_eq!(drain(ready([again]), &others, &[], 100), [1]);
    }

    #[test]
    fn a_task_that_was_moved_away_does_not_wait_for_another_runner_for_ever() {
        let others = Offer { others: true, ..offer() };
        let mut all = ready([Candidate { avoid: "r".to_owned(), ..candidate(1, 1) }]);
        assert!(!all.has(&others));
        all.ripen(Timestamp(1 + 10_000));
        assert!(all.take(&others, &HashMap::new(), 9).is_some());
    }

    #[test]
    fn what_is_not_due_waits_for_its_time() {
        let mut all = ready([Candidate { due: Timestamp(9), ..candidate(1, 1) }]);
        assert_eq!(all.next_due(), Some(Timestamp(9)));
        assert_eq!(all.take(&offer(), &HashMap::new(), 9), None);
        all.ripen(Timestamp(9));
        assert_eq!(all.next_due(), None);
        assert!(all.take(&offer(), &HashMap::new(), 9).is_some());
    }

    #[test]
    fn a_task_is_there_once() {
        let mut all = ready([candidate(1, 1), Candidate { due: Timestamp(0), ..candidate(1, 1) }]);
        assert!(all.take(&offer(), &HashMap::new(), 9).is_some());
        assert!(all.take(&offer(), &HashMap::new(), 9).is_none());
        all.put(candidate(2, 1), Timestamp(5));
        all.remove(candidate(2, 1).task);
        assert!(all.take(&offer(), &HashMap::new(), 9).is_none());
    }
}
