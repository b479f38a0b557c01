//! I11: once the faults stop, every run comes to rest. The histories are read when the time for
//! that is over.

use super::{Evidence, Violation};

/// Every run has ended or waits for a human.
pub fn every_run_comes_to_rest(evidence: &Evidence) -> Vec<Violation> {
    let busy = evidence.histories.iter().filter(|h| !h.is_at_rest());
    busy.map(|h| {
        let steps = h.steps.iter().filter(|s| s.status == "running" || s.status == "pending");
        let steps: Vec<_> = steps.map(|s| format!("{} {}", s.name, s.status)).collect();
        let last = h.events.last().map_or("", |e| e.kind.as_str());
        let what = format!(
            "run {} is still {} after {} events (the last is {last}): {}",
            h.run,
            h.status,
            h.events.len(),
            steps.join(", ")
        );
        Violation::new("I11", what)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::sound;
    use super::*;

    #[test]
    fn a_run_that_hangs_is_found() {
        let mut evidence = sound();
        evidence.histories[0].status = "running".into();
        assert_eq!(every_run_comes_to_rest(&evidence).len(), 1);
    }
}
