//! The places of a run and of its steps in their trace. They are derived from what is stored, so
//! that whatever works on a run knows them, before they are told and after a restart.

use super::run::Run;
use meta_domain::trace::TraceContext;
use sha2::{Digest, Sha256};

impl Run {
    /// The trace of the request that made it.
    pub fn asked_in(&self) -> Option<TraceContext> {
        self.trace.parse().ok()
    }

    /// Its own place.
    pub fn place(&self) -> Option<TraceContext> {
        self.derived("")
    }

    /// A step's place, below its own.
    pub fn place_of(&self, step: &str) -> Option<TraceContext> {
        if step.is_empty() { self.place() } else { self.derived(step) }
    }

    /// A run that was sent on again is told again, and that is another span.
    fn derived(&self, step: &str) -> Option<TraceContext> {
        let within = self.asked_in()?;
        let mut hash = Sha256::new();
        hash.update(self.id.0.as_bytes());
        hash.update(within.span.to_be_bytes());
        hash.update(self.retried.to_be_bytes());
        hash.update(step.as_bytes());
        let bytes = hash.finalize();
        let span = bytes.iter().take(8).fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
        Some(TraceContext { span: span.max(1), ..within })
    }
}

#[cfg(test)]
mod tests {
    use crate::core::transition::tests::run;

    #[test]
    fn places_are_the_same_again_and_differ_from_each_other() {
        let mut one = run("[[step]]\nname = 'a'\nrun = 'a'\n");
        assert_eq!(one.place(), None, "nobody asked for it in a trace");
        one.trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
        let (own, step) = (one.place().unwrap(), one.place_of("a").unwrap());
        assert_eq!(one.clone().place(), Some(own));
        assert_eq!((own.trace, own.sampled), (one.asked_in().unwrap().trace, true));
        assert!(own.span != step.span && own.span != one.asked_in().unwrap().span);
        one.retried = 1;
        assert_ne!(one.place(), Some(own), "it is told once more");
    }
}
