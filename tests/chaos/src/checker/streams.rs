//! I12: whoever watches a run and comes back with the last number sees each event once, in order.

use super::{Evidence, Violation};
use std::collections::BTreeMap;

/// Numbers of a watcher are dense from 1, and reach the end where the stream said it was complete.
pub fn watchers_see_each_event_once(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut last: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for seen in &evidence.sightings {
        let last = last.entry((seen.watcher, &seen.run)).or_default();
        if seen.seq != *last + 1 {
            let (run, watcher, seq) = (&seen.run, seen.watcher, seen.seq);
            let what = format!("watcher {watcher} of run {run} saw event {seq} after {last}");
            found.push(Violation::new("I12", what));
        }
        *last = seen.seq;
    }
    for (watcher, run) in &evidence.complete_streams {
        let Some(history) = evidence.history(run) else { continue };
        let seen = last.get(&(*watcher, run.as_str())).copied().unwrap_or(0);
        if seen < history.last_seq {
            let end = history.last_seq;
            let what = format!("watcher {watcher} of run {run} was let go at {seen} of {end}");
            found.push(Violation::new("I12", what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::sound;
    use super::*;

    #[test]
    fn missed_repeated_and_cut_events_are_found() {
        for spoil in [
            |e: &mut Evidence| drop(e.sightings.remove(4)),
            |e: &mut Evidence| e.sightings.insert(4, e.sightings[3].clone()),
            |e: &mut Evidence| drop(e.sightings.pop()),
        ] {
            let mut evidence = sound();
            spoil(&mut evidence);
            assert!(!watchers_see_each_event_once(&evidence).is_empty());
        }
    }
}
