//! The audit: what goes on record, and the chain that shows when somebody changes the record.
//!
//! Each entry's hash covers all of it and the hash of the entry before, so that an entry which is
//! edited, removed or put elsewhere does not fit its neighbours. The last hash, noted somewhere
//! else, shows when the end of a chain was cut off or the whole of it was written anew.

use super::event::RunEvent;
use super::run::Run;
use meta_domain::id::TenantId;
use meta_domain::time::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What the first entry of a chain follows.
pub const ORIGIN: Hash = [0; 32];
/// Problems that a verification names; more are counted.
const PROBLEMS_MAX: usize = 20;
/// Who acts when nobody asked.
const ENGINE: &str = "orchestrator";

/// By which credential something was asked for, and with which request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    /// Such as `key:0197...`.
    pub credential: String,
    /// The credential's own tenant, where it acted in another one.
    pub home: Option<TenantId>,
    /// Names the request.
    pub request_id: String,
    /// The W3C trace that it belongs to.
    pub trace_id: String,
}

/// Something that goes on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was done.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// What, such as `meta.run.started`.
    pub action: String,
    /// It was refused.
    pub denied: bool,
    /// Who did it.
    pub actor: String,
    /// By which credential and request; empty for what the engine does by itself.
    pub by: By,
    /// To what, such as `run/0197...`.
    pub object: String,
    /// As it was, as JSON; may be empty.
    pub before: String,
    /// As it is now, as JSON; may be empty.
    pub after: String,
    /// Why.
    pub reason: String,
}

impl Entry {
    /// Something that `actor` did.
    pub fn new(tenant: TenantId, at: Timestamp, action: &str, actor: &str, object: String) -> Self {
        Self {
            tenant,
            at,
            action: action.to_owned(),
            denied: false,
            actor: actor.to_owned(),
            by: By::default(),
            object,
            before: String::new(),
            after: String::new(),
            reason: String::new(),
        }
    }

    /// The same, asked for in this way.
    #[must_use]
    pub fn by(self, by: By) -> Self {
        Self { by, ..self }
    }

    /// The same with what it changed; null is left out.
    #[must_use]
    pub fn change(self, before: &Value, after: &Value) -> Self {
        let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
        Self { before: text(before), after: text(after), ..self }
    }

    /// The same with the reason that was given, which may be what a step has written: without the
    /// one character that PostgreSQL does not take for text.
    #[must_use]
    pub fn because(self, reason: &str) -> Self {
        Self { reason: reason.replace('\0', "\u{fffd}"), ..self }
    }

    /// The hash of this entry at its place in the chain.
    pub fn hash(&self, seq: u64, prev: &Hash) -> Hash {
        let home = self.by.home.map(|home| home.to_string()).unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(prev);
        hash.update(self.tenant.0.as_bytes());
        hash.update(seq.to_be_bytes());
        hash.update(self.at.0.to_be_bytes());
        hash.update([u8::from(self.denied)]);
        let texts = [
            &self.action,
            &self.actor,
            &self.by.credential,
            &home,
            &self.object,
            &self.before,
            &self.after,
            &self.reason,
            &self.by.request_id,
            &self.by.trace_id,
        ];
        for text in texts {
            // with its length, so that none runs into the next
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize().into()
    }
}

/// An entry at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// From 1, dense.
    pub seq: u64,
    /// What is on record.
    pub entry: Entry,
    /// The hash of the entry before.
    pub prev: Hash,
    /// Its own.
    pub hash: Hash,
}

