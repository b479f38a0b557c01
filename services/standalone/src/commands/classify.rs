//! `metabuilder classify`: the classifier's core on files or standard input.

use crate::args::{ClassifyArgs, ClassifyOutput};
use crate::display::lines::{Paint, evidence};
use crate::error::{Error, Exit, Result};
use classifier::core::{ClassifyInput, Rules, classify};
use meta_domain::signal::{ExitInfo, Signal};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes read of one log; what follows is not looked at.
const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The verdict on one log.
#[derive(Debug, Serialize)]
struct Verdict {
    path: String,
    #[serde(rename = "type")]
    failure_type: &'static str,
    #[serde(flatten)]
    signal: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Classifies the logs.
pub fn run(args: &ClassifyArgs) -> Result<Exit> {
    let rules = classifier::rules::load(args.rules.as_deref())
        .map_err(|e| Error::usage("the rules cannot be used", e))?;
    if args.files.is_empty() {
        let mut log = Vec::new();
        let read = std::io::stdin().lock().take(LOG_BYTES_MAX).read_to_end(&mut log);
        read.map_err(|e| Error::usage("standard input cannot be read", e))?;
        let signal = signal(&rules, args, &log);
        return print(args, &[("-".to_owned(), signal)]);
    }
    let mut unread = Vec::new();
    let mut verdicts = Vec::new();
    for path in &args.files {
        match read(path) {
            Ok(log) => verdicts.push((path.display().to_string(), signal(&rules, args, &log))),
            Err(error) => unread.push(format!("{}: {error}", path.display())),
        }
    }
    print(args, &verdicts)?;
    if unread.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Error::several("some logs cannot be read", unread))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut log = Vec::new();
    File::open(path)?.take(LOG_BYTES_MAX).read_to_end(&mut log)?;
    Ok(log)
}

fn signal(rules: &Rules, args: &ClassifyArgs, log: &[u8]) -> Option<Signal> {
    let exit = args.exit_code.map(ExitInfo::code);
    classify(rules, &ClassifyInput { step_name: &args.step, command: &args.command, log, exit })
}

fn verdict(path: &str, signal: Option<&Signal>) -> Result<Verdict> {
    let fields = match signal.map(serde_json::to_value).transpose() {
        Ok(Some(serde_json::Value::Object(mut fields))) => {
            fields.remove("failure_type");
            Some(fields)
        }
        Ok(_) => None,
        Err(error) => return Err(Error::failed("the signal cannot be printed", error)),
    };
    let failure_type = signal.map_or("none", |s| s.failure_type.as_str());
    Ok(Verdict { path: path.to_owned(), failure_type, signal: fields })
}

fn print(args: &ClassifyArgs, found: &[(String, Option<Signal>)]) -> Result<Exit> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let verdicts = || found.iter().map(|(path, signal)| verdict(path, signal.as_ref()));
    let json = |e| Error::failed("the signal cannot be printed", e);
    match args.output {
        ClassifyOutput::Jsonl => {
            for verdict in verdicts() {
                writeln!(out, "{}", serde_json::to_string(&verdict?).map_err(json)?)?;
            }
        }
        ClassifyOutput::Json => {
            let all: Vec<Verdict> = verdicts().collect::<Result<_>>()?;
            let text = match all.as_slice() {
                [only] => serde_json::to_string_pretty(only),
                many => serde_json::to_string_pretty(many),
            };
            writeln!(out, "{}", text.map_err(json)?)?;
        }
        ClassifyOutput::Text => {
            for (path, signal) in found {
                writeln!(out, "{}", text(path, signal.as_ref()))?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn text(path: &str, signal: Option<&Signal>) -> String {
    let Some(signal) = signal else { return format!("{path}: no failure") };
    let retry = if signal.can_retry { "may pass on a retry" } else { "a retry does not help" };
    let tool =
        if signal.tool.is_empty() { String::new() } else { format!(", tool {}", signal.tool) };
    let mut lines = vec![
        format!("{path}: {} ({} severity, {retry})", signal.failure_type, signal.severity),
        format!("     {}", crate::patch::printable(&signal.message)),
        format!("     rule {}, confidence {:.2}{tool}", signal.source, signal.confidence),
    ];
    lines.extend(evidence(Paint::plain(), &signal.evidence, usize::MAX));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_domain::failure::{FailureType, Severity};
    use meta_domain::signal::EvidenceLine;

    fn example() -> Signal {
        Signal {
            failure_type: FailureType::Lint,
            source: "ruff".to_owned(),
            message: "E501 line too long".to_owned(),
            severity: Severity::Low,
            can_retry: false,
            requires_replan: false,
            confidence: 0.9,
            evidence: vec![EvidenceLine { line: 3, text: "a.py:1:1: E501".to_owned() }],
            locations: Vec::new(),
            tool: "ruff".to_owned(),
            fingerprint: "f".to_owned(),
            retry_after_ms: None,
            runner_up: None,
            unknown_reason: None,
        }
    }

    #[test]
    fn an_object_has_path_type_and_the_rest_of_the_signal() {
        let json = serde_json::to_value(verdict("a.log", Some(&example())).unwrap()).unwrap();
        assert_eq!(json["path"], "a.log");
        assert_eq!(json["type"], "lint");
        assert_eq!(json["confidence"], 0.9);
        assert_eq!(json["evidence"][0]["line"], 3);
        assert!(json.get("failure_type").is_none());
    }

    #[test]
    fn no_failure_is_none() {
        let json = serde_json::to_value(verdict("-", None).unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({ "path": "-", "type": "none" }));
        assert_eq!(text("-", None), "-: no failure");
    }

    #[test]
    fn people_see_the_evidence_with_its_line_numbers() {
        let text = text("a.log", Some(&example()));
        assert!(text.starts_with("a.log: lint (low severity, a retry does not help)"), "{text}");
        assert!(text.contains("    3 | a.py:1:1: E501"), "{text}");
    }
}
