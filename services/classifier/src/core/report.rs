//! Writes the signal: message, evidence, locations, confidence, fingerprint.

use super::arbitrate::Verdict;
use super::backoff::retry_after_ms;
use super::classify::ClassifyInput;
use super::fingerprint::fingerprint;
use super::hint::Hint;
use super::hits::Hit;
use super::rule::Action;
use super::rules::Rules;
use super::scan::Scan;
use meta_domain::failure::{FailureType, Severity};
use meta_domain::masking::mask_secrets;
use meta_domain::signal::{EvidenceLine, Location, Signal, UnknownReason};
use regex::bytes::Captures;

/// Characters of a message.
const MESSAGE_CHARS_MAX: usize = 300;
/// Lines of evidence in a signal.
const EVIDENCE_LINES_MAX: usize = 10;
/// Lines of evidence for the type that came second, such as the exception below a failed test.
const EVIDENCE_LINES_SECOND_MAX: usize = 3;
/// Locations in a signal.
const LOCATIONS_MAX: usize = 50;
/// Lines between a finding and the line that says where it is.
const LOCATE_LINES: u64 = 6;
/// Lines between a finding and the line that names its code.
const CODE_LINES: u64 = 15;
/// Confidence when nothing matched.
const CONFIDENCE_UNKNOWN: f64 = 0.1;
/// Confidence when only the command says what failed.
const CONFIDENCE_ROLE: f64 = 0.4;
/// What is left of the confidence when evidence as strong speaks for another type.
const CONFIDENCE_DISPUTED: f64 = 0.85;

/// Builds the signal of a verdict.
pub(crate) fn signal(
    rules: &Rules,
    scan: &Scan,
    verdict: &Verdict,
    hint: Option<&Hint>,
    input: &ClassifyInput,
) -> Signal {
    let tool = tool(rules, verdict, hint);
    let message = message(rules, scan, verdict, input);
    let locations = locations(rules, scan, verdict, &tool);
    let codes: Vec<&str> = codes(rules, verdict, &locations);
    let policy = verdict.failure_type.policy();
    Signal {
        failure_type: verdict.failure_type,
        source: verdict.source.clone(),
        severity: severity(rules, verdict, policy.severity),
        can_retry: policy.can_retry,
        requires_replan: false,
        confidence: confidence(rules, verdict),
        evidence: evidence(scan, verdict),
        fingerprint: fingerprint(verdict.failure_type, &tool, &message, &codes),
        message,
        locations,
        tool,
        retry_after_ms: retry_after_ms(rules, scan, verdict.failure_type),
        runner_up: verdict.runner_up.map(|(failure_type, _)| failure_type),
        unknown_reason: verdict.unknown_reason,
    }
}

/// The deciding rule's tool, else one of the other hits', else what the command says.
fn tool(rules: &Rules, verdict: &Verdict, hint: Option<&Hint>) -> String {
    let of_hits = verdict.hits.iter().map(|hit| rules.all[hit.rule].spec.tool.as_str());
    let of_command = hint.map(|hint| hint.tool.as_str());
    let deciding = of_hits.clone().next().filter(|tool| !tool.is_empty());
    let mut any = of_hits.filter(|tool| !tool.is_empty());
    let tool = deciding.or(of_command.filter(|tool| !tool.is_empty())).or_else(|| any.next());
    tool.unwrap_or_default().to_owned()
}

fn severity(rules: &Rules, verdict: &Verdict, usual: Severity) -> Severity {
    match verdict.rule {
        Some(rule) => rules.all[rule].spec.severity.unwrap_or(usual),
        None if verdict.source.starts_with("exit.oom") => Severity::High,
        None => usual,
    }
}

fn message(rules: &Rules, scan: &Scan, verdict: &Verdict, input: &ClassifyInput) -> String {
    let text = match (verdict.rule, verdict.hits.first()) {
        (Some(rule), Some(hit)) => {
            let line = hit.text.as_bytes();
            let captures = rules.all[rule].line.captures(line);
            let named = captures.and_then(|found| capture(&found, "message"));
            named.unwrap_or_else(|| hit.text.trim().to_owned())
        }
        _ if !verdict.message.is_empty() => verdict.message.clone(),
        _ => unknown_message(scan, verdict, input),
    };
    let masked = mask_secrets(&text);
    let line = masked.split_whitespace().collect::<Vec<_>>().join(" ");
    super::text::printable(line.as_bytes(), MESSAGE_CHARS_MAX)
}

fn unknown_message(scan: &Scan, verdict: &Verdict, input: &ClassifyInput) -> String {
    let code = input.exit.and_then(|exit| exit.code);
    let ended = match (input.exit.and_then(|exit| exit.signal), code) {
        (Some(signal), _) => format!("the step died of signal {signal}"),
        (None, Some(code)) => format!("the step failed with exit code {code}"),
        (None, None) => "the step failed".to_owned(),
    };
    match (verdict.unknown_reason, scan.last_lines.last()) {
        (Some(UnknownReason::Conflicting), _) => format!("{ended}; what it printed is ambiguous"),
        (_, Some((_, last))) => format!("{ended}; its last line was: {}", last.trim()),
        (_, None) => format!("{ended} and printed nothing"),
    }
}

/// From the record of the deciding rule, down when other evidence disagrees. A verdict that no
/// rule decided has no record: its strength stands in for one.
fn confidence(rules: &Rules, verdict: &Verdict) -> f64 {
    if verdict.failure_type == FailureType::Unknown && verdict.rule.is_none() {
        return CONFIDENCE_UNKNOWN;
    }
    let base = match verdict.rule {
        Some(_) => rules.learned.confidence(&verdict.source, verdict.strength),
        None if verdict.source == "command.role" => CONFIDENCE_ROLE,
        None => f64::from(verdict.strength) / 100.0,
    };
    let against = match verdict.runner_up {
        Some((_, strength)) if strength / 10 >= verdict.strength / 10 => CONFIDENCE_DISPUTED,
        _ => 1.0,
    };
    ((base * against).clamp(0.05, 0.99) * 100.0).round() / 100.0
}

