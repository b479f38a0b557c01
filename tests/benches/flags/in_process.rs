//! Decisions from the snapshot in a service's own memory.

use crate::load::tenant;
use meta_domain::settings::{
    Environment, Overrides, Owner, Setting, Settings, Snapshot, SnapshotChange, Value,
};
use meta_runtime::{Flags, now};
use serde_json::{Value as Json, json};
use std::hint::black_box;
use std::time::Instant;

/// Decisions that are timed at once.
const DECISIONS: u32 = 2_000_000;
/// How often that is done; the median counts.
const ROUNDS: usize = 5;

/// Nanoseconds of a decision with that many tenants' overrides.
pub fn measure(overrides: usize) -> Json {
    let flags = Flags::default();
    let total = |n: usize| Overrides { max_total_attempts: Some(value(n)), ..Overrides::default() };
    let owners: Vec<_> = (0..overrides).map(|n| Owner::tenant(tenant(n))).collect();
    let change = SnapshotChange {
        version: 1,
        overrides: owners.iter().enumerate().map(|(n, owner)| (*owner, total(n))).collect(),
        ..Snapshot::of(Settings::default_of(Environment::Production)).whole()
    };
    flags.take(change, now());
    for (n, owner) in owners.iter().enumerate() {
        let one = flags.evaluate(Setting::MaxTotalAttempts, Some(*owner));
        assert_eq!(one.value, Value::Int(value(n)), "tenant {n}");
    }
    let evaluate = timed(&owners, |owner| {
        black_box(flags.evaluate(black_box(Setting::MaxTotalAttempts), Some(owner)));
    });
    let resolve = timed(&owners, |owner| {
        black_box(flags.resolve(Some(owner)));
    });
    json!({ "overrides": overrides, "evaluate_ns": evaluate, "resolve_ns": resolve })
}

/// The value that a tenant overrides with.
pub fn value(tenant: usize) -> u32 {
    1 + u32::try_from(tenant % 20).unwrap_or(0)
}

fn timed(owners: &[Owner], decide: impl Fn(Owner)) -> f64 {
    let mut rounds: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for owner in owners.iter().cycle().take(DECISIONS as usize) {
            decide(black_box(*owner));
        }
        rounds.push(began.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS));
    }
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS / 2] * 10.0).round() / 10.0
}
