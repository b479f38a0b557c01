//! JUnit's XML as build servers read it: one test case a step. What is the code's fault is a
//! `failure`, what is the build system's an `error`.

use super::{Report, Step, evidence};
use meta_domain::failure::FailureType;

/// The report as XML.
pub fn text(report: &Report) -> String {
    let cases: Vec<(&Step, Case)> = report.steps.iter().map(|s| (s, Case::of(s))).collect();
    let count = |wanted: Case| cases.iter().filter(|(_, case)| *case == wanted).count();
    let time: u64 = report.steps.iter().map(|s| s.duration_ms).sum();
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\"",
        cases.len(),
        count(Case::Failure),
        count(Case::Error),
        count(Case::Skipped),
        secs(time)
    );
    let id = escape(&report.run_id);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"metabuilder\" {numbers}>\n  \
         <testsuite name=\"run {id}\" {numbers}>\n"
    );
    for (step, case) in &cases {
        xml.push_str(&element(step, *case));
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Passed,
    Failure,
    Error,
    Skipped,
}

impl Case {
    fn of(step: &Step) -> Self {
        if step.passed() {
            return Self::Passed;
        }
        if step.skipped() {
            return Self::Skipped;
        }
        match step.failures.last().map(|f| f.kind) {
            Some(FailureType::Transient | FailureType::Infra | FailureType::RateLimit) | None => {
                Self::Error
            }
            Some(_) => Self::Failure,
        }
    }
}

fn element(step: &Step, case: Case) -> String {
    let (name, time) = (escape(&step.name), secs(step.duration_ms));
    let head = format!("    <testcase classname=\"metabuilder\" name=\"{name}\" time=\"{time}\"");
    let body = match case {
        Case::Passed => notes(step),
        Case::Skipped => "      <skipped/>\n".to_owned(),
        Case::Failure | Case::Error => trouble(step, case),
    };
    if body.is_empty() {
        format!("{head}/>\n")
    } else {
        format!("{head}>\n{body}    </testcase>\n")
    }
}

fn trouble(step: &Step, case: Case) -> String {
    let tag = if case == Case::Error { "error" } else { "failure" };
    let failure = step.failures.last();
    let kind = failure.map_or("unknown", |f| f.kind.as_str());
    let message = match (&step.waits, failure) {
        (Some((gate, reason)), _) => format!("waits for approval (gate {gate}): {reason}"),
        (None, Some(failure)) => failure.message.clone(),
        (None, None) => step.reason.clone(),
    };
    let lines = failure.map(evidence).unwrap_or_default().join("\n");
    format!(
        "      <{tag} type=\"{kind}\" message=\"{}\">{}</{tag}>\n",
        escape(&super::line(&message)),
        escape(&lines)
    )
}

/// What a passed step has behind it.
fn notes(step: &Step) -> String {
    let mut notes: Vec<String> =
        step.healed.iter().map(|h| format!("healed: {} by {}", h.failure_type, h.by)).collect();
    if step.flaky {
        notes.push("flaky: passed on a retry without a change".to_owned());
    }
    if !step.accepted_by.is_empty() {
        notes.push(format!("accepted by {}", step.accepted_by));
    }
    if notes.is_empty() {
        return String::new();
    }
    format!("      <system-out>{}</system-out>\n", escape(&notes.join("\n")))
}

/// Milliseconds as seconds.
fn secs(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Text in XML: its markup escaped, and what XML 1.0 cannot hold replaced.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push('\t'),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, waiting};
    use super::*;

    #[test]
    fn passed_failed_and_skipped_steps_are_told_apart() {
        let xml = text(&report("failed"));
        assert!(xml.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
        assert!(
            xml.contains(
                "name=\"fmt\" time=\"0.400\">\n      <system-out>healed: lint by cargo fmt"
            )
        );
        assert!(
            xml.contains("<failure type=\"security\" message=\"a secret | was found\">12: RuleID")
        );
        assert!(xml.contains("<skipped/>"));
        assert!(text(&waiting()).contains("waits for approval (gate g-1)"));
    }

    #[test]
    fn the_systems_faults_are_errors() {
        let mut report = report("failed");
        report.steps[2].failures[0].kind = FailureType::Infra;
        assert!(text(&report).contains("<error type=\"infra\""));
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        assert_eq!(escape("a<b>&\"\u{1b}[0m\n"), "a&lt;b&gt;&amp;&quot;\u{fffd}[0m&#10;");
    }
}
