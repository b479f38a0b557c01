//! Markdown for a commit status or a comment on a change.

use super::{Report, Step, evidence, line};
use crate::display::lines::seconds;

/// Bytes of a report at most: forges cut or refuse longer comments.
const BYTES_MAX: usize = 60_000;
/// What a log may bring that would be markup, and how it is written instead.
const MARKUP: [(char, &str); 9] = [
    ('&', "&amp;"),
    ('<', "&lt;"),
    ('>', "&gt;"),
    ('|', "\\|"),
    ('*', "\\*"),
    ('_', "\\_"),
    ('[', "\\["),
    ('`', "\\`"),
    // a mention would call people
    ('@', "&#64;"),
];

/// The report as Markdown.
pub fn text(report: &Report) -> String {
    let mut text = format!("### {}\n\n", headline(report));
    if !report.reason.is_empty() {
        text.push_str(&format!("{}\n\n", plain(&report.reason)));
    }
    text.push_str("| | step | time | what happened |\n| --- | --- | --- | --- |\n");
    for step in &report.steps {
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            mark(step),
            plain(&step.name),
            if step.skipped() { String::new() } else { seconds(step.duration_ms) },
            happened(step)
        ));
    }
    let tail = format!("\nRun `{}`\n", report.run_id);
    for step in report.steps.iter().filter(|s| !s.passed()) {
        let part = details(step);
        if text.len() + part.len() + tail.len() > BYTES_MAX {
            text.push_str("\nThe rest is left out: the report would be too long for a comment.\n");
            break;
        }
        text.push_str(&part);
    }
    text + &tail
}

fn headline(report: &Report) -> String {
    let counts = [(report.healed(), "healed"), (report.flaky(), "flaky")];
    let counts: Vec<_> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
    match report.status.as_str() {
        "succeeded" => format!("✅ Built{counts}"),
        "paused_awaiting_approval" => format!("✋ Waiting for approval{counts}"),
        "failed" => format!("❌ Failed{counts}"),
        other => format!("{}{counts}", plain(other)),
    }
}

fn mark(step: &Step) -> &'static str {
    match () {
        () if step.waits.is_some() => "✋",
        () if step.passed() => "✅",
        () if step.skipped() => "·",
        () if step.status == "running" => "…",
        () => "❌",
    }
}

fn happened(step: &Step) -> String {
    if let Some((gate, reason)) = &step.waits {
        return format!("{} — `metabuilder approve {gate}`", plain(reason));
    }
    let mut parts: Vec<String> = step
        .healed
        .iter()
        .map(|h| {
            let by = plain(&h.by);
            format!(
                "healed: {} · {by} · {} file{}, +{} -{}",
                h.failure_type,
                h.files,
                if h.files == 1 { "" } else { "s" },
                h.added,
                h.removed
            )
        })
        .collect();
    if step.flaky {
        parts.push("flaky: passed on a retry without a change".to_owned());
    }
    if !step.accepted_by.is_empty() {
        parts.push(format!("accepted by {}", plain(&step.accepted_by)));
    }
    if parts.is_empty() && !step.passed() {
        if let Some(failure) = step.failures.last() {
            parts.push(format!("{}: {}", failure.kind, plain(&failure.message)));
        }
        if step.failures.is_empty() {
            parts.push(plain(&step.reason));
        }
    }
    parts.join("<br>")
}

/// Why a step did not pass, folded.
fn details(step: &Step) -> String {
    let Some(failure) = step.failures.last() else { return String::new() };
    let lines = evidence(failure).join("\n");
    // longer than any fence that the log itself has
    let fence = "`".repeat(3.max(longest_run(&lines) + 1));
    let reason = match step.reason.as_str() {
        "" => String::new(),
        reason => format!("\n{}\n", plain(reason)),
    };
    format!(
        "\n<details><summary>{}: {} ({}, {:.0} %)</summary>\n{reason}\n{fence}text\n{lines}\n{fence}\n\n</details>\n",
        plain(&step.name),
        failure.kind,
        plain(&failure.rule),
        failure.confidence * 100.0
    )
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Text of a log or a person as Markdown that shows it and does nothing else.
fn plain(text: &str) -> String {
    line(text).chars().fold(String::new(), |mut plain, c| {
        match MARKUP.iter().find(|(from, _)| *from == c) {
            Some((_, to)) => plain.push_str(to),
            None => plain.push(c),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, waiting};
    use super::*;

    #[test]
    fn a_run_that_waits_says_how_to_go_on() {
        let text = text(&waiting());
        assert!(text.starts_with("### ✋ Waiting for approval: 1 healed, 1 flaky\n"), "{text}");
        assert!(text.contains(
            "| ✋ | audit | 0.1s | a secret \\| was found — `metabuilder approve g-1` |"
        ));
        assert!(text.contains("| ✅ | fmt | 0.4s | healed: lint · cargo fmt · 1 file, +2 -1 |"));
        assert!(text.contains("| · | package |  |"), "{text}");
    }

    #[test]
    fn what_a_log_says_is_shown_and_not_rendered() {
        let mut report = report("failed");
        let failure = &mut report.steps[2].failures[0];
        failure.message = "<img src=x> @everyone [a](b)\n| c".to_owned();
        failure.evidence[0].text = "```` end of fence".to_owned();
        let text = text(&report);
        assert!(text.contains("&lt;img src=x&gt; &#64;everyone \\[a](b) \\| c"), "{text}");
        assert!(text.contains("`````text\n12: ```` end of fence\n`````"), "{text}");
    }

    #[test]
    fn a_comment_is_never_too_long() {
        let mut report = report("failed");
        for i in 0..400 {
            let mut step = super::super::tests::failed();
            step.name = format!("step-{i}");
            report.steps.push(step);
        }
        let text = text(&report);
        assert!(text.len() < 65_536 + 40_000 && text.contains("left out"), "{}", text.len());
    }
}
