//! Runners: lease, execute, renew, report; killed, or paused beyond their leases.

use super::cases::{Made, made};
use super::trace::RUN_MARK;
use super::world::{Answer, Ask, LEASE_MS, Message, Node, Timer, World};
use meta_domain::fault::Fault;
use meta_domain::id::{RunId, TaskId};
use orchestrator::core::queue::Task;
use orchestrator::core::ready::Offer;
use orchestrator::core::transition::Input;
use std::collections::{BTreeMap, BTreeSet};

/// How often a lease is renewed within its time.
const BEATS: i64 = 3;
/// How long a runner waits for an answer, in milliseconds.
const ANSWER_MS: i64 = 1_000;
/// Tasks that one runner executes at once.
const ROOM: usize = 3;

/// A result on its way.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The task.
    pub task: TaskId,
    /// The epoch of its lease.
    pub epoch: i64,
    /// Its run.
    pub run: Option<RunId>,
    /// What came of it; nothing when another runner may fare better.
    pub input: Option<Box<Input>>,
    /// How the result can be told from any other.
    pub mark: Option<String>,
}

#[derive(Debug)]
struct AtWork {
    task: Task,
    made: Made,
    stopped: bool,
}

/// One runner.
#[derive(Debug)]
pub struct Runner {
    /// Which of its processes this is.
    pub boot: u32,
    /// It lives.
    pub alive: bool,
    /// It does nothing before.
    pub paused_until: i64,
    number: usize,
    at_work: BTreeMap<(TaskId, i64), AtWork>,
    reports: BTreeMap<u64, Parcel>,
    polling: Option<u64>,
    seen: BTreeSet<(TaskId, i64)>,
}

impl Runner {
    /// A runner that has not started.
    pub fn new(number: usize) -> Self {
        Self {
            boot: 0,
            alive: false,
            paused_until: 0,
            number,
            at_work: BTreeMap::new(),
            reports: BTreeMap::new(),
            polling: None,
            seen: BTreeSet::new(),
        }
    }

    /// What it calls itself.
    pub fn name(&self) -> String {
        format!("runner-{}-{}", self.number, self.boot)
    }

    /// Whether it has nothing to do or to report.
    pub fn is_idle(&self) -> bool {
        self.at_work.is_empty() && self.reports.is_empty()
    }

    /// It is gone, with all it had.
    pub fn dies(&mut self) {
        *self = Self { boot: self.boot + 1, ..Self::new(self.number) };
    }

    fn labels(&self) -> Vec<String> {
        if self.number == 0 { vec!["gpu".to_owned()] } else { Vec::new() }
    }
}

impl World {
    pub(super) fn runner_starts(&mut self, at: usize) {
        self.runners[at].alive = true;
        let node = Node::Runner(at);
        let soon = self.random.between(0, 50);
        self.wake(node, soon, Timer::Act);
        self.wake(node, LEASE_MS / BEATS, Timer::Beat);
    }

    pub(super) fn runner_wakes(&mut self, at: usize, timer: Timer) {
        let node = Node::Runner(at);
        match timer {
            Timer::Act => {
                self.runner_polls(at);
                let after = self.random.between(20, 200);
                self.wake(node, after, Timer::Act);
            }
            Timer::Beat => {
                let runner = &self.runners[at];
                let working = runner.at_work.keys().copied();
                let reporting = runner.reports.values().map(|p| (p.task, p.epoch));
                let leases: Vec<_> = working.chain(reporting).collect();
                if !leases.is_empty() {
                    self.ask(node, Ask::Beat(leases));
                }
                self.wake(node, LEASE_MS / BEATS, Timer::Beat);
            }
            Timer::Made(task, epoch) => self.runner_made(at, (task, epoch)),
            Timer::Again(call) => {
                let runner = &mut self.runners[at];
                if runner.polling == Some(call) {
                    runner.polling = None;
                } else if let Some(parcel) = runner.reports.remove(&call) {
                    self.report(at, parcel);
                }
            }
            _ => {}
        }
    }

