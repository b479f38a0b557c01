//! Scores the classifier, by text alone, on a folder of labelled logs: `accuracy [--learn] [DIR]`.
//!
//! Prints a table by type, the false alarms and how well the confidence holds. `--learn` also
//! writes the record of each rule to `learned.toml`.

#![expect(clippy::cast_precision_loss, reason = "counts are far below the limits")]

use classifier::core::learned::{Learned, Record};
use classifier::core::{ClassifyInput, Rules, check, classify};
use classifier::labelled::{self, LabelledLog};
use meta_domain::failure::FailureType;
use meta_domain::signal::Signal;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const HOME: &str = env!("CARGO_MANIFEST_DIR");
/// Edges of the reliability table.
const BINS: [f64; 6] = [0.0, 0.5, 0.7, 0.8, 0.9, 1.01];

struct Scored {
    log: LabelledLog,
    signal: Option<Signal>,
}

impl Scored {
    fn verdict(&self) -> Option<FailureType> {
        self.signal.as_ref().map(|signal| signal.failure_type)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let learn = args.first().is_some_and(|arg| arg == "--learn");
    args.drain(..usize::from(learn));
    let own = PathBuf::from(HOME).join("../../tests/golden");
    let dir = args.first().map_or(own, PathBuf::from);
    let rules = Rules::embedded()?;
    let scored: Vec<Scored> = labelled::read(&dir)?
        .into_iter()
        .map(|log| {
            let input = ClassifyInput { log: &log.log, ..ClassifyInput::default() };
            Scored { signal: classify(&rules, &input), log }
        })
        .collect();
    if learn {
        write_learned(&rules, &scored)?;
    }
    print!("{}{}{}", by_type(&scored)?, totals(&scored)?, reliability(&scored)?);
    Ok(())
}

fn percent(part: usize, whole: usize) -> String {
    let share = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    format!("{share:.1} %")
}

fn by_type(scored: &[Scored]) -> Result<String, std::fmt::Error> {
    let mut out =
        String::from("| type | logs | found | right | right or defensible | precision |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for failure_type in FailureType::ALL {
        let of_type: Vec<&Scored> =
            scored.iter().filter(|s| s.log.expected == failure_type).collect();
        let said = |s: &&Scored| s.verdict().unwrap_or(FailureType::Unknown) == failure_type;
        let found = scored.iter().filter(said).count();
        let right = of_type.iter().filter(|s| s.log.is_right(s.verdict())).count();
        let fair = of_type.iter().filter(|s| s.log.is_defensible(s.verdict())).count();
        writeln!(
            out,
            "| {failure_type} | {} | {found} | {right} | {fair} | {} |",
            of_type.len(),
            percent(right, found)
        )?;
    }
    Ok(out)
}

fn totals(scored: &[Scored]) -> Result<String, std::fmt::Error> {
    let count = |test: &dyn Fn(&Scored) -> bool| scored.iter().filter(|s| test(s)).count();
    let right = count(&|s| s.log.is_right(s.verdict()));
    let fair = count(&|s| s.log.is_defensible(s.verdict()));
    let benign = count(&|s| s.log.benign);
    let alarms = count(&|s| s.log.benign && !s.log.is_right(s.verdict()));
    let mut out = format!(
        "\n{} logs: strict {}, lenient {}; {alarms} false alarms on {benign} logs of successes\n",
        scored.len(),
        percent(right, scored.len()),
        percent(fair, scored.len())
    );
    for s in scored.iter().filter(|s| !s.log.is_right(s.verdict())) {
        let said = s.verdict().map_or("none", FailureType::as_str);
        let source = s.signal.as_ref().map_or("-", |signal| signal.source.as_str());
        let mark = if s.log.is_defensible(s.verdict()) { " (defensible)" } else { "" };
        writeln!(out, "  {}: {said} by {source}, expected {}{mark}", s.log.id, s.log.expected)?;
    }
    Ok(out)
}

fn reliability(scored: &[Scored]) -> Result<String, std::fmt::Error> {
    let mut out = String::from("\n| confidence | verdicts | mean | right or defensible |\n");
    out.push_str("| --- | --- | --- | --- |\n");
    for edges in BINS.windows(2) {
        let inside: Vec<(&Scored, f64)> = scored
            .iter()
            .filter_map(|s| Some((s, s.signal.as_ref()?.confidence)))
            .filter(|(_, confidence)| (edges[0]..edges[1]).contains(confidence))
            .collect();
        if inside.is_empty() {
            continue;
        }
        let fair = inside.iter().filter(|(s, _)| s.log.is_defensible(s.verdict())).count();
        let mean = inside.iter().map(|(_, c)| c).sum::<f64>() / inside.len() as f64;
        let (low, high) = (edges[0], edges[1].min(1.0));
        let share = percent(fair, inside.len());
        writeln!(out, "| {low:.1} to {high:.1} | {} | {mean:.2} | {share} |", inside.len())?;
    }
    Ok(out)
}

fn write_learned(rules: &Rules, scored: &[Scored]) -> Result<(), Box<dyn Error>> {
    let strengths: BTreeMap<String, u8> =
        check::list(rules).into_iter().map(|rule| (rule.id, rule.strength)).collect();
    let mut learned = Learned::default();
    for s in scored {
        let Some(signal) = &s.signal else { continue };
        let Some(strength) = strengths.get(&signal.source) else { continue };
        let right = u32::from(s.log.is_defensible(s.verdict()));
        let band = learned.band.entry((strength / 10).to_string()).or_default();
        (band.right, band.seen) = (band.right + right, band.seen + 1);
        let own = learned.rule.entry(signal.source.clone()).or_default();
        (own.right, own.seen) = (own.right + right, own.seen + 1);
    }
    let mut text = String::from(
        "# Written by `make learn`: in how many labelled logs each rule decided, and was right.\n",
    );
    for (name, table) in [("band", &learned.band), ("rule", &learned.rule)] {
        writeln!(text, "\n[{name}]")?;
        for (key, Record { right, seen }) in table {
            writeln!(text, "\"{key}\" = {{ right = {right}, seen = {seen} }}")?;
        }
    }
    std::fs::write(Path::new(HOME).join("learned.toml"), text)?;
    Ok(())
}
