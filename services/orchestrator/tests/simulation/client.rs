//! Clients: start runs with request ids, lose answers and ask again, cancel, send on, take back,
//! and decide gates, several of them at once.

use super::cases;
use super::world::{Answer, Ask, Message, Node, Timer, World};
use meta_domain::gate::GateStatus;
use meta_domain::id::{GateId, RunId, TenantId};
use orchestrator::core::transition::Input;
use std::collections::BTreeMap;

/// How long a client waits for an answer, in milliseconds.
const ANSWER_MS: i64 = 700;
/// How often a client asks again for what is no new run.
const TRIES_MAX: u32 = 4;
/// Runs that one client starts.
const RUNS_MAX: u32 = 4;

/// What an answer is for.
#[derive(Debug, Clone)]
enum Purpose {
    Create(TenantId, String),
    Decide(GateId, String),
    Cancel(RunId, String),
    Other,
}

#[derive(Debug, Clone)]
struct Waiting {
    ask: Ask,
    purpose: Purpose,
    tries: u32,
}

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    /// It is there.
    pub alive: bool,
    started: u32,
    waiting: BTreeMap<u64, Waiting>,
}

impl Client {
    /// Whether it has not been told of a run that it asked for.
    pub fn waits_for_a_run(&self) -> bool {
        self.waiting.values().any(|w| matches!(w.purpose, Purpose::Create(..)))
    }
}

impl World {
    pub(super) fn client_starts(&mut self, at: usize) {
        self.clients[at].alive = true;
        self.wake(Node::Client(at), 10, Timer::Act);
    }

    pub(super) fn client_wakes(&mut self, at: usize, timer: Timer) {
        match timer {
            Timer::Act if self.is_stormy() => {
                self.client_acts(at);
                let after = self.random.between(100, 1_500);
                self.wake(Node::Client(at), after, Timer::Act);
            }
            Timer::Again(call) => {
                let Some(mut waiting) = self.clients[at].waiting.remove(&call) else { return };
                waiting.tries += 1;
                if matches!(waiting.purpose, Purpose::Create(..)) || waiting.tries < TRIES_MAX {
                    self.client_asks(at, call, waiting);
                }
            }
            _ => {}
        }
    }

    fn client_acts(&mut self, at: usize) {
        let new = self.clients[at].started < RUNS_MAX && self.random.chance(400);
        if new {
            self.clients[at].started += 1;
            let tenant = *self.random.pick(&self.tenants);
            let request = format!("request-{at}-{}", self.clients[at].started);
            self.asks_for_a_run(at, tenant, request);
            return;
        }
        if self.known.is_empty() {
            return;
        }
        let run = *self.random.pick(&self.known);
        let actor = format!("client-{at}-{}", self.number());
        let (ask, purpose) = match self.random.below(40) {
            0 => {
                let input = Input::Cancel { actor: actor.clone() };
                (Ask::Advance(run, Box::new(input)), Purpose::Cancel(run, actor))
            }
            1..=4 => (Ask::Advance(run, Box::new(Input::Retry { actor })), Purpose::Other),
            5 | 6 => (Ask::Advance(run, Box::new(Input::Rollback { actor })), Purpose::Other),
            _ => (Ask::Read(run), Purpose::Other),
        };
        let call = self.number();
        self.client_asks(at, call, Waiting { ask, purpose, tries: 0 });
    }

    /// Each time it asks the run has another id, as a server would make it; the request's stays.
    fn asks_for_a_run(&mut self, at: usize, tenant: TenantId, request: String) {
        let now = self.time();
        let run = cases::run(&mut self.random, tenant, now);
        let ask = Ask::Create(Box::new(run), request.clone());
        let call = self.number();
        let purpose = Purpose::Create(tenant, request);
        self.client_asks(at, call, Waiting { ask, purpose, tries: 0 });
    }

    fn client_asks(&mut self, at: usize, call: u64, mut waiting: Waiting) {
        if let (Ask::Create(run, _), true) = (&mut waiting.ask, waiting.tries > 0) {
            run.id = self.random.id().into();
        }
        let (node, to) = (Node::Client(at), self.some_replica());
        self.send(node, to, Message::Ask(node, call, waiting.ask.clone()));
        self.clients[at].waiting.insert(call, waiting);
        self.wake(node, ANSWER_MS, Timer::Again(call));
    }

    pub(super) fn client_answered(&mut self, at: usize, call: u64, answer: Answer) {
        let Answer::Run(result) = answer else { return };
        if matches!(&result, Err(fault) if fault.kind.is_transient()) {
            return;
        }
        // An answer that comes twice, or after the next try, is as good as the first.
        let Some(waiting) = self.clients[at].waiting.remove(&call) else { return };
        match (waiting.purpose, result) {
            (Purpose::Create(tenant, request), Ok(run)) => {
                let verdict = self.checks.created(tenant, &request, run.id);
                self.check(verdict);
                self.known.push(run.id);
                if self.is_stormy() && self.random.chance(300) {
                    self.asks_for_a_run(at, tenant, request);
                }
            }
            (Purpose::Create(_, request), Err(fault)) => {
                self.check(Err(format!("request {request} is refused: {fault}")));
            }
            (Purpose::Decide(gate, actor), Ok(_)) => {
                let verdict = self.checks.won(gate, &actor);
                self.check(verdict);
            }
            (Purpose::Cancel(run, actor), Ok(_)) => self.checks.canceled(run, &actor),
            (Purpose::Other, Ok(run)) if self.is_stormy() => {
                let pending: Vec<GateId> = run
                    .gates
                    .iter()
                    .filter(|g| g.status == GateStatus::Pending)
                    .map(|g| g.id)
                    .collect();
                for gate in pending {
                    self.decides(at, run.id, gate);
                    // Another client was asked as well.
                    let other = self.random.below(self.clients.len());
                    self.decides(other, run.id, gate);
                }
            }
            (_, _) => {}
        }
    }

    fn decides(&mut self, at: usize, run: RunId, gate: GateId) {
        if self.random.chance(400) {
            return;
        }
        let actor = format!("client-{at}-{}", self.number());
        let input = Input::GateDecided {
            gate,
            approve: self.random.chance(750),
            actor: actor.clone(),
            notes: String::new(),
            seen: (String::new(), 0),
        };
        let ask = Ask::Advance(run, Box::new(input));
        let call = self.number();
        self.client_asks(
            at,
            call,
            Waiting { ask, purpose: Purpose::Decide(gate, actor), tries: 0 },
        );
    }
}
