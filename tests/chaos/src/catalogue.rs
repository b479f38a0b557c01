//! Every experiment: what it needs, what it does to the product, how often, what has to hold.

use crate::checker::{
    Evidence, Violation, database_away, disk_full, late_results_are_refused,
    orphans_are_taken_over, zombies_are_ended,
};
use crate::cluster::Shape;
use crate::database::Kind;
use crate::experiment::Experiment;
use crate::figures::{duplicates, percentile};
use crate::nemesis::{Fault, Planned, Role, Side, often};
use crate::proxy::Treatment;
use crate::workload::Kinds;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::PathBuf;
use std::time::Duration;

/// The share of answers that clients do not get.
const LOST_ANSWERS: f64 = 0.02;
/// From a restart to the first new step, 95 of 100 times at most, in milliseconds.
const FIRST_STEP_MS: i64 = 500;
/// Runs at a time of the per-change set.
const AT_A_TIME: usize = 6;
/// How long one soak lasts.
const SOAK: Duration = Duration::from_hours(8);

/// Names of the experiments of the per-change set, with what each needs beside SQLite.
pub const PER_CHANGE: [&str; 8] = ["c1", "c2", "c3", "c5", "c6", "c11", "restart", "scale-out"];
/// Names of all experiments.
pub const ALL: [&str; 17] = [
    "c1",
    "c2",
    "c3",
    "c4",
    "c5",
    "c6",
    "c7",
    "c8",
    "c9",
    "c10",
    "c11",
    "c12",
    "c13",
    "c14",
    "c15",
    "restart",
    "scale-out",
];

/// How an experiment is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The seed of the faults.
    pub seed: u64,
    /// Where the orchestrators keep everything.
    pub database: Kind,
    /// The numbers of the night instead of those of a change.
    pub full: bool,
    /// The share of the night's numbers in percent.
    pub share: usize,
    /// Another version's binaries.
    pub other: Option<PathBuf>,
    /// Length of a lease.
    pub lease: Duration,
    /// How long the soak lasts instead of its own time.
    pub soak: Option<Duration>,
}

impl Asked {
    fn times(&self, per_change: usize, nightly: usize) -> usize {
        if self.full { (nightly * self.share / 100).max(1) } else { per_change }
    }

    /// A time that is longer than a lease.
    fn beyond_lease(&self, rng: &mut StdRng) -> Duration {
        self.lease + Duration::from_millis(rng.random_range(500..3_000))
    }
}

/// The experiment of that name, or why it cannot be done here.
pub fn experiment(name: &str, asked: &Asked) -> Result<Experiment, String> {
    let mut rng = StdRng::seed_from_u64(asked.seed);
    let rng = &mut rng;
    let base = base(asked);
    Ok(match name {
        "c1" => Experiment {
            name: "c1",
            faults: often(rng, asked.times(20, 100), 200..2_000, |_| {
                Fault::Kill(Role::Orchestrator)
            }),
            ..base
        },
        "c2" => Experiment {
            name: "c2",
            faults: often(rng, asked.times(10, 100), 500..2_500, |_| Fault::Kill(Role::Runner)),
            expect: orphans_are_taken_over,
            ..base
        },
        "c3" => Experiment {
            name: "c3",
            faults: often(rng, asked.times(5, 50), 500..1_500, |rng| {
                Fault::Pause(Role::Runner, asked.beyond_lease(rng))
            }),
            // still executing when its runner goes on, which then has to end it
            last_step: Some(2 * asked.lease),
            branch_steps: 1,
            expect: zombies_are_ended,
            ..base
        },
        "c4" => Experiment {
            name: "c4",
            shape: Shape { orchestrators: 2, ..needs_postgres("c4", base.shape.clone())? },
            faults: often(rng, asked.times(5, 30), 500..1_500, |rng| {
                let ms = rng.random_range(1_000..10_000);
                Fault::Pause(Role::Orchestrator, Duration::from_millis(ms))
            }),
            ..base
        },
        "c5" => away(rng, asked, base)?,
        "c6" => full_disk(rng, asked, base)?,
        "c7" => Experiment {
            name: "c7",
            faults: often(rng, asked.times(6, 60), 500..2_000, |rng| partition(rng, asked)),
            ..base
        },
        "c8" => skewed(rng, asked, base)?,
        "c9" => power_loss(rng, asked, base)?,
        "c10" => return Err("torn files are tested with the store, on copies of a database".into()),
        "c11" => Experiment {
            name: "c11",
            kinds: Kinds::Gated,
            branch_steps: 1,
            at_a_time: 1,
            deciders: asked.times(10, 50),
            at_gates: true,
            faults: often(rng, asked.times(20, 200), 0..40, |_| Fault::Kill(Role::Orchestrator)),
            ..base
        },
        "c12" => {
            let other = asked.other.clone();
            let other = other.ok_or("a rolling upgrade needs --other-bin, another version")?;
            let swap = |_: &mut StdRng| Fault::Swap(Role::Orchestrator, other.clone());
            Experiment { name: "c12", faults: often(rng, 1, 3_000..4_000, swap), ..base }
        }
        "c13" => Experiment {
            name: "c13",
            faults: often(rng, asked.times(1, 10), 500..1_000, |_| {
                Fault::Starve(Duration::from_secs(if asked.full { 180 } else { 20 }))
            }),
            ..base
        },
        "c14" => Experiment {
            name: "c14",
            faults: often(rng, asked.times(6, 50), 500..2_000, |rng| {
                Fault::Drain(if rng.random() { Role::Orchestrator } else { Role::Runner })
            }),
            ..base
        },
        "c15" => Experiment { name: "c15", faults: soak(rng, asked), branch_steps: 4, ..base },
        "restart" => Experiment {
            name: "restart",
            kinds: Kinds::Plain,
            lost_answers: 0.0,
            at_a_time: 10,
            faults: often(rng, asked.times(10, 100), 1_000..2_000, |_| {
                Fault::Kill(Role::Orchestrator)
            }),
            expect: nothing_twice_and_soon,
            ..base
        },
        "scale-out" => scale_out(rng, asked, base)?,
        other => return Err(format!("there is no experiment {other:?} (there are {ALL:?})")),
    })
}

