//! How far a reader has seen the logs of a run. Steps run side by side, so that one number does not
//! say it: a place counts the pieces of each attempt, which come in the same order every time.

use super::piece;
use crate::problem::{At, Problem, shown};
use axum::response::sse::Event;
use http::HeaderMap;
use meta_proto::orchestrator as pb;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Characters of a place that a reader gives back.
const PLACE_CHARS_MAX: usize = 64 * 1024;

/// Pieces that were seen, by step and attempt.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    seen: BTreeMap<(String, u32), u64>,
    passed: BTreeMap<(String, u32), u64>,
}

impl Place {
    /// What `Last-Event-ID` says: `build.1.12,test.1.3`.
    ///
    /// # Errors
    /// 400 naming the header.
    pub(super) fn seen(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get("last-event-id") else { return Ok(Self::default()) };
        let text = value.to_str().unwrap_or("?").trim();
        parsed(text).map(|seen| Self { seen, passed: BTreeMap::new() }).ok_or_else(|| {
            let detail =
                format!("Last-Event-ID {} is not valid (expected the id of an event)", shown(text));
            Problem::bad("invalid_header", detail).at(At::Header("Last-Event-ID"))
        })
    }

    /// The event of a piece; `None` when the reader has it already.
    pub(super) fn event(&mut self, m: &pb::StreamLogsResponse) -> Option<Event> {
        let at = (m.step.clone(), m.attempt);
        let passed = self.passed.entry(at.clone()).or_default();
        *passed += 1;
        let seen = self.seen.entry(at).or_default();
        if *passed <= *seen {
            return None;
        }
        *seen = *passed;
        Some(Event::default().id(self.to_string()).event("log").data(piece(m).to_string()))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, ((step, attempt), pieces)) in self.seen.iter().enumerate() {
            if n > 0 {
                f.write_char(',')?;
            }
            write!(f, "{step}.{attempt}.{pieces}")?;
        }
        Ok(())
    }
}

/// Step names have no comma, and the numbers stand behind the last two points.
fn parsed(text: &str) -> Option<BTreeMap<(String, u32), u64>> {
    if text.is_empty() {
        return Some(BTreeMap::new());
    }
    if text.len() > PLACE_CHARS_MAX {
        return None;
    }
    let part = |part: &str| {
        let (rest, pieces) = part.rsplit_once('.')?;
        let (step, attempt) = rest.rsplit_once('.')?;
        Some(((step.to_owned(), attempt.parse().ok()?), pieces.parse().ok()?))
    };
    text.split(',').map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(step: &str, attempt: u32) -> pb::StreamLogsResponse {
        pb::StreamLogsResponse { step: step.into(), attempt, ..Default::default() }
    }

    fn place(text: &str) -> Result<Place, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", text.parse().unwrap());
        Place::seen(&headers)
    }

    #[test]
    fn a_reader_who_comes_back_gets_only_what_is_new_whatever_the_order() {
        let log = [("a", 1), ("b.c", 1), ("a", 1), ("a", 2), ("b.c", 1)];
        let mut first = Place::default();
        let sent = log[..3].iter().filter_map(|(s, n)| first.event(&message(s, *n))).count();
        assert_eq!((sent, first.to_string().as_str()), (3, "a.1.2,b.c.1.1"));
        let mut again = place(&first.to_string()).unwrap();
        let other_order = [("a", 1), ("a", 1), ("a", 2), ("b.c", 1), ("b.c", 1)];
        let new: Vec<_> =
            other_order.iter().filter(|(s, n)| again.event(&message(s, *n)).is_some()).collect();
        assert_eq!(new, [&("a", 2), &("b.c", 1)]);
    }

    #[test]
    fn a_place_that_is_none_is_refused() {
        assert_eq!(place("").unwrap(), Place::default());
        for bad in ["7", "a.b", "a.1", "a.1.x", "a.-1.2", "a.1.2,"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
