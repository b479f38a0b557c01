//! Numbers and times as people say them.

use meta_domain::time::Timestamp;

/// Characters of the same sort that make a drawn line.
const RULE_CHARS_MIN: usize = 4;

/// A duration, short: `850 ms`, `1.2 s`, `3 m 05 s`, `1 h 02 m`.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} m {:02} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {:02} m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// How long ago an instant is.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.since_ms(at) / 1000;
    match seconds {
        0..10 => "just now".to_owned(),
        10..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// An instant for people: `2026-03-01 14:05:09 UTC`.
pub(crate) fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('T') {
        Some((day, time)) if time.len() >= 8 => format!("{day} {} UTC", &time[..8]),
        _ => text,
    }
}

/// A count with its noun: `1 step`, `3 steps`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// A message without what only draws lines: `==== FAILURES ====` is `FAILURES`. Nothing that a
/// terminal would obey is left in it either.
pub(crate) fn tidy(text: &str) -> String {
    let plain = super::ansi::plain(text);
    let mut out = String::new();
    let mut rest = plain.as_str();
    while let Some(first) = rest.chars().next() {
        let run = rest.chars().take_while(|c| *c == first).count() * first.len_utf8();
        if !("=-_*#~".contains(first) && run >= RULE_CHARS_MIN) {
            out.push_str(&rest[..run]);
        }
        rest = &rest[run..];
    }
    let words: Vec<&str> = out.split(' ').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { plain } else { words.join(" ").replace(" ;", ";") }
}

/// The first characters of an id or hash.
pub(crate) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The end of an id, where those made one after the other differ.
pub(crate) fn tail(id: &str) -> &str {
    id.len().checked_sub(8).and_then(|from| id.get(from..)).unwrap_or(id)
}

/// A wire word as people read it: `paused_awaiting_approval` is `paused awaiting approval`.
pub(crate) fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

/// How much to mind a score of 0 to 100.
pub(crate) fn risk(score: u32) -> &'static str {
    match score {
        0..25 => "low",
        25..60 => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (59_999, "59.9 s"),
            (185_000, "3 m 05 s"),
            (3_720_000, "1 h 02 m"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn instants_are_near_or_far() {
        let at = Timestamp(1_700_000_000_000);
        assert_eq!(ago(at, at.plus_ms(-5)), "just now");
        assert_eq!(ago(at, at.plus_ms(61_000)), "1 min ago");
        assert_eq!(ago(at, at.plus_ms(3 * 86_400_000)), "3 d ago");
        assert_eq!(instant(at), "2023-11-14 22:13:20 UTC");
    }

    #[test]
    fn drawn_lines_are_left_out() {
        assert_eq!(tidy("===== FAILURES ====; tried 1"), "FAILURES; tried 1");
        assert_eq!(tidy("a --fix b_c == d"), "a --fix b_c == d");
        assert_eq!(tidy("====="), "=====");
    }

    #[test]
    fn nouns_are_counted() {
        assert_eq!((count(1, "step"), count(0, "step")), ("1 step".into(), "0 steps".into()));
    }
}
