//! Evidence of a run in which everything is as promised, for the tests to spoil.

use super::{Evidence, Limits};
use crate::effects::{Effect, Mark};
use crate::history::{Event, History, StepRow};
use crate::records::{Answer, Ask, Call, Sighting, digest};
use serde_json::{Value, json};

/// The run of the sample.
pub const RUN: &str = "run-1";
/// Its gate.
pub const GATE: &str = "gate-1";
/// Its tenant.
pub const TENANT: &str = "tenant-1";

/// A run of two steps: `build` fails once and is tried again, `ship` waits for a human.
pub fn sound() -> Evidence {
    let events = events();
    let see =
        |e: &Event| Sighting { watcher: 1, run: RUN.into(), seq: e.seq, digest: e.digest.clone() };
    let row = |name: &str, executions, needs: &[&str], gated| StepRow {
        name: name.into(),
        status: "succeeded".into(),
        executions,
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        gated,
    };
    Evidence {
        calls: vec![
            call(0, Ask::CreateRun { key: "k".into() }, Answer::Done(vec![RUN.into()])),
            decided(9_000, true, "user:a", Answer::Done(vec!["user:a".into()])),
            decided(9_001, false, "user:b", refused("Aborted")),
            call(9_500, Ask::ReadForeign { run: "run-2".into() }, refused("NotFound")),
        ],
        sightings: events.iter().map(see).collect(),
        complete_streams: vec![(1, RUN.into())],
        effects: effects(),
        histories: vec![History {
            run: RUN.into(),
            tenant: TENANT.into(),
            status: "succeeded".into(),
            last_seq: events.len() as u64,
            plan_version: 1,
            steps: vec![row("build", 2, &[], false), row("ship", 1, &["build"], true)],
            events,
        }],
        faults: Vec::new(),
        late_results: 0,
        limits: Limits {
            lease_ms: 5_000,
            attempts_step: 3,
            attempts_run: 6,
            backoff_cap_ms: 60_000,
            clock_slack_ms: 0,
            one_clock: true,
        },
    }
}

/// A call of the tenant at a time.
pub fn call(at: i64, ask: Ask, answer: Answer) -> Call {
    Call { sent_ms: at, done_ms: at + 5, tenant: TENANT.into(), ask, answer }
}

/// A decision on the gate.
pub fn decided(at: i64, approve: bool, actor: &str, answer: Answer) -> Call {
    let (run, gate, actor) = (RUN.into(), GATE.into(), actor.into());
    call(at, Ask::Decide { run, gate, approve, actor }, answer)
}

/// An answer that says no.
pub fn refused(code: &str) -> Answer {
    Answer::Refused { code: code.into(), text: String::new() }
}

/// An event, not numbered yet.
pub fn event(kind: &str, step: &str, at_ms: i64, data: Value) -> Event {
    let digest = digest(kind, step, &data.to_string());
    Event { seq: 0, kind: kind.into(), step: step.into(), at_ms, data, digest }
}

/// Events with their numbers.
pub fn numbered(mut events: Vec<Event>) -> Vec<Event> {
    for (event, seq) in events.iter_mut().zip(1..) {
        event.seq = seq;
    }
    events
}

fn events() -> Vec<Event> {
    let none = || json!({});
    let attempt = json!({ "attempt": { "step": "build", "number": 1, "backoff_ms": 1_000 },
                          "due": 2_400 });
    numbered(vec![
        event("run.created", "", 1, none()),
        event("meta.run.started", "", 1, none()),
        event("run.prepared", "", 900, none()),
        event("step.queued", "build", 900, json!({ "due": 900 })),
        event("step.started", "build", 1_000, json!({ "execution": 1 })),
        event("step.attempt_failed", "build", 1_300, none()),
        event("autofix.retry", "build", 1_400, attempt),
        event("step.started", "build", 2_500, json!({ "execution": 2 })),
        event("step.succeeded", "build", 2_800, none()),
        event("approval.requested", "ship", 2_800, json!({ "gate": { "id": GATE } })),
        event("run.paused", "", 2_800, none()),
        event("approval.granted", "ship", 9_002, json!({ "gate": GATE, "actor": "user:a" })),
        event("run.resumed", "", 9_002, none()),
        event("step.queued", "ship", 9_002, json!({ "due": 9_002 })),
        event("step.started", "ship", 9_100, json!({ "execution": 1 })),
        event("step.succeeded", "ship", 9_400, none()),
        event("run.succeeded", "", 9_400, none()),
    ])
}

fn effects() -> Vec<Effect> {
    [("build", 1, 1_010, 7), ("build", 2, 2_510, 0), ("ship", 1, 9_110, 0)]
        .into_iter()
        .flat_map(|(step, attempt, at, code)| {
            [
                effect(step, attempt, at, Mark::Start),
                effect(step, attempt, at + 200, Mark::End { code }),
            ]
        })
        .collect()
}

/// An entry of the steps' record.
pub fn effect(step: &str, attempt: u32, at_ms: i64, mark: Mark) -> Effect {
    Effect {
        run: RUN.into(),
        step: step.into(),
        attempt,
        epoch: 1,
        pid: 10,
        boot: "boot".into(),
        at_ms,
        mark,
    }
}
