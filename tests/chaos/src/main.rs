//! Chaos: the product as real processes, faults injected by a seed, and its promises checked from
//! outside. `docs/CHAOS.md` says what is checked and how a failure is repeated.

mod catalogue;
mod checker;
mod client;
mod cluster;
mod database;
mod drive;
mod effects;
mod experiment;
mod figures;
mod history;
mod nemesis;
mod power;
mod proxy;
mod records;
mod service;
mod step;
mod workload;

use crate::catalogue::{ALL, Asked, PER_CHANGE, experiment};
use crate::cluster::Binaries;
use crate::database::Kind;
use crate::experiment::Place;
use crate::figures::Figures;
use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Exit code when a promise was broken.
const BROKEN: u8 = 1;
/// Exit code when the experiments could not be carried out.
const NOT_MADE: u8 = 2;

/// Inject faults into the product and check its promises.
#[derive(Debug, Clone, Parser)]
#[command(name = "meta-chaos")]
struct Args {
    /// Experiments by name; without one the per-change set, with --full all of them.
    experiments: Vec<String>,
    /// The `metabuilder` binary under test, or its folder; the services' binaries lie beside it.
    #[arg(long, default_value = "target/release/metabuilder")]
    bin: PathBuf,
    /// The binaries of another version, for rolling upgrades.
    #[arg(long)]
    other_bin: Option<PathBuf>,
    /// Where the orchestrators keep everything; without it each experiment on all it is for.
    #[arg(long)]
    db: Option<Kind>,
    /// What the faults and the work are made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The numbers of the night instead of those of a change.
    #[arg(long)]
    full: bool,
    /// The share of the night's faults, in percent.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    share: u8,
    /// How long the soak lasts, in minutes.
    #[arg(long)]
    soak_minutes: Option<u64>,
    /// Folder of the records; those of a clean experiment are removed.
    #[arg(long, default_value = "target/chaos")]
    records: PathBuf,
    /// Keep the records of clean experiments too.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((step::WORD, rest)) = words.split_first().map(|(w, rest)| (w.as_str(), rest)) {
        return step::main(rest, &meta_runtime::start::vars());
    }
    let args = Args::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::from(NOT_MADE);
        }
    };
    match runtime.block_on(all(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            eprintln!("chaos could not be made: {error:#}");
            ExitCode::from(NOT_MADE)
        }
    }
}

/// Carries the experiments out; answers whether every promise held.
async fn all(args: &Args) -> Result<bool> {
    let binaries = Binaries::find(&args.bin)?;
    let set: &[&str] = if args.full { &ALL } else { &PER_CHANGE };
    let names = if args.experiments.is_empty() {
        set.iter().map(|n| (*n).to_owned()).collect()
    } else {
        args.experiments.clone()
    };
    let (mut all, mut skipped) = (Vec::new(), Vec::new());
    for name in &names {
        for database in databases(name, args) {
            match one(name, database, &binaries, args).await {
                Ok(Ok(figures)) => {
                    tell(&figures, args);
                    all.push(figures);
                }
                Ok(Err(why)) => {
                    eprintln!("SKIPPED {name} ({database}): {why}");
                    skipped.push(json!({ "experiment": name, "why": why }));
                }
                Err(error) => return Err(error).with_context(|| format!("{name} ({database})")),
            }
        }
    }
    let held = all.iter().all(|f: &Figures| f.violations.is_empty());
    let violations: usize = all.iter().map(|f| f.violation_count).sum();
    let faults: usize = all.iter().map(|f| f.faults).sum();
    let whole = json!({
        "experiments": all, "skipped": skipped, "faults": faults, "violations": violations,
    });
    println!("{}", serde_json::to_string_pretty(&whole)?);
    Ok(held)
}

/// On which databases an experiment is carried out.
fn databases(name: &str, args: &Args) -> Vec<Kind> {
    match (args.db, name) {
        (Some(kind), _) => vec![kind],
        (None, "c4" | "c5" | "scale-out") => vec![Kind::Postgres],
        (None, "c1") => vec![Kind::Sqlite, Kind::Postgres],
        (None, _) if args.full && name != "c6" => vec![Kind::Sqlite, Kind::Postgres],
        (None, _) => vec![Kind::Sqlite],
    }
}

/// Carries one experiment out, or says why it cannot be.
async fn one(
    name: &str,
    database: Kind,
    binaries: &Binaries,
    args: &Args,
) -> Result<Result<Figures, String>> {
    if database == Kind::Postgres && !binaries.has_setting("database") {
        return Ok(Err("this orchestrator has no setting `database`: SQLite only".to_owned()));
    }
    let asked = Asked {
        seed: args.seed,
        database,
        full: args.full,
        share: usize::from(args.share),
        other: args.other_bin.clone(),
        lease: Duration::from_millis(binaries.lease_ms()),
        soak: args.soak_minutes.map(|m| Duration::from_secs(m * 60)),
    };
    let experiment = match experiment(name, &asked) {
        Ok(experiment) => experiment,
        Err(why) => return Ok(Err(why)),
    };
    let folder = args.records.join(format!("{name}-{database}-{}", args.seed));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    eprintln!("{name} ({database}): {} faults, seed {}", experiment.faults.len(), args.seed);
    let place = Place { binaries: binaries.clone(), folder, seed: args.seed };
    let figures = experiment.run(&place).await?;
    if figures.violations.is_empty() && !args.keep {
        std::fs::remove_dir_all(&place.folder)?;
    }
    Ok(Ok(figures))
}

/// Says how an experiment went, and how a failure is repeated.
fn tell(figures: &Figures, args: &Args) {
    let name = &figures.experiment;
    let broken = figures.violation_count;
    eprintln!(
        "{name} ({}): {} faults, {} runs, {} executions ({} again), {} violations, {} s",
        figures.database,
        figures.faults,
        figures.runs,
        figures.executions,
        figures.duplicate_executions,
        broken,
        figures.seconds
    );
    if broken == 0 {
        return;
    }
    for violation in &figures.violations {
        eprintln!("  {}: {}", violation.invariant, violation.what);
    }
    if broken > figures.violations.len() {
        eprintln!("  and {} more, in violations.json", broken - figures.violations.len());
    }
    let full = match args.share {
        100 if args.full => " --full".to_owned(),
        share if args.full => format!(" --full --share {share}"),
        _ => String::new(),
    };
    let (database, seed) = (&figures.database, figures.seed);
    eprintln!("  seed {seed}; records in {}", args.records.display());
    eprintln!(
        "  repeat: target/debug/meta-chaos {name} --db {database} --seed {seed}{full} --bin {}",
        args.bin.display()
    );
}