/// One orchestrator, three runners, mixed work, no fault.
fn base(asked: &Asked) -> Experiment {
    Experiment {
        name: "",
        shape: Shape {
            orchestrators: 1,
            runners: 3,
            database: asked.database,
            small_disk: false,
            power: false,
        },
        kinds: Kinds::Mixed,
        last_step: None,
        branch_steps: if asked.full { 4 } else { 2 },
        at_a_time: if asked.full { 2 * AT_A_TIME } else { AT_A_TIME },
        deciders: 1,
        at_gates: false,
        lost_answers: LOST_ANSWERS,
        submits: false,
        one_clock: true,
        faults: Vec::new(),
        expect: |_| Vec::new(),
    }
}

fn needs_postgres(name: &str, shape: Shape) -> Result<Shape, String> {
    match shape.database {
        Kind::Postgres => Ok(shape),
        Kind::Sqlite => Err(format!("{name} needs --db postgres")),
    }
}

fn away(rng: &mut StdRng, asked: &Asked, base: Experiment) -> Result<Experiment, String> {
    let shape = needs_postgres("c5", base.shape.clone())?;
    let faults = often(rng, asked.times(2, 30), 2_000..4_000, |rng| {
        let away = Duration::from_millis(rng.random_range(2_000..10_000));
        if rng.random() { Fault::CrashDatabase(away) } else { Fault::StopDatabase(away) }
    });
    let (lost_answers, submits, expect) = (0.0, true, database_away as _);
    Ok(Experiment { name: "c5", shape, lost_answers, submits, faults, expect, ..base })
}

fn full_disk(rng: &mut StdRng, asked: &Asked, base: Experiment) -> Result<Experiment, String> {
    if asked.database == Kind::Postgres {
        return Err("c6 fills the disk of a SQLite file: --db sqlite".into());
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("c6 mounts a small file system: only root can".into());
    }
    Ok(Experiment {
        name: "c6",
        shape: Shape { small_disk: true, ..base.shape },
        lost_answers: 0.0,
        faults: often(rng, asked.times(2, 20), 2_000..3_000, |_| {
            Fault::FullDisk(Duration::from_secs(12))
        }),
        submits: true,
        expect: disk_full,
        ..base
    })
}

/// The orchestrator's machine loses its power, and with it what was never synced.
fn power_loss(rng: &mut StdRng, asked: &Asked, base: Experiment) -> Result<Experiment, String> {
    if asked.database == Kind::Postgres {
        return Err("c9 looks into a SQLite file: --db sqlite".into());
    }
    if !crate::power::is_possible() {
        return Err("c9 builds a library that is loaded into the product: a C compiler".into());
    }
    let shape = Shape { power: true, ..base.shape };
    let faults = often(rng, asked.times(20, 100), 200..1_500, |_| Fault::PowerLoss);
    Ok(Experiment { name: "c9", shape, faults, ..base })
}