fn evidence(scan: &Scan, verdict: &Verdict) -> Vec<EvidenceLine> {
    let line = |line: u64, text: &str| EvidenceLine { line, text: mask_secrets(text).into_owned() };
    if verdict.hits.is_empty() {
        return scan.last_lines.iter().map(|(number, text)| line(*number, text)).collect();
    }
    let mut lines: Vec<EvidenceLine> = Vec::new();
    for hit in &verdict.hits {
        if lines.len() < EVIDENCE_LINES_MAX && lines.iter().all(|seen| seen.line != hit.line) {
            lines.push(line(hit.line, &hit.text));
        }
    }
    let room = EVIDENCE_LINES_MAX.saturating_sub(lines.len()).min(EVIDENCE_LINES_SECOND_MAX);
    let fresh = |hit: &&Hit| verdict.hits.iter().all(|seen| seen.line != hit.line);
    let mut second: Vec<EvidenceLine> = Vec::new();
    for hit in verdict.second.iter().filter(fresh) {
        if second.len() < room && second.iter().all(|seen| seen.line != hit.line) {
            second.push(line(hit.line, &hit.text));
        }
    }
    lines.append(&mut second);
    lines.sort_by_key(|line| line.line);
    lines
}

/// Places named by the hits of the deciding type, completed by `locate` rules of the same tool.
fn locations(rules: &Rules, scan: &Scan, verdict: &Verdict, tool: &str) -> Vec<Location> {
    let of_tool = |hit: &Hit| {
        let spec = &rules.all[hit.rule].spec;
        let named = verdict_names(rules, verdict, &spec.tool);
        spec.action == Action::Locate && (spec.tool.is_empty() || spec.tool == tool || named)
    };
    let places = scan.hits(rules).into_iter().filter(of_tool);
    let mut named: Vec<Hit> = verdict.hits.iter().cloned().chain(places).collect();
    named.sort_by_key(|hit| (hit.line, hit.rule));
    let mut found: Vec<(u64, Location)> = Vec::new();
    for hit in &named {
        if let Some(location) = location(rules, hit) {
            add(&mut found, hit.line, location);
        }
    }
    let mut locations: Vec<Location> = Vec::new();
    for (_, location) in found {
        if locations.len() < LOCATIONS_MAX && !locations.contains(&location) {
            locations.push(location);
        }
    }
    locations
}

fn verdict_names(rules: &Rules, verdict: &Verdict, tool: &str) -> bool {
    verdict.hits.iter().any(|hit| rules.all[hit.rule].spec.tool == tool)
}

/// Adds a place; one that lacks what a near place above has (file, line or code) completes it.
fn add(found: &mut Vec<(u64, Location)>, line: u64, place: Location) {
    if place.file.is_empty() && place.test.is_empty() {
        return add_code(found, line, place);
    }
    let near = found.last_mut().filter(|(at, _)| line - *at <= LOCATE_LINES);
    if let Some((_, above)) = near {
        if above.file.is_empty() && !place.file.is_empty() {
            above.file = place.file;
            above.line = place.line;
            above.column = place.column;
            return;
        }
        if above.file == place.file && above.line == place.line {
            if above.code.is_empty() {
                above.code = place.code;
            }
            return;
        }
    }
    found.push((line, place));
}

/// A code without a place belongs to the first near place above it that has none yet.
fn add_code(found: &mut Vec<(u64, Location)>, line: u64, place: Location) {
    let is_near =
        |(at, above): &&mut (u64, Location)| line - *at <= CODE_LINES && !above.file.is_empty();
    let near: Vec<&mut (u64, Location)> = found.iter_mut().filter(is_near).collect();
    if near.is_empty() {
        found.push((line, place));
    } else if near.iter().all(|(_, above)| above.code != place.code) {
        let open = near.into_iter().find(|(_, above)| above.code.is_empty());
        if let Some((_, above)) = open {
            above.code = place.code;
        }
    }
}

fn location(rules: &Rules, hit: &Hit) -> Option<Location> {
    let captures = rules.all[hit.rule].line.captures(hit.text.as_bytes())?;
    let text = |name| capture(&captures, name).unwrap_or_default();
    let number = |name| text(name).parse().unwrap_or(0);
    let location = Location {
        file: mask_secrets(&text("file")).into_owned(),
        line: number("line"),
        column: number("column"),
        code: text("code"),
        test: mask_secrets(&text("test")).into_owned(),
    };
    (location != Location::default()).then_some(location)
}

/// The codes that belong to the deciding line, for the fingerprint.
fn codes<'a>(rules: &Rules, verdict: &Verdict, locations: &'a [Location]) -> Vec<&'a str> {
    let own = verdict.hits.first().and_then(|hit| location(rules, hit));
    let code = own.map(|own| own.code).unwrap_or_default();
    locations
        .iter()
        .map(|l| l.code.as_str())
        .filter(|c| !c.is_empty() && *c == code)
        .take(1)
        .collect()
}

/// The text of a capture; a rule with alternatives numbers them: `name`, `name2`, `name3`.
pub(crate) fn capture(captures: &Captures, name: &str) -> Option<String> {
    let numbered = ["", "2", "3"].map(|number| format!("{name}{number}"));
    let bytes = numbered.iter().find_map(|name| captures.name(name))?.as_bytes();
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
