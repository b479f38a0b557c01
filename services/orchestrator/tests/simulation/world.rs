//! One world: processes, the messages between them, and a single line of time.

use super::checks::Checks;
use super::client::Client;
use super::faults::{Call, Fate, Faults};
use super::random::Random;
use super::replica::Replica;
use super::runner::{Parcel, Runner};
use super::store::Store;
use super::trace::Trace;
use meta_domain::fault::{ErrorKind, Fault};
use meta_domain::id::{RunId, TaskId, TenantId};
use meta_domain::time::Timestamp;
use orchestrator::core::queue::Task;
use orchestrator::core::ready::Offer;
use orchestrator::core::run::Run;
use orchestrator::core::transition::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a lease holds without a heartbeat, in milliseconds.
pub const LEASE_MS: i64 = 5_000;
/// When faults stop in the liveness mode, and when the safety mode ends, in milliseconds.
const CALM_AT_MS: i64 = 45_000;
/// How long the remaining work may take once faults have stopped, in milliseconds: each run may
/// have six attempts left, each with a backoff of 3 s and lost messages before.
const REST_AT_MS: i64 = CALM_AT_MS + 150_000;
/// Time of the store when the world begins, in milliseconds.
const START_MS: i64 = 1_000_000;

/// Whether faults stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They never do: nothing wrong may ever be seen.
    Safety,
    /// They do, and everything must come to rest.
    Liveness,
}

/// A process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// An orchestrator.
    Replica(usize),
    /// A runner.
    Runner(usize),
    /// Somebody who starts runs and decides gates.
    Client(usize),
}

/// What is asked of an orchestrator.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Make a run, once for each request id.
    Create(Box<Run>, String),
    /// Change a run.
    Advance(RunId, Box<Input>),
    /// Show a run.
    Read(RunId),
    /// Give tasks.
    Poll(Offer, usize),
    /// Renew leases.
    Beat(Vec<(TaskId, i64)>),
    /// Take a result.
    Complete(Box<Parcel>),
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The run.
    Run(Result<Arc<Run>, Fault>),
    /// Tasks, leased.
    Tasks(Vec<Task>),
    /// Leases that do not hold.
    Lost(Vec<(TaskId, i64)>),
    /// Whether the result is stored.
    Done(Result<(), Fault>),
}

/// A message.
#[derive(Debug, Clone)]
pub enum Message {
    /// To an orchestrator: from whom, and the number of the call.
    Ask(Node, u64, Ask),
    /// From an orchestrator.
    Answer(u64, Answer),
}

/// What a process wanted to be woken for.
#[derive(Debug, Clone, Copy)]
pub enum Timer {
    /// An orchestrator looks what there is to do.
    Round,
    /// Its transaction ends.
    Commit,
    /// It looks for leases that are over.
    Sweep,
    /// One of its own tasks is done.
    Job(TaskId, i64),
    /// It renews the leases of its own tasks; a runner renews its.
    Beat,
    /// A runner asks for work; a client does something.
    Act,
    /// A runner's task is done.
    Made(TaskId, i64),
    /// An answer did not come.
    Again(u64),
}

enum Happening {
    Arrives(Node, Message),
    Timer(Node, u32, Timer),
    Blow,
    Restart(Node),
    Calm,
}

