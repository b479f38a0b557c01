//! A simulation of several orchestrators, runners and clients in one thread, on one line of time
//! that follows from a seed. The decisions are those of the product's core; the processes, the
//! tables, the clocks and the network are models that fail.
//!
//! `SIM_SEEDS=n` lives through more seeds, `SIM_SEED=s` through one of them alone.

mod cases;
mod checks;
mod client;
mod faults;
mod random;
mod replica;
mod round;
mod runner;
mod store;
mod trace;
mod world;

use checks::Counts;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use world::{Mode, World};

/// Seeds of each mode where nothing else is asked for.
const SEEDS: u64 = 500;

/// What a world came to.
struct Lived {
    hash: u64,
    lines: u64,
    counts: Counts,
}

fn live(seed: u64, mode: Mode) -> Result<Lived, String> {
    let mut world = World::new(seed, mode);
    let lived = world.live();
    lived.map_err(|wrong| {
        format!(
            "seed {seed} ({mode:?}): {wrong}\n{}repeat it with\n  SIM_SEED={seed} cargo test -p \
             orchestrator --test simulation -- {}\n",
            world.trace.tail(&wrong),
            mode.test()
        )
    })?;
    let (hash, lines) = (world.trace.hash(), world.trace.lines());
    Ok(Lived { hash, lines, counts: world.checks.counts })
}

impl Mode {
    fn test(self) -> &'static str {
        match self {
            Self::Safety => "nothing_wrong_is_ever_seen",
            Self::Liveness => "everything_comes_to_rest",
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but this")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lives through all seeds on all processors; answers the smallest seed that failed.
fn live_through(mode: Mode) {
    if let Some(seed) = asked("SIM_SEED") {
        if let Err(wrong) = live(seed, mode) {
            panic!("{wrong}");
        }
        return;
    }
    let seeds = asked("SIM_SEEDS").unwrap_or(SEEDS);
    let (next, total) = (AtomicU64::new(0), Mutex::new((Counts::default(), 0)));
    let first: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || held(&first).is_some() {
                        return;
                    }
                    match live(seed, mode) {
                        Ok(lived) => held(&total).add(&lived),
                        Err(wrong) => {
                            let mut first = held(&first);
                            if first.as_ref().is_none_or(|(earlier, _)| seed < *earlier) {
                                *first = Some((seed, wrong));
                            }
                        }
                    }
                }
            });
        }
    });
    if let Some((_, wrong)) = held(&first).take() {
        panic!("{wrong}");
    }
    let (counts, lines) = *held(&total);
    println!("{mode:?}: {seeds} seeds, {lines} things happened, {counts:?}");
}

trait Add {
    fn add(&mut self, lived: &Lived);
}

impl Add for (Counts, u64) {
    fn add(&mut self, lived: &Lived) {
        let (sum, one) = (&mut self.0, &lived.counts);
        sum.events += one.events;
        sum.refused += one.refused;
        sum.expired += one.expired;
        sum.executions += one.executions;
        sum.gates += one.gates;
        self.1 += lived.lines;
    }
}

#[test]
fn nothing_wrong_is_ever_seen() {
    live_through(Mode::Safety);
}

#[test]
fn everything_comes_to_rest() {
    live_through(Mode::Liveness);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..10 {
        let once = live(seed, Mode::Safety).map(|l| (l.hash, l.lines));
        let again = live(seed, Mode::Safety).map(|l| (l.hash, l.lines));
        assert_eq!(once, again);
        let other = live(seed + 1_000, Mode::Safety).map(|l| (l.hash, l.lines));
        assert_ne!(once, other, "another seed is another story");
    }
}