/// What goes on record of an event; `by` is set for the events of a request.
pub fn of_event(run: &Run, at: Timestamp, event: &RunEvent, by: Option<&By>) -> Option<Entry> {
    let entry = |action: &str, actor: &str| {
        Entry::new(run.tenant, at, action, actor, format!("run/{}", run.id))
            .by(by.cloned().unwrap_or_default())
    };
    let of_gate = |action: &str, actor: &str, gate, step: &str, status: &str, notes: &str| {
        let after = json!({ "status": status, "step": step, "run": run.id });
        let entry = Entry { object: format!("gate/{gate}"), ..entry(action, actor) };
        entry.change(&json!({ "status": "pending" }), &after).because(notes)
    };
    let of_step = |action: &str, step: &str, more: Value, reason: &str| {
        let mut after = json!({ "step": step });
        if let (Value::Object(all), Value::Object(more)) = (&mut after, more) {
            all.extend(more);
        }
        entry(action, ENGINE).change(&Value::Null, &after).because(reason)
    };
    Some(match event {
        RunEvent::Started => {
            let after = json!({ "spec": run.spec, "plan_version": run.plan_version });
            entry("meta.run.started", &run.created_by).change(&Value::Null, &after)
        }
        RunEvent::Canceled { actor } => entry("meta.run.canceled", actor),
        RunEvent::RunRetry { actor } => entry("run.retry", actor),
        RunEvent::Held { actor, reason } => entry("run.held", actor).because(reason),
        RunEvent::HoldEnded { actor } => entry("run.hold_ended", actor),
        RunEvent::StepMarked { step, mark, actor, reason } => {
            let after = json!({ "step": step, "mark": mark });
            entry("step.marked", actor).change(&Value::Null, &after).because(reason)
        }
        RunEvent::PlanEdited { delta, version, actor, .. } => {
            let (before, after) = (delta.original_plan, delta.new_plan);
            let after = json!({ "plan": after, "plan_version": version });
            entry("run.plan_edited", actor).change(&json!({ "plan": before }), &after)
        }
        RunEvent::RollbackStarted { step, reason } => {
            of_step("run.rollback", step, json!({}), reason)
        }
        RunEvent::ApprovalGranted { gate, step, actor, notes } => {
            of_gate("approval.granted", actor, gate, step, "approved", notes)
        }
        RunEvent::ApprovalRejected { gate, step, actor, notes } => {
            of_gate("approval.rejected", actor, gate, step, "rejected", notes)
        }
        RunEvent::GateExpired { gate, step, .. } => {
            of_gate("approval.expired", ENGINE, gate, step, "expired", "")
        }
        RunEvent::Classified { step, signal } => {
            let more = json!({
                "failure_type": signal.failure_type, "fingerprint": signal.fingerprint,
            });
            of_step("autofix.classified", step, more, &signal.message)
        }
        RunEvent::Retry { attempt, .. } => of_step(
            "autofix.retry",
            &attempt.step,
            json!({ "attempt": attempt.number }),
            &attempt.reason,
        ),
        RunEvent::PatchApplied { attempt, commit } => {
            let more = json!({ "attempt": attempt.number, "commit": commit });
            of_step("autofix.patch_applied", &attempt.step, more, &attempt.reason)
        }
        RunEvent::Replanned { attempt, version, .. } => {
            let more = json!({ "attempt": attempt.number, "plan_version": version });
            of_step("autofix.replanned", &attempt.step, more, &attempt.reason)
        }
        RunEvent::Escalated { attempt, gate } => {
            let more = json!({ "attempt": attempt.number, "gate": gate.id });
            of_step("autofix.escalated", &attempt.step, more, &attempt.reason)
        }
        RunEvent::GaveUp { attempt } => {
            let more = json!({ "attempt": attempt.number });
            of_step("autofix.gave_up", &attempt.step, more, &attempt.reason)
        }
        _ => return None,
    })
}

/// Reads a chain from its start and says what does not fit.
#[derive(Debug)]
pub struct Verifier {
    seq: u64,
    hash: Hash,
    known: Option<(u64, Hash)>,
    problems: Vec<String>,
    unnamed: usize,
}

impl Verifier {
    /// At the start of a chain, which has to hold the `known` entry.
    pub fn new(known: Option<(u64, Hash)>) -> Self {
        Self { seq: 0, hash: ORIGIN, known, problems: Vec::new(), unnamed: 0 }
    }

    /// The number of the last entry that was read.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Reads the next entry.
    pub fn read(&mut self, next: &Sealed) {
        let expected = self.seq + 1;
        if next.seq != expected {
            self.say(format!("entries {expected} to {} are missing", next.seq.saturating_sub(1)));
        } else if next.prev != self.hash {
            self.say(format!("entry {} does not follow the one before it", next.seq));
        }
        if next.entry.hash(next.seq, &next.prev) != next.hash {
            self.say(format!("entry {} is not what it was when it was written", next.seq));
        }
        if let Some((seq, hash)) = self.known
            && seq == next.seq
            && hash != next.hash
        {
            self.say(format!("entry {seq} is another one than the one that was noted"));
        }
        (self.seq, self.hash) = (next.seq, next.hash);
    }

