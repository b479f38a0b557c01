//! Measures the classifier and prints JSON: speed over a mixed log, time for a small log, memory
//! for an endless stream, and what hostile logs cost next to a plain one.

#![expect(clippy::cast_precision_loss, reason = "counts are far below the limits")]

use classifier::core::{ClassifyInput, LogStream, Rules, classify};
use classifier::labelled;
use serde_json::json;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of the mixed log.
const MIXED_BYTES: usize = 50_000_000;
/// Bytes of the small log.
const SMALL_BYTES: usize = 64 * 1024;
/// Bytes of the stream.
const STREAM_BYTES: usize = 1_000_000_000;
/// Bytes of each hostile log.
const HOSTILE_BYTES: usize = 10_000_000;
/// The share of our own logs in the mixed log. Nearly all of what builds print is ordinary.
const OWN_PERCENT: usize = 10;
/// The share in a log that is full of failures.
const DENSE_PERCENT: usize = 50;
/// How often the mixed log is read.
const ROUNDS: usize = 7;
/// How often a small log is read; the best time counts, since others share the machine.
const SMALL_TRIES: usize = 5;
/// Time on a processor that a figure needs to be trusted.
const HOSTILE_SECONDS_MIN: f64 = 0.3;
/// How many different small logs are read.
const SMALL_ROUNDS: usize = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = Arc::new(Rules::embedded()?);
    let logs = labelled::read(&home.join("../../tests/golden"))?;
    let logs: Vec<Vec<u8>> = logs.into_iter().map(|log| log.log).collect();
    let ordinary = std::fs::read_to_string(home.join("ordinary.txt"))?;

    // The stream comes first: the high-water mark of memory never falls again.
    let part = mixed(&logs, &ordinary, 1_000_000, OWN_PERCENT);
    let mut stream = LogStream::new(Arc::clone(&rules));
    for _ in 0..STREAM_BYTES / part.len() {
        for chunk in part.chunks(64 * 1024) {
            stream.feed(chunk);
        }
    }
    black_box(stream.finish(&ClassifyInput::default()));
    let stream_peak = status_kib("VmHWM:")?;

    let log = mixed(&logs, &ordinary, MIXED_BYTES, OWN_PERCENT);
    let mixed_speeds = speeds(&rules, &log)?;
    let dense_speeds = speeds(&rules, &mixed(&logs, &ordinary, MIXED_BYTES, DENSE_PERCENT))?;

    let mut small: Vec<f64> = Vec::new();
    for round in 0..SMALL_ROUNDS {
        let start = round * SMALL_BYTES;
        small.push(best_ms(&rules, &log[start..start + SMALL_BYTES]));
    }
    small.sort_by(f64::total_cmp);

    let plain = per_byte(&rules, &ordinary.repeat(HOSTILE_BYTES / ordinary.len()).into_bytes())?;
    let mut hostile = serde_json::Map::new();
    for (name, log) in hostile_logs() {
        let ratio = per_byte(&rules, &log)? / plain;
        hostile.insert(name.to_owned(), json!((ratio * 100.0).round() / 100.0));
    }
    let report = json!({
        "rules": rules.len(),
        "mixed_log": format!("{OWN_PERCENT} % our own logs of failures and successes, the rest ordinary lines; a third each plain, coloured, time-stamped"),
        "mixed_mb": MIXED_BYTES / 1_000_000,
        "mb_per_cpu_second_median": mixed_speeds[ROUNDS / 2].round(),
        "mb_per_cpu_second_best": mixed_speeds[ROUNDS - 1].round(),
        "dense_log": format!("the same with {DENSE_PERCENT} % our own logs"),
        "dense_mb_per_cpu_second_median": dense_speeds[ROUNDS / 2].round(),
        "small_log_kib": SMALL_BYTES / 1024,
        "small_log_p50_ms": round3(small[SMALL_ROUNDS / 2]),
        "small_log_p99_ms": round3(small[SMALL_ROUNDS * 99 / 100]),
        "stream_gb": STREAM_BYTES / 1_000_000_000,
        "stream_peak_mib": stream_peak / 1024,
        "hostile_time_per_byte_next_to_plain": hostile,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn classify_all(rules: &Rules, log: &[u8]) -> bool {
    classify(rules, &ClassifyInput { log, ..ClassifyInput::default() }).is_some()
}

/// Megabytes per second on a processor, the slowest round first.
fn speeds(rules: &Rules, log: &[u8]) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut speeds = Vec::new();
    for _ in 0..ROUNDS {
        let took = seconds(|| black_box(classify_all(rules, log)))?;
        speeds.push(log.len() as f64 / 1e6 / took);
    }
    speeds.sort_by(f64::total_cmp);
    Ok(speeds)
}

fn best_ms(rules: &Rules, log: &[u8]) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..SMALL_TRIES {
        let start = Instant::now();
        black_box(classify_all(rules, log));
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

/// Our own logs and ordinary lines by turns, dressed in turn as they are, in colour, and with the
/// time stamps of a continuous-integration system. Digits of ordinary lines vary.
fn mixed(logs: &[Vec<u8>], ordinary: &str, bytes: usize, own_percent: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes + 100_000);
    let mut state = 7_u64;
    let (mut own, mut all) = (0, 0);
    while out.len() < bytes {
        let pick = next(&mut state);
        let is_own = own * 100 <= all * own_percent;
        let varied: Vec<u8>;
        let text = if is_own {
            &logs[pick % logs.len()]
        } else {
            varied = ordinary.bytes().map(|byte| vary(byte, &mut state)).collect();
            &varied
        };
        for line in text.split(|byte| *byte == b'\n') {
            match pick % 3 {
                0 => out.extend_from_slice(line),
                1 => out.extend([b"\x1b[32m".as_slice(), line, b"\x1b[0m"].concat()),
                _ => out.extend([b"2026-01-31T10:20:30.1234567Z ".as_slice(), line].concat()),
            }
            out.push(b'\n');
        }
        own += if is_own { text.len() } else { 0 };
        all += text.len();
    }
    out.truncate(bytes);
    out
}

fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

fn vary(byte: u8, state: &mut u64) -> u8 {
    if byte.is_ascii_digit() { b"0123456789"[next(state) % 10] } else { byte }
}

fn hostile_logs() -> Vec<(&'static str, Vec<u8>)> {
    let repeat = |piece: &[u8]| piece.repeat(HOSTILE_BYTES / piece.len());
    let mut state = 7_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    };
    vec![
        ("one_line", repeat(b"a long line without an end ")),
        ("one_line_of_errors", repeat(b"error: cannot find value `x` ")),
        ("one_byte_lines", repeat(b"x\n")),
        ("empty_lines", repeat(b"\n")),
        ("binary_noise", (0..HOSTILE_BYTES).map(|_| noise()).collect()),
        ("invalid_utf8", repeat(b"\xff\xfe\xc3\x28\n")),
        ("half_an_escape", repeat(b"\x1b[31")),
        ("open_titles", repeat(b"\x1b]0;never closed\n")),
        ("escapes_only", repeat(b"\x1b")),
        ("carriage_returns", repeat(b"50%\r")),
        ("findings_only", repeat(b"src/a.py:1:8: F401 `os` imported but unused\n")),
    ]
}

/// Seconds a byte. The clock of the processor may tick in steps of milliseconds, so the log is
/// read until enough of them passed.
fn per_byte(rules: &Rules, log: &[u8]) -> Result<f64, Box<dyn Error>> {
    let (mut took, mut rounds) = (0.0, 0);
    while took < HOSTILE_SECONDS_MIN {
        took += seconds(|| black_box(classify_all(rules, log)))?;
        rounds += 1;
    }
    Ok(took / f64::from(rounds) / log.len() as f64)
}

/// Seconds that this thread was on a processor while it did the work.
fn seconds<T>(work: impl FnOnce() -> T) -> Result<f64, Box<dyn Error>> {
    let before = on_cpu_ns()?;
    black_box(work());
    Ok((on_cpu_ns()? - before) as f64 / 1e9)
}

fn on_cpu_ns() -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().ok_or("schedstat is empty")?.parse()?)
}

fn status_kib(field: &str) -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse()?)
}

fn round3(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