/// See the module.
pub struct World {
    /// Now, in milliseconds by the store's clock.
    pub now: i64,
    /// Chance.
    pub random: Random,
    /// The tables.
    pub store: Store,
    /// What goes wrong.
    pub faults: Faults,
    /// What happened.
    pub trace: Trace,
    /// What must hold.
    pub checks: Checks,
    /// Orchestrators.
    pub replicas: Vec<Replica>,
    /// Runners.
    pub runners: Vec<Runner>,
    /// Clients.
    pub clients: Vec<Client>,
    /// Everybody who has runs.
    pub tenants: Vec<TenantId>,
    /// Runs that a client was told of.
    pub known: Vec<RunId>,
    /// One orchestrator has the tables for itself and trusts its memory.
    pub alone: bool,
    /// A restarted orchestrator knows that the runners are dead as well.
    pub own_leases: bool,
    /// Tasks of one tenant that runners hold at once.
    pub tenant_tasks_max: u32,
    /// The first thing that must not be.
    pub wrong: Option<String>,
    mode: Mode,
    agenda: BTreeMap<(i64, u64), Happening>,
    numbers: u64,
    cut_off: BTreeMap<Node, i64>,
    store_away_until: i64,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, mode: Mode) -> Self {
        let mut random = Random::new(seed);
        let faults = Faults::new(&mut random);
        let alone = random.chance(300);
        let replicas = if alone { 1 } else { 2 + random.below(2) };
        let (runners, clients) = (1 + random.below(3), 3);
        let tenants = vec![random.id().into(), random.id().into()];
        let mut world = Self {
            now: START_MS,
            store: Store::default(),
            faults,
            trace: Trace::default(),
            checks: Checks::default(),
            replicas: (0..replicas).map(|_| Replica::default()).collect(),
            runners: (0..runners).map(Runner::new).collect(),
            clients: (0..clients).map(|_| Client::default()).collect(),
            tenants,
            known: Vec::new(),
            alone,
            own_leases: alone && random.chance(500),
            tenant_tasks_max: u32::try_from(random.between(1, 6)).unwrap_or(1),
            wrong: None,
            mode,
            agenda: BTreeMap::new(),
            numbers: 0,
            cut_off: BTreeMap::new(),
            store_away_until: 0,
            random,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let all = (0..self.replicas.len())
            .map(Node::Replica)
            .chain((0..self.runners.len()).map(Node::Runner))
            .chain((0..self.clients.len()).map(Node::Client));
        for node in all.collect::<Vec<_>>() {
            self.restart(node);
        }
        self.plan(self.faults.blow_every, Happening::Blow);
        self.plan(CALM_AT_MS, Happening::Calm);
    }

    /// Lives through it. Answers what was wrong.
    pub fn live(&mut self) -> Result<(), String> {
        let end = START_MS + if self.mode == Mode::Safety { CALM_AT_MS } else { REST_AT_MS };
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.happens(happening);
            if let Some(wrong) = self.wrong.take() {
                return Err(wrong);
            }
            if self.mode == Mode::Liveness && at > START_MS + CALM_AT_MS && self.is_at_rest() {
                break;
            }
        }
        self.checks.at_the_end(&self.store)?;
        if self.mode == Mode::Liveness {
            self.checks.at_rest(&self.store, self.time())?;
            if let Some(client) = self.clients.iter().find(|c| c.waits_for_a_run()) {
                return Err(format!("I11: a request is not answered: {client:?}"));
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        self.checks.at_rest(&self.store, self.time()).is_ok()
            && !self.clients.iter().any(Client::waits_for_a_run)
            && self.runners.iter().all(Runner::is_idle)
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(to, message) => {
                let until = self.paused_until(to);
                if until > self.now {
                    self.plan(until - self.now, Happening::Arrives(to, message));
                } else if self.is_alive(to) {
                    self.arrives(to, message);
                }
            }
            Happening::Timer(node, boot, timer) => {
                let until = self.paused_until(node);
                if self.boot(node) != boot || !self.is_alive(node) {
                    return;
                }
                if until > self.now {
                    self.plan(until - self.now, Happening::Timer(node, boot, timer));
                } else {
                    self.wakes(node, timer);
                }
            }
            Happening::Blow if self.faults.on => {
                self.blow();
                let next = self.faults.blow_every + self.random.between(0, 1_000);
                self.plan(next, Happening::Blow);
            }
            Happening::Blow => {}
            Happening::Restart(node) => self.restart(node),
            Happening::Calm => self.calm(),
        }
    }

    fn arrives(&mut self, to: Node, message: Message) {
        match (to, message) {
            (Node::Replica(at), Message::Ask(from, call, ask)) => self.asked(at, from, call, ask),
            (Node::Runner(at), Message::Answer(call, answer)) => {
                self.runner_answered(at, call, answer);
            }
            (Node::Client(at), Message::Answer(call, answer)) => {
                self.client_answered(at, call, answer);
            }
            (_, _) => {}
        }
    }

    fn wakes(&mut self, node: Node, timer: Timer) {
        match node {
            Node::Replica(at) => self.replica_wakes(at, timer),
            Node::Runner(at) => self.runner_wakes(at, timer),
            Node::Client(at) => self.client_wakes(at, timer),
        }
    }

    /// Something bad happens to somebody.
    fn blow(&mut self) {
        let replica = Node::Replica(self.random.below(self.replicas.len()));
        let runner = Node::Runner(self.random.below(self.runners.len()));
        let either = *self.random.pick(&[replica, runner]);
        let long = self.random.between(100, 3 * LEASE_MS);
        match self.random.below(7) {
            0 => self.kill(replica),
            1 => self.kill(runner),
            2 => {
                self.trace.say(self.now, format_args!("{either:?} pauses for {long}"));
                self.pause(either, self.now + long);
            }
            3 => {
                self.trace.say(self.now, format_args!("{either:?} is cut off for {long}"));
                self.cut_off.insert(either, self.now + long);
            }
            4 => {
                let away = self.random.between(50, 2_000);
                self.trace.say(self.now, format_args!("the store is away for {away}"));
                self.store_away_until = self.now + away;
            }
            _ => {
                let jump = self.random.between(-3_600_000, 3_600_000);
                self.trace.say(self.now, format_args!("the clock of {replica:?} jumps by {jump}"));
                if let Node::Replica(at) = replica {
                    self.replicas[at].wall_ms += jump;
                }
            }
        }
    }

    /// A process dies, and starts again later. Where an orchestrator knows the runners to be dead
    /// with it, they are.
    pub fn kill(&mut self, node: Node) {
        if !self.is_alive(node) {
            return;
        }
        self.trace.say(self.now, format_args!("{node:?} dies"));
        let after = self.random.between(50, 4_000);
        match node {
            Node::Replica(at) => {
                self.dying(at);
                self.replicas[at].dies();
            }
            Node::Runner(at) => self.runners[at].dies(),
            Node::Client(_) => return,
        }
        self.plan(after, Happening::Restart(node));
        if self.own_leases && matches!(node, Node::Replica(_)) {
            (0..self.runners.len()).for_each(|at| self.kill(Node::Runner(at)));
        }
    }

    fn restart(&mut self, node: Node) {
        if self.is_alive(node) {
            return;
        }
        match node {
            Node::Replica(at) => self.replica_starts(at),
            Node::Runner(at) => self.runner_starts(at),
            Node::Client(at) => self.client_starts(at),
        }
    }

    fn calm(&mut self) {
        self.trace.say(self.now, "faults stop");
        self.faults.on = false;
        self.cut_off.clear();
        self.store_away_until = 0;
        for at in 0..self.replicas.len() {
            self.pause(Node::Replica(at), 0);
        }
        for at in 0..self.runners.len() {
            self.pause(Node::Runner(at), 0);
        }
    }

    /// The store's clock.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Whether faults still happen.
    pub fn is_stormy(&self) -> bool {
        self.faults.on
    }

    /// Notes the first thing that must not be.
    pub fn check(&mut self, verdict: Result<(), String>) {
        if let Err(wrong) = verdict {
            self.wrong.get_or_insert(wrong);
        }
    }

    /// What becomes of a call of the store.
    pub fn call_store(&mut self) -> Call {
        if self.now < self.store_away_until {
            return Call::FailsBefore;
        }
        self.faults.call(&mut self.random)
    }

    /// A number never given before.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Wakes a process later.
    pub fn wake(&mut self, node: Node, after: i64, timer: Timer) {
        let boot = self.boot(node);
        self.plan(after, Happening::Timer(node, boot, timer));
    }

    /// Sends a message.
    pub fn send(&mut self, from: Node, to: Node, message: Message) {
        let cut = |node: &Node| self.cut_off.get(node).is_some_and(|until| *until > self.now);
        if cut(&from) || cut(&to) {
            return;
        }
        match self.faults.message(&mut self.random) {
            Fate::Lost => {}
            Fate::Arrives(after) => self.plan(after, Happening::Arrives(to, message)),
            Fate::Doubled(first, second) => {
                self.plan(first, Happening::Arrives(to, message.clone()));
                self.plan(second, Happening::Arrives(to, message));
            }
        }
    }

    /// One of the orchestrators, as far as a caller knows.
    pub fn some_replica(&mut self) -> Node {
        Node::Replica(self.random.below(self.replicas.len()))
    }

    fn plan(&mut self, after: i64, happening: Happening) {
        let number = self.number();
        self.agenda.insert((self.now + after, number), happening);
    }

    fn boot(&self, node: Node) -> u32 {
        match node {
            Node::Replica(at) => self.replicas[at].boot,
            Node::Runner(at) => self.runners[at].boot,
            Node::Client(_) => 0,
        }
    }

    fn is_alive(&self, node: Node) -> bool {
        match node {
            Node::Replica(at) => self.replicas[at].alive,
            Node::Runner(at) => self.runners[at].alive,
            Node::Client(at) => self.clients[at].alive,
        }
    }

    fn paused_until(&self, node: Node) -> i64 {
        match node {
            Node::Replica(at) => self.replicas[at].paused_until,
            Node::Runner(at) => self.runners[at].paused_until,
            Node::Client(_) => 0,
        }
    }

    fn pause(&mut self, node: Node, until: i64) {
        match node {
            Node::Replica(at) => self.replicas[at].paused_until = until,
            Node::Runner(at) => self.runners[at].paused_until = until,
            Node::Client(_) => {}
        }
    }

    /// The runners that somebody could be.
    pub fn names(&self) -> BTreeSet<String> {
        self.runners.iter().filter(|r| r.alive).map(Runner::name).collect()
    }
}

/// The store did not answer.
pub fn store_failed() -> Fault {
    Fault::new(ErrorKind::Unavailable, "STORE_UNREACHABLE", "the store cannot be reached")
}
