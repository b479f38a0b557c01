//! What telemetry costs: the same load without it, with all of it sent to a collector and scraped
//! each second, and with a collector that is not there.

use super::driver::Driver;
use super::usage::Usage;
use super::{load, median, round};
use anyhow::{Context, Result, ensure};
use meta_runtime::logs;
use meta_runtime::telemetry::Telemetry;
use meta_telemetry::exposition;
use meta_tests::processes::collector::Collector;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often each is measured, in turns: the machine is not the same all the time.
const TURNS: usize = 5;
/// Runs before the clock starts.
const WARM: usize = 300;
/// How often what would be scraped is rendered.
const SCRAPE: Duration = Duration::from_secs(1);
/// Where the collector of a part listens.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Each part in processes of its own, the collector in one too.
pub fn compare() -> Result<Value> {
    let mut collector =
        Command::new(std::env::current_exe()?).arg("collector").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let out = collector.stdout.take().context("standard output")?;
    BufReader::new(out).read_line(&mut line)?;
    let measured = turns(line.trim());
    collector.kill()?;
    collector.wait()?;
    measured
}

fn turns(endpoint: &str) -> Result<Value> {
    let mut speeds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut costs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut memory: BTreeMap<&str, f64> = BTreeMap::new();
    for _ in 0..TURNS {
        for part in ["untold", "told", "unreached"] {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(part).stderr(Stdio::null());
            match part {
                "told" => command.env(ENDPOINT, endpoint),
                // port 9 of loopback: nobody is there
                "unreached" => command.env(ENDPOINT, "http://127.0.0.1:9"),
                _ => command.env_remove(ENDPOINT),
            };
            let output = command.output()?;
            ensure!(output.status.success(), "{part}: {}", output.status);
            let one: Value = serde_json::from_slice(&output.stdout)?;
            let number = |name: &str| one[name].as_f64().with_context(|| name.to_owned());
            speeds.entry(part).or_default().push(number("steps_per_s")?);
            costs.entry(part).or_default().push(number("cpu_ms_per_step")?);
            let rss = memory.entry(part).or_default();
            *rss = rss.max(number("peak_rss_mib")?);
        }
    }
    let middle = |of: &BTreeMap<&str, Vec<f64>>, part: &str| {
        let mut all = of[part].clone();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let mut report = json!({});
    for part in ["untold", "told", "unreached"] {
        report[part] = json!({
            "steps_per_s": middle(&speeds, part),
            "cpu_ms_per_step": middle(&costs, part),
            "peak_rss_mib": memory[part],
        });
    }
    for part in ["told", "unreached"] {
        // each turn against its own neighbour
        let mut ratios: Vec<f64> =
            speeds[part].iter().zip(&speeds["untold"]).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        report[part]["of_throughput_without"] = round(ratios[ratios.len() / 2]).into();
        let cpu = middle(&costs, part) / middle(&costs, "untold");
        report[part]["of_processor_time_without"] = round(cpu).into();
    }
    Ok(report)
}

/// One part, in this process.
pub async fn measure(part: &str) -> Result<Value> {
    let config = logs::Config { format: logs::Format::Json, level: "info".to_owned() };
    let vars = meta_runtime::start::vars();
    let telemetry = Telemetry::start(part, &vars, &config);
    let telemetry = telemetry.map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let driver = Driver::start("metabuilder.db").await?;
    let spec = driver.spec(5).await?;
    load(&driver, &spec, WARM).await?;
    let scraping = (part != "untold").then(|| {
        tokio::spawn(async {
            loop {
                tokio::time::sleep(SCRAPE).await;
                std::hint::black_box(exposition::render(true));
            }
        })
    });
    let mut report = median(&driver, &spec).await?;
    if let Some(scraping) = scraping {
        scraping.abort();
    }
    report["peak_rss_mib"] = Usage::peak_rss_mib()?.into();
    driver.end();
    telemetry.end().await;
    Ok(report)
}

/// The collector of a comparison: says where it is, and forgets what it is sent until it is killed.
pub async fn collect() -> Result<Value> {
    let collector = Collector::forgetful().await?;
    println!("{}", collector.endpoint);
    std::future::pending().await
}
