//! I9: nothing of a tenant reaches another one.

use super::{Evidence, Violation};
use crate::records::{Answer, Ask};

/// Runs of other tenants do not exist, and lists hold only one's own.
pub fn nobody_sees_another_tenant(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for call in &evidence.calls {
        let tenant = &call.tenant;
        match (&call.ask, &call.answer) {
            (Ask::ReadForeign { run }, Answer::Done(_)) => {
                let what = format!("tenant {tenant} was shown run {run}");
                found.push(Violation::new("I9", what));
            }
            (Ask::ReadForeign { run }, Answer::Refused { code, text }) if code != "NotFound" => {
                let what = format!("tenant {tenant} was told {code} of run {run}: {text}");
                found.push(Violation::new("I9", what));
            }
            (Ask::List, Answer::Done(runs)) => {
                let foreign = |run: &&String| {
                    evidence.history(run).is_some_and(|history| history.tenant != *tenant)
                };
                found.extend(runs.iter().filter(foreign).map(|run| {
                    Violation::new("I9", format!("the list of tenant {tenant} holds run {run}"))
                }));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::sample::{RUN, call, refused, sound};
    use super::*;
    use crate::records::Call;

    fn with(ask: Ask, answer: Answer) -> usize {
        let mut evidence = sound();
        evidence.calls.push(Call { tenant: "tenant-2".into(), ..call(1, ask, answer) });
        nobody_sees_another_tenant(&evidence).len()
    }

    #[test]
    fn a_foreign_run_that_is_shown_or_admitted_is_found() {
        let ask = || Ask::ReadForeign { run: RUN.into() };
        assert_eq!(with(ask(), Answer::Done(vec![RUN.into()])), 1);
        assert_eq!(with(ask(), refused("PermissionDenied")), 1);
        assert_eq!(with(ask(), refused("NotFound")), 0);
    }

    #[test]
    fn a_foreign_run_in_a_list_is_found() {
        assert_eq!(with(Ask::List, Answer::Done(vec![RUN.into()])), 1);
    }
}
