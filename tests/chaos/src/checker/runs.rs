//! I1: no run that was acknowledged is lost, and a key always names the same run.

use super::{Evidence, Violation};
use crate::records::{Answer, Ask};
use std::collections::BTreeMap;

/// Each acknowledged run exists, and every answer to a key names the same run.
pub fn no_run_is_lost(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut runs: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for call in &evidence.calls {
        let (Ask::CreateRun { key }, Answer::Done(ids)) = (&call.ask, &call.answer) else {
            continue;
        };
        let Some(run) = ids.first() else { continue };
        let first = runs.entry((&call.tenant, key)).or_insert(run);
        if first != run {
            let what = format!("key {key} was answered with run {first} and with run {run}");
            found.push(Violation::new("I1", what));
        }
    }
    let lost = runs.iter().filter(|(_, run)| evidence.history(run).is_none());
    found.extend(lost.map(|((tenant, key), run)| {
        let what = format!("run {run} of tenant {tenant} (key {key}) was acknowledged and is gone");
        Violation::new("I1", what)
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{call, sound};
    use super::*;

    #[test]
    fn a_lost_run_is_found() {
        let mut evidence = sound();
        evidence.histories.clear();
        assert_eq!(no_run_is_lost(&evidence).len(), 1);
    }

    #[test]
    fn a_key_with_two_runs_is_found() {
        let mut evidence = sound();
        let other = Answer::Done(vec!["run-9".into()]);
        evidence.calls.push(call(5, Ask::CreateRun { key: "k".into() }, other));
        assert_eq!(no_run_is_lost(&evidence).len(), 1);
    }
}
