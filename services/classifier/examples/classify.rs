//! Classifies files by their text alone: one JSON object a line with `path` and `type`.

use classifier::core::{ClassifyInput, Rules, classify};
use serde_json::json;
use std::process::ExitCode;

fn main() -> ExitCode {
    let rules = match Rules::embedded() {
        Ok(rules) => rules,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for path in std::env::args().skip(1) {
        let log = match std::fs::read(&path) {
            Ok(log) => log,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let signal = classify(&rules, &ClassifyInput { log: &log, ..ClassifyInput::default() });
        let kind = signal.as_ref().map_or("none", |signal| signal.failure_type.as_str());
        println!("{}", json!({ "path": path, "type": kind, "signal": signal }));
    }
    ExitCode::SUCCESS
}
