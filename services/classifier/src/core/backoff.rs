//! How long a server asked us to wait.

use super::report::capture;
use super::rule::Action;
use super::rules::Rules;
use super::scan::Scan;
use meta_domain::failure::FailureType;

/// The longest wait that is believed, in milliseconds (a day); more is a misread number.
const RETRY_AFTER_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The last wait a server asked for, for the types that a wait can help.
pub(crate) fn retry_after_ms(rules: &Rules, scan: &Scan, failure_type: FailureType) -> Option<u64> {
    let helps = matches!(
        failure_type,
        FailureType::RateLimit | FailureType::Transient | FailureType::Infra
    );
    if !helps {
        return None;
    }
    let hits = scan.hits(rules);
    let waits = hits.iter().filter(|hit| {
        let action = rules.all[hit.rule].spec.action;
        action == Action::Locate || action == Action::Fail
    });
    let wait = |hit: &super::hits::Hit| {
        let captures = rules.all[hit.rule].line.captures(hit.text.as_bytes())?;
        duration_ms(&capture(&captures, "retry_after")?)
    };
    waits.rev().find_map(wait)
}

/// Reads `120`, `3s`, `1.5 seconds`, `200ms`, `2m30s`; a bare number is seconds.
fn duration_ms(text: &str) -> Option<u64> {
    let mut total = 0.0_f64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit_ms = match after[..letters].to_ascii_lowercase().as_str() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1000.0,
            "ms" | "msec" | "millis" | "milliseconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hour" | "hours" => 3_600_000.0,
            _ => return None,
        };
        total += number * unit_ms;
        rest = after[letters..].trim_start();
    }
    let whole = format!("{total:.0}").parse::<u64>().ok()?;
    (1..=RETRY_AFTER_MS_MAX).contains(&whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::duration_ms;

    #[test]
    fn waits_are_read_in_every_usual_unit() {
        for (text, expected) in [
            ("120", Some(120_000)),
            ("3s", Some(3_000)),
            ("1.5 seconds", Some(1_500)),
            ("200ms", Some(200)),
            ("2m30s", Some(150_000)),
            ("1 hour", Some(3_600_000)),
            ("0", None),
            ("1700000000", None),
            ("Wed", None),
            ("", None),
        ] {
            assert_eq!(duration_ms(text), expected, "{text}");
        }
    }
}