    fn runner_polls(&mut self, at: usize) {
        let runner = &self.runners[at];
        let room = ROOM.saturating_sub(runner.at_work.len());
        if room == 0 || runner.polling.is_some() {
            return;
        }
        let others = self.names().len() > 1;
        let offer = Offer {
            owner: runner.name(),
            internal: false,
            only: None,
            labels: runner.labels(),
            others,
        };
        let call = self.ask(Node::Runner(at), Ask::Poll(offer, room));
        self.runners[at].polling = Some(call);
        self.wake(Node::Runner(at), 2 * ANSWER_MS, Timer::Again(call));
    }

    /// Sends a question to some orchestrator; answers the number of the call.
    pub(super) fn ask(&mut self, from: Node, ask: Ask) -> u64 {
        let (call, to) = (self.number(), self.some_replica());
        self.send(from, to, Message::Ask(from, call, ask));
        call
    }

    pub(super) fn runner_answered(&mut self, at: usize, call: u64, answer: Answer) {
        match answer {
            Answer::Tasks(tasks) => {
                let runner = &mut self.runners[at];
                if runner.polling == Some(call) {
                    runner.polling = None;
                }
                for task in tasks {
                    self.runner_begins(at, task);
                }
            }
            Answer::Lost(lost) => {
                let runner = &mut self.runners[at];
                for (_, work) in runner.at_work.iter_mut().filter(|(k, _)| lost.contains(k)) {
                    work.stopped = true;
                }
            }
            Answer::Done(result) => self.runner_reported(at, call, result),
            Answer::Run(_) => {}
        }
    }

    fn runner_begins(&mut self, at: usize, task: Task) {
        let key = (task.id, task.epoch);
        // A message that arrives twice is one lease; one for a process before this is not its own.
        let runner = &mut self.runners[at];
        if task.owner != runner.name() || !runner.seen.insert(key) {
            return;
        }
        let nonce = self.number();
        let run = task.run.map(|r| r.to_string()).unwrap_or_default();
        self.trace.say(
            self.now,
            format_args!(
                "Runner({at}) begins {} {} {}.{} as {nonce} {RUN_MARK}{run}",
                task.kind, task.step, task.id, task.epoch
            ),
        );
        let verdict = self.checks.begins(&task, nonce);
        self.check(verdict);
        let made = made(&mut self.random, &task, nonce);
        let takes = if self.random.chance(60) {
            self.random.between(500, 2 * LEASE_MS)
        } else {
            self.random.between(5, 300)
        };
        self.wake(Node::Runner(at), takes, Timer::Made(key.0, key.1));
        self.runners[at].at_work.insert(key, AtWork { task, made, stopped: false });
    }

    fn runner_made(&mut self, at: usize, key: (TaskId, i64)) {
        let Some(AtWork { task, made, stopped }) = self.runners[at].at_work.remove(&key) else {
            return;
        };
        let (task_id, epoch, run) = (task.id, task.epoch, task.run);
        let (input, mark) = match made {
            // It was told to stop, and says that it has.
            _ if stopped => {
                let message = "stopped".to_owned();
                let input = Input::TaskFailed { kind: task.kind, step: task.step, message };
                (Some(Box::new(input)), None)
            }
            Made::Result(input, mark) => (Some(input), mark),
            Made::NotNow => (None, None),
        };
        self.report(at, Parcel { task: task_id, epoch, run, input, mark });
    }

    fn report(&mut self, at: usize, parcel: Parcel) {
        let node = Node::Runner(at);
        let call = self.ask(node, Ask::Complete(Box::new(parcel.clone())));
        self.runners[at].reports.insert(call, parcel);
        self.wake(node, ANSWER_MS, Timer::Again(call));
    }

    fn runner_reported(&mut self, at: usize, call: u64, result: Result<(), Fault>) {
        if matches!(&result, Err(fault) if fault.kind.is_transient()) {
            // It is sent again when its time is over.
            return;
        }
        let Some(parcel) = self.runners[at].reports.remove(&call) else { return };
        match (result, parcel.run) {
            (Ok(()), Some(run)) => self.checks.stored(run, parcel.mark),
            (Ok(()), None) => {}
            (Err(fault), _) => {
                self.checks.counts.refused += 1;
                let run = parcel.run.map(|r| r.to_string()).unwrap_or_default();
                self.trace.say(
                    self.now,
                    format_args!(
                        "Runner({at}) is refused {}.{}: {fault} {RUN_MARK}{run}",
                        parcel.task, parcel.epoch
                    ),
                );
            }
        }
    }
}