fn skewed(rng: &mut StdRng, asked: &Asked, base: Experiment) -> Result<Experiment, String> {
    // Signatures of calls bear half a minute: with the first two everything goes on.
    const OFF_SECONDS: [i64; 6] = [25, -25, 3_600, -3_600, 86_400, -86_400];
    if crate::nemesis::faketime().is_none() {
        return Err("clocks are skewed with libfaketime, which is not installed".into());
    }
    Ok(Experiment {
        name: "c8",
        one_clock: false,
        faults: often(rng, asked.times(6, 30), 1_000..3_000, |rng| {
            let role = if rng.random() { Role::Orchestrator } else { Role::Runner };
            let off = OFF_SECONDS[rng.random_range(0..OFF_SECONDS.len())];
            Fault::SkewClock(role, off, asked.beyond_lease(rng))
        }),
        ..base
    })
}

/// A line that is cut on one side or both, slow, refused, or half closed.
fn partition(rng: &mut StdRng, asked: &Asked) -> Fault {
    let treatment = match rng.random_range(0..6) {
        0 => Treatment { cut_there: true, cut_back: true, ..Treatment::default() },
        1 => Treatment { cut_there: true, ..Treatment::default() },
        2 => Treatment { cut_back: true, ..Treatment::default() },
        3 => Treatment { refuse: true, ..Treatment::default() },
        4 => Treatment { half_closed: true, ..Treatment::default() },
        _ => Treatment { delay: Duration::from_millis(200), ..Treatment::default() },
    };
    let side = if rng.random_bool(0.3) { Side::Clients } else { Side::Runners };
    let longest = if asked.full { 30_000 } else { 8_000 };
    Fault::Network(side, treatment, Duration::from_millis(rng.random_range(1_000..longest)))
}

/// A fault of any kind each five seconds.
fn soak(rng: &mut StdRng, asked: &Asked) -> Vec<Planned> {
    const EVERY: Duration = Duration::from_secs(5);
    let time = asked.soak.unwrap_or(SOAK);
    let times = usize::try_from(time.as_secs() / EVERY.as_secs()).unwrap_or(usize::MAX);
    often(rng, times, 3_000..7_000, |rng| match rng.random_range(0..6) {
        0 => Fault::Kill(Role::Orchestrator),
        1 => Fault::Kill(Role::Runner),
        2 => Fault::Pause(Role::Runner, asked.beyond_lease(rng)),
        3 => Fault::Pause(Role::Orchestrator, Duration::from_millis(rng.random_range(500..3_000))),
        4 => Fault::Drain(if rng.random() { Role::Orchestrator } else { Role::Runner }),
        _ => partition(rng, asked),
    })
}

/// Three orchestrators and six runners on one server, each killed in turn; then some runners are
/// stopped beyond their leases.
fn scale_out(rng: &mut StdRng, asked: &Asked, base: Experiment) -> Result<Experiment, String> {
    let shape = needs_postgres("scale-out", base.shape)?;
    let shape = Shape { orchestrators: 3, runners: 6, ..shape };
    let mut turn = 0;
    let mut faults = often(rng, asked.times(9, 90), 800..2_000, |_| {
        let one = turn % 9;
        turn += 1;
        if one < 3 {
            Fault::KillOne(Role::Orchestrator, one)
        } else {
            Fault::KillOne(Role::Runner, one - 3)
        }
    });
    faults.extend(often(rng, asked.times(3, 30), 500..1_500, |rng| {
        Fault::Pause(Role::Runner, asked.beyond_lease(rng))
    }));
    let expect = late_results_are_refused;
    Ok(Experiment { name: "scale-out", shape, faults, expect, at_a_time: 10, ..base })
}

/// Runners keep their work while the orchestrator is gone, and new work follows at once.
fn nothing_twice_and_soon(evidence: &Evidence) -> Vec<Violation> {
    let again = duplicates(evidence);
    let mut found: Vec<Violation> = again
        .iter()
        .map(|((run, step), more)| {
            let what = format!("run {run}: {step} was executed {more} times too often");
            Violation::new("restart", what)
        })
        .collect();
    let mut first: Vec<i64> = evidence.faults.iter().filter_map(|f| f.first_step_ms).collect();
    first.sort_unstable();
    if let Some(p95) = percentile(&first, 95).filter(|p95| *p95 > FIRST_STEP_MS) {
        let what =
            format!("first new step {p95} ms after a restart (p95; at most {FIRST_STEP_MS})");
        found.push(Violation::new("restart", what));
    }
    found
}