    /// Notes an entry that cannot be read.
    pub fn unreadable(&mut self, seq: u64, problem: &str) {
        self.say(format!("entry {seq} cannot be read: {problem}"));
        self.seq = seq;
    }

    /// The end of the chain, which `head` says where it is; answers the last hash and what does not
    /// fit.
    pub fn end(mut self, head: Option<(u64, Hash)>) -> (Hash, Vec<String>) {
        match head {
            Some((seq, _)) if seq > self.seq => {
                self.say(format!("entries {} to {seq} are missing", self.seq + 1));
            }
            Some(head) if head != (self.seq, self.hash) => {
                self.say(format!("entry {} is not the one that the chain ends with", self.seq));
            }
            None if self.seq > 0 => self.say("the end of the chain is not on record".to_owned()),
            Some(_) | None => {}
        }
        if let Some((seq, _)) = self.known.filter(|(seq, _)| *seq > self.seq) {
            self.say(format!("entry {seq}, which was noted, is missing"));
        }
        if self.unnamed > 0 {
            self.problems.push(format!("and {} more", self.unnamed));
        }
        (self.hash, self.problems)
    }

    fn say(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.unnamed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn entry(n: i64) -> Entry {
        let tenant = TenantId(Uuid::from_u128(7));
        Entry::new(tenant, Timestamp(n), "run.retry", "ann", format!("run/{n}")).because("because")
    }

    fn chain(length: u64) -> Vec<Sealed> {
        let mut prev = ORIGIN;
        let seal = |seq: u64| {
            let entry = entry(i64::try_from(seq).unwrap());
            let hash = entry.hash(seq, &prev);
            let sealed = Sealed { seq, entry, prev, hash };
            prev = hash;
            sealed
        };
        (1..=length).map(seal).collect()
    }

    fn problems(chain: &[Sealed], head: (u64, Hash), known: Option<(u64, Hash)>) -> Vec<String> {
        let mut verifier = Verifier::new(known);
        for sealed in chain {
            verifier.read(sealed);
        }
        verifier.end(Some(head)).1
    }

    fn head(chain: &[Sealed]) -> (u64, Hash) {
        chain.last().map_or((0, ORIGIN), |last| (last.seq, last.hash))
    }

    #[test]
    fn a_whole_chain_has_no_problems() {
        let whole = chain(5);
        assert!(problems(&whole, head(&whole), Some((3, whole[2].hash))).is_empty());
        assert_eq!(Verifier::new(None).end(None), (ORIGIN, Vec::new()));
    }

    #[test]
    fn every_kind_of_change_is_found() {
        let whole = chain(5);
        let end = head(&whole);
        let mut edited = whole.clone();
        edited[1].entry.actor = "bob".to_owned();
        let mut resealed = edited.clone();
        resealed[1].hash = resealed[1].entry.hash(2, &resealed[1].prev);
        let mut removed = whole.clone();
        removed.remove(2);
        let mut swapped = whole.clone();
        swapped.swap(1, 2);
        let cut = whole[..3].to_vec();
        for (changed, what) in [
            (edited, "entry 2 is not what it was"),
            (resealed, "entry 3 does not follow"),
            (removed, "entries 3 to 3 are missing"),
            (swapped, "are missing"),
            (cut.clone(), "entries 4 to 5 are missing"),
        ] {
            let found = problems(&changed, end, None);
            assert!(found.iter().any(|p| p.contains(what)), "{what}: {found:?}");
        }
        // who can also write the end anew is found out by what was noted before
        assert!(problems(&cut, head(&cut), None).is_empty());
        assert_eq!(problems(&cut, head(&cut), Some(end)).len(), 1);
    }

    #[test]
    fn every_field_counts() {
        let base = entry(1);
        let hash = base.hash(1, &ORIGIN);
        let by = |request_id: &str| By { request_id: request_id.to_owned(), ..By::default() };
        for other in [
            Entry { denied: true, ..base.clone() },
            Entry { at: Timestamp(2), ..base.clone() },
            Entry { actor: "annb".into(), by: By::default(), ..base.clone() },
            Entry { before: "because".into(), reason: String::new(), ..base.clone() },
            base.clone().by(by("1")),
        ] {
            assert_ne!(other.hash(1, &ORIGIN), hash, "{other:?}");
        }
        assert_ne!(base.hash(2, &ORIGIN), hash);
    }
}
