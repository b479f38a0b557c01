//! SARIF 2.1.0: a result for each failure, at the places that it names. What was healed is a note.

use super::{Report, Step, line};
use crate::progress::Failure;
use meta_domain::failure::Severity;
use meta_domain::signal::Location;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Locations of one result at most.
const LOCATIONS_MAX: usize = 10;
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The report as a SARIF document.
pub fn document(report: &Report) -> Value {
    let mut rules: BTreeMap<&str, Value> = BTreeMap::new();
    let mut results = Vec::new();
    for step in &report.steps {
        let mut seen = Vec::new();
        // the latest of equal failures tells how it ended
        for failure in step.failures.iter().rev() {
            if seen.contains(&failure.fingerprint) {
                continue;
            }
            seen.push(failure.fingerprint.clone());
            rules.entry(&failure.rule).or_insert_with(|| rule(failure));
            results.push(result(step, failure, &report.root));
        }
    }
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "metabuilder",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_values().collect::<Vec<_>>(),
            }},
            "automationDetails": { "id": format!("metabuilder/{}", report.run_id) },
            "invocations": [{ "executionSuccessful": report.status == "succeeded" }],
            "results": results,
        }],
    })
}

fn rule(failure: &Failure) -> Value {
    json!({
        "id": failure.rule,
        "shortDescription": { "text": format!("{} failure", failure.kind) },
        "properties": { "tags": [failure.kind.as_str()] },
    })
}

fn result(step: &Step, failure: &Failure, root: &str) -> Value {
    let healed: Vec<&str> = step.healed.iter().map(|h| h.by.as_str()).collect();
    let level = match failure.severity {
        _ if step.passed() => "note",
        Severity::Low => "warning",
        Severity::Medium | Severity::High | Severity::Critical => "error",
    };
    let text = format!("{} in step {}: {}", failure.kind, step.name, line(&failure.message));
    let places = failure.locations.iter().filter_map(|l| location(l, root)).take(LOCATIONS_MAX);
    json!({
        "ruleId": failure.rule,
        "level": level,
        "message": { "text": text },
        "locations": places.collect::<Vec<_>>(),
        "partialFingerprints": { "metabuilder/v1": failure.fingerprint },
        "properties": {
            "step": step.name,
            "tool": failure.tool,
            "confidence": failure.confidence,
            "healedBy": healed,
            "flaky": step.flaky,
        },
    })
}

/// A place inside the project; others say nothing to whoever reads the report.
fn location(place: &Location, root: &str) -> Option<Value> {
    let file = place.file.strip_prefix("./").unwrap_or(&place.file);
    let below = file.strip_prefix(root).and_then(|f| f.strip_prefix('/'));
    let file = below.unwrap_or(file);
    let inside = !file.is_empty() && !file.starts_with('/') && !file.split('/').any(|p| p == "..");
    if !inside {
        return None;
    }
    let mut physical =
        json!({ "artifactLocation": { "uri": uri(file), "uriBaseId": "%SRCROOT%" } });
    if place.line > 0 {
        physical["region"] = json!({ "startLine": place.line });
        if place.column > 0 {
            physical["region"]["startColumn"] = place.column.into();
        }
    }
    Some(json!({ "physicalLocation": physical }))
}

/// A relative path as a URI reference.
fn uri(path: &str) -> String {
    path.bytes().fold(String::new(), |mut uri, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
        uri
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn failures_are_results_at_their_places() {
        let document = document(&report("failed"));
        let results = document["runs"][0]["results"].as_array().unwrap();
        let of = |step: &str| results.iter().find(|r| r["properties"]["step"] == step).unwrap();
        assert_eq!(of("fmt")["level"], "note");
        assert_eq!(of("fmt")["properties"]["healedBy"][0], "cargo fmt");
        let audit = of("audit");
        assert_eq!((&audit["level"], &audit["ruleId"]), (&"error".into(), &"gitleaks".into()));
        let place = &audit["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "config/shop%20one.toml");
        assert_eq!(place["region"]["startLine"], 2);
        assert_eq!(audit["locations"].as_array().unwrap().len(), 1, "only places in the project");
        let rules = document["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
        assert!(rules.iter().any(|r| r["id"] == "gitleaks"));
    }

    #[test]
    fn places_are_told_relative_to_where_the_project_was_seen() {
        let uri = |file: &str| {
            let place = Location { file: file.to_owned(), line: 3, ..Location::default() };
            location(&place, "/home/ann/shop").map(|l| {
                let at = &l["physicalLocation"]["artifactLocation"]["uri"];
                at.as_str().unwrap_or_default().to_owned()
            })
        };
        assert_eq!(uri("/home/ann/shop/src/lib.rs").as_deref(), Some("src/lib.rs"));
        assert_eq!(uri("./src/lib.rs").as_deref(), Some("src/lib.rs"));
        assert_eq!(uri("/home/ann/shopping/a.rs"), None);
        assert_eq!(uri("src/../../a.rs"), None);
    }

    #[test]
    fn the_same_failure_again_is_one_result() {
        let mut report = report("failed");
        let again = report.steps[2].failures[0].clone();
        report.steps[2].failures.push(again);
        let document = document(&report);
        let results = document["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.iter().filter(|r| r["ruleId"] == "gitleaks").count(), 1);
    }
}
