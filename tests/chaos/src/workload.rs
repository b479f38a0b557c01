//! The work that the product is under while faults are injected: runs of several tenants, each made
//! from a seed alone, so that a seed gives the same work again.

use crate::step::{Behaviour, WORD};
use meta_proto::common::{ApprovalMode, Argv, Command, PlannedStep, command::Kind};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// How many tenants there are.
pub const TENANTS: usize = 5;
/// Percent of the runs that the first tenant starts: it floods the others.
const FLOOD_PERCENT: u32 = 60;
/// Percent of the runs with a gate.
const GATED_PERCENT: u32 = 20;
/// Percent of the gates that are rejected.
const REJECTED_PERCENT: u32 = 10;
/// Percent of the runs that are planned anew.
const REPLANNED_PERCENT: u32 = 10;
/// Percent of the runs that are canceled.
const CANCELED_PERCENT: u32 = 5;
/// Percent of the runs with a flaky step.
const FLAKY_PERCENT: u32 = 10;
/// Percent of the runs with a step that always fails.
const BROKEN_PERCENT: u32 = 3;
/// How long a step executes, in milliseconds.
const STEP_MS: std::ops::Range<u64> = 20..200;
/// How long a step may execute.
const TIMEOUT_MS: u64 = 60_000;
/// When a run is canceled, in milliseconds after its start.
const CANCEL_MS: std::ops::Range<u64> = 100..2_000;

/// What the work is made of.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The seed of everything.
    pub seed: u64,
    /// This program, which every step executes.
    pub program: PathBuf,
    /// Where steps note what they did.
    pub effects: PathBuf,
    /// Steps in each of the two branches of a run; a run has twice as many and four.
    pub branch_steps: usize,
    /// What the runs are like.
    pub kind: Kinds,
    /// How long the last step of a run executes, where that is not left to the seed.
    pub last_step: Option<Duration>,
}

/// What the runs are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// Gates, flaky steps, new plans, cancels in their shares.
    Mixed,
    /// Every step passes at once and nobody is asked.
    Plain,
    /// Every run waits at a gate.
    Gated,
}

/// A run to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Whose, by number.
    pub tenant: usize,
    /// Its title.
    pub title: String,
    /// The key that makes its creation idempotent.
    pub key: String,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
    /// How its gate is decided.
    pub approve: bool,
    /// When it is canceled.
    pub cancel_after: Option<Duration>,
    /// Its creation is asked for once more although it was acknowledged.
    pub ask_twice: bool,
}

impl Recipe {
    /// The run of that number.
    pub fn order(&self, number: u64) -> Order {
        let mixed = self.kind == Kinds::Mixed;
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let mut chance = |percent: u32| rng.random_range(0..100) < percent;
        let flood = chance(FLOOD_PERCENT);
        let gated = chance(GATED_PERCENT) && mixed || self.kind == Kinds::Gated;
        let approve = !chance(REJECTED_PERCENT);
        let replanned = chance(REPLANNED_PERCENT) && mixed;
        let canceled = chance(CANCELED_PERCENT) && mixed;
        let flaky = chance(FLAKY_PERCENT) && mixed;
        let broken = chance(BROKEN_PERCENT) && mixed;
        let ask_twice = chance(FLAKY_PERCENT);
        let tenant = if flood { 0 } else { rng.random_range(1..TENANTS) };
        let key = Uuid::from_u128(rng.random()).to_string();
        let cancel_after = canceled.then(|| Duration::from_millis(rng.random_range(CANCEL_MS)));
        let mut steps = self.shape(&mut rng);
        if gated {
            step_named(&mut steps, "join").approval = ApprovalMode::Before.into();
        }
        if let Some(time) = self.last_step {
            let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            step_named(&mut steps, "last").run = Some(self.command(ms, Behaviour::Pass));
        }
        let times = rng.random_range(1..=2);
        let wanted = [
            (flaky, "left-1", Behaviour::Flaky(times)),
            (replanned, "right-1", Behaviour::Odd(2)),
            (broken, "last", Behaviour::Broken),
        ];
        for (_, name, behaviour) in wanted.into_iter().filter(|(on, ..)| *on) {
            let step = step_named(&mut steps, name);
            step.run = Some(self.command(rng.random_range(STEP_MS), behaviour));
            if matches!(behaviour, Behaviour::Odd(_)) {
                step.cache = vec!["state".to_owned()];
            }
        }
        let title = format!("chaos {} {number}", self.seed);
        Order { tenant, title, key, steps, approve, cancel_after, ask_twice }
    }

    /// Two branches between a first step and a join, and one step after that.
    fn shape(&self, rng: &mut StdRng) -> Vec<PlannedStep> {
        let mut steps = vec![self.step(rng, "first", &[])];
        for side in ["left", "right"] {
            let mut before = "first".to_owned();
            for number in 1..=self.branch_steps {
                let name = format!("{side}-{number}");
                steps.push(self.step(rng, &name, &[&before]));
                before = name;
            }
        }
        let end = |side: &str| format!("{side}-{}", self.branch_steps);
        steps.push(self.step(rng, "join", &[&end("left"), &end("right")]));
        steps.push(self.step(rng, "after", &["join"]));
        steps.push(self.step(rng, "last", &["after"]));
        steps
    }

    fn step(&self, rng: &mut StdRng, name: &str, needs: &[&str]) -> PlannedStep {
        PlannedStep {
            name: name.to_owned(),
            run: Some(self.command(rng.random_range(STEP_MS), Behaviour::Pass)),
            needs: needs.iter().map(|n| (*n).to_owned()).collect(),
            timeout_ms: TIMEOUT_MS,
            ..PlannedStep::default()
        }
    }

    fn command(&self, ms: u64, behaviour: Behaviour) -> Command {
        let words = vec![
            self.program.display().to_string(),
            WORD.to_owned(),
            self.effects.display().to_string(),
            ms.to_string(),
            behaviour.word(),
        ];
        Command { kind: Some(Kind::Argv(Argv { words })) }
    }
}

/// A step of the shape, which has it.
fn step_named<'a>(steps: &'a mut [PlannedStep], name: &str) -> &'a mut PlannedStep {
    let at = steps.iter().position(|s| s.name == name).unwrap_or_default();
    &mut steps[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(seed: u64, kind: Kinds) -> Recipe {
        let (program, effects) = ("/bin/chaos".into(), "/tmp/effects".into());
        Recipe { seed, program, effects, branch_steps: 4, kind, last_step: None }
    }

    #[test]
    fn a_seed_gives_the_same_work_again() {
        let orders =
            |seed| (0..50).map(|n| recipe(seed, Kinds::Mixed).order(n)).collect::<Vec<_>>();
        assert_eq!(orders(7), orders(7));
        assert_ne!(orders(7), orders(8));
    }

    #[test]
    fn runs_have_twelve_steps_and_the_shares_are_near_what_was_asked() {
        let orders: Vec<_> = (0..1_000).map(|n| recipe(1, Kinds::Mixed).order(n)).collect();
        assert!(orders.iter().all(|o| o.steps.len() == 12));
        let share = |of: &dyn Fn(&Order) -> bool| orders.iter().filter(|o| of(o)).count();
        let gated = share(&|o| o.steps.iter().any(|s| s.approval() == ApprovalMode::Before));
        assert!((150..250).contains(&gated), "{gated}");
        let first = share(&|o| o.tenant == 0);
        assert!((550..650).contains(&first), "{first}");
        let canceled = share(&|o| o.cancel_after.is_some());
        assert!((25..80).contains(&canceled), "{canceled}");
    }
}
