//! JUnit's XML reports, read without an XML parser: only `testcase` elements and what lies in them
//! count, and nothing of a report is ever executed, resolved or believed beyond its numbers.

use super::{NAMES_MAX, Tally};

/// The tally of one report.
pub fn read(text: &str) -> Tally {
    let mut tally = Tally::default();
    let mut rest = text;
    while let Some(at) = rest.find("<testcase") {
        let body = &rest[at + "<testcase".len()..];
        let Some(end) = body.find('>') else { break };
        let head = &body[..end];
        let inner = if head.ends_with('/') {
            rest = &body[end + 1..];
            ""
        } else {
            let stop = body.find("</testcase>").unwrap_or(body.len());
            rest = &body[stop..];
            &body[end + 1..stop.max(end + 1)]
        };
        add(&mut tally, head, inner);
    }
    tally
}

fn add(tally: &mut Tally, head: &str, inner: &str) {
    let name = format!(
        "{}::{}",
        attribute(head, "classname").unwrap_or_default(),
        attribute(head, "name").unwrap_or_default()
    );
    let skipped = inner.contains("<skipped") || head.contains("status=\"notrun\"");
    let failed = inner.contains("<failure") || inner.contains("<error");
    let counts = tally.tools.entry("junit".to_owned()).or_default();
    let names = if skipped {
        counts.skipped += 1;
        &mut tally.skipped
    } else {
        counts.executed += 1;
        counts.failed += u64::from(failed);
        &mut tally.executed
    };
    if names.len() < NAMES_MAX {
        names.insert(name);
    }
}

fn attribute<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = head;
    loop {
        let at = rest.find(name)?;
        let before = rest[..at].chars().next_back();
        let value = rest[at + name.len()..].strip_prefix("=\"");
        match (before, value) {
            (Some(c), Some(value)) if c.is_whitespace() => return value.split('"').next(),
            _ => rest = &rest[at + name.len()..],
        }
    }
}
