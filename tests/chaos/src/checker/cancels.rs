//! I10: after a cancel was acknowledged nothing new starts, and the run ends soon.

use super::{Evidence, Violation};
use crate::history::History;
use crate::records::{Answer, Ask};

/// How long a task that was handed out just before may take to begin, beside a heartbeat (a third
/// of the lease), in milliseconds.
const ON_ITS_WAY_MS: i64 = 2_000;

/// No start after the cancel, in the log at once, among the processes after a heartbeat.
pub fn a_cancel_wins(evidence: &Evidence) -> Vec<Violation> {
    let mut found: Vec<Violation> = evidence.histories.iter().flat_map(by_log).collect();
    for call in &evidence.calls {
        let (Ask::Cancel { run }, Answer::Done(_)) = (&call.ask, &call.answer) else { continue };
        let Some(history) = evidence.history(run) else { continue };
        if history.of("meta.run.canceled").next().is_none() {
            let what = format!("the cancel of run {run} was acknowledged and is not recorded");
            found.push(Violation::new("I10", what));
        }
        let from = call.done_ms + evidence.limits.lease_ms / 3 + ON_ITS_WAY_MS;
        let late = |e: &&crate::effects::Effect| {
            e.run == *run && e.is_start() && e.at_ms > from && evidence.limits.one_clock
        };
        found.extend(evidence.effects.iter().filter(late).map(|e| {
            let after = e.at_ms - call.done_ms;
            let what = format!("run {run}: {} began {after} ms after the cancel", e.step);
            Violation::new("I10", what)
        }));
    }
    found
}

fn by_log(history: &History) -> Vec<Violation> {
    let canceled = history.of("meta.run.canceled").map(|e| e.seq).min();
    let Some(canceled) = canceled else { return Vec::new() };
    let retried = history.of("run.retry").map(|e| e.seq).find(|seq| *seq > canceled);
    let until = retried.unwrap_or(u64::MAX);
    let starts = history.of("step.started").filter(|e| e.seq > canceled && e.seq < until);
    starts
        .map(|e| {
            let what = format!("run {}: {} starts after the cancel", history.run, e.step);
            Violation::new("I10", what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{RUN, call, event, numbered, sound};
    use super::*;
    use serde_json::json;

    fn canceled(at: i64, before: usize) -> Evidence {
        let mut evidence = sound();
        let done = Answer::Done(vec![RUN.into()]);
        evidence.calls.push(call(at, Ask::Cancel { run: RUN.into() }, done));
        let events = &mut evidence.histories[0].events;
        events.insert(before, event("meta.run.canceled", "", at, json!({})));
        *events = numbered(std::mem::take(events));
        evidence
    }

    #[test]
    fn a_start_after_a_cancel_is_found_in_both_records() {
        let evidence = canceled(3_000, 11);
        assert_eq!(a_cancel_wins(&evidence).len(), 2);
    }

    #[test]
    fn a_forgotten_cancel_is_found() {
        let mut evidence = canceled(9_450, 17);
        assert_eq!(a_cancel_wins(&evidence), []);
        evidence.histories[0].events.retain(|e| e.kind != "meta.run.canceled");
        assert_eq!(a_cancel_wins(&evidence).len(), 1);
    }
}
