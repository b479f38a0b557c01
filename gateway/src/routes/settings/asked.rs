//! How a write is asked for: `dry_run`, `if_version` or `If-Match`, `effective_at`, `reason`.

use crate::params::Params;
use crate::problem::{At, Entry, Problem, pointer, shown};
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use meta_domain::settings::Setting;
use meta_domain::time::Timestamp;
use meta_proto::convert::timestamp;
use meta_proto::flags as pb;

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;
/// The options of a write, also as the flag-resolver names them.
const OPTIONS: [&str; 4] = ["dry_run", "if_version", "effective_at", "reason"];

/// What a write says beside its document.
#[derive(Debug)]
pub(in crate::routes) struct Asked {
    /// PATCH: settings that are absent are kept.
    pub(super) patch: bool,
    pub(super) dry_run: bool,
    pub(super) effective_at: Option<Timestamp>,
    pub(super) reason: String,
    version: Option<Expected>,
    cleared: Vec<Setting>,
}

/// The version that the writer has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    ByParameter(u64),
    ByHeader(u64),
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let mut known = OPTIONS.to_vec();
        if parts.method == Method::DELETE {
            known.push("settings");
        }
        let params = Params::read(&parts.uri, &known)?;
        let mut problems = Problems(Vec::new());
        let dry_run = problems.note(params.flag("dry_run"));
        let by_parameter = problems.note(params.parsed("if_version", "a whole number"));
        let by_header = problems.note(if_match(&parts.headers));
        let version = problems.note(agreed(by_parameter.flatten(), by_header.flatten()));
        let effective_at = problems.note(time(&params));
        let reason = problems.note(reason(&params));
        let cleared = problems.note(settings(&params));
        problems.none()?;
        Ok(Self {
            patch: parts.method == Method::PATCH,
            dry_run: dry_run.unwrap_or_default(),
            effective_at: effective_at.flatten(),
            reason: reason.unwrap_or_default(),
            version: version.flatten(),
            cleared: cleared.unwrap_or_default(),
        })
    }
}

/// Everything that is wrong, so that a caller reads it at once.
struct Problems(Vec<Entry>);

impl Problems {
    fn note<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.0.extend(problem.errors)).ok()
    }

    fn none(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::entries(self.0)) }
    }
}

/// The version of `If-Match`; `*` is any.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let text = first.to_str().unwrap_or("?").trim();
    if text == "*" && values.next().is_none() {
        return Ok(None);
    }
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inner = quoted.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    match inner.and_then(|version| version.parse().ok()) {
        Some(version) if values.next().is_none() => Ok(Some(version)),
        Some(_) | None => {
            let detail = format!(
                "If-Match {} is not valid (expected the ETag of a GET, such as \"3\")",
                shown(text)
            );
            Err(Problem::bad("invalid_header", detail).at(At::Header("If-Match")))
        }
    }
}

fn agreed(by_parameter: Option<u64>, by_header: Option<u64>) -> Result<Option<Expected>, Problem> {
    match (by_parameter, by_header) {
        (Some(parameter), Some(header)) if parameter != header => {
            let problem = format!("{parameter} stands beside If-Match \"{header}\" (expected one)");
            Err(Problem::parameter("if_version", problem))
        }
        (_, Some(version)) => Ok(Some(Expected::ByHeader(version))),
        (Some(version), None) => Ok(Some(Expected::ByParameter(version))),
        (None, None) => Ok(None),
    }
}

fn time(params: &Params) -> Result<Option<Timestamp>, Problem> {
    let expected = "a time by RFC 3339, such as 2027-01-31T08:00:00Z";
    let time: Option<jiff::Timestamp> = params.parsed("effective_at", expected)?;
    Ok(time.map(|t| Timestamp(t.as_millisecond())))
}

fn reason(params: &Params) -> Result<String, Problem> {
    let text = params.text("reason").unwrap_or_default().trim();
    let chars = text.chars().count();
    if chars > REASON_CHARS_MAX {
        let problem = format!("has {chars} characters (expected at most {REASON_CHARS_MAX})");
        return Err(Problem::parameter("reason", problem));
    }
    Ok(text.to_owned())
}

fn settings(params: &Params) -> Result<Vec<Setting>, Problem> {
    let Some(names) = params.text("settings") else { return Ok(Vec::new()) };
    let all = || Setting::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
    let setting = |name: &str| {
        Setting::ALL.iter().copied().find(|s| s.as_str() == name).ok_or_else(|| {
            let problem = format!("{} is not a setting (expected some of {})", shown(name), all());
            Problem::parameter("settings", problem)
        })
    };
    names.split(',').map(|name| setting(name.trim())).collect()
}

impl Asked {
    /// As the flag-resolver is told.
    pub(super) fn options(&self) -> pb::WriteOptions {
        pb::WriteOptions {
            if_version: self.version.map(|version| match version {
                Expected::ByParameter(version) | Expected::ByHeader(version) => version,
            }),
            dry_run: self.dry_run,
            effective_at: self.effective_at.map(timestamp),
            reason: self.reason.clone(),
        }
    }

    /// The names of the settings that are cleared; none means all.
    pub(super) fn settings(&self) -> Vec<String> {
        self.cleared.iter().map(|s| s.as_str().to_owned()).collect()
    }

    /// For a write that everybody feels: it says why. A dry run need not.
    ///
    /// # Errors
    /// 400 when it does not.
    pub(super) fn explained(self) -> Result<Self, Problem> {
        if self.reason.is_empty() && !self.dry_run {
            let problem = format!(
                "is missing (expected why the whole platform is changed, 1 to {REASON_CHARS_MAX} \
                 characters)"
            );
            return Err(Problem::parameter("reason", problem));
        }
        Ok(self)
    }

    /// The flag-resolver's refusal in the words of this request: an option stands in the query, and
    /// a version that `If-Match` names and that has passed is 412.
    pub(super) fn blame(&self, mut problem: Problem) -> Problem {
        let by_header = matches!(self.version, Some(Expected::ByHeader(_)));
        if problem.status == StatusCode::CONFLICT && by_header {
            problem.status = StatusCode::PRECONDITION_FAILED;
        }
        let mut problem = problem.in_query(&OPTIONS);
        for entry in &mut problem.errors {
            let Some(At::Pointer(at)) = &mut entry.at else { continue };
            if let Some(inner) = at.strip_prefix(&pointer("overrides")) {
                *at = format!("{}{inner}", pointer(""));
            }
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(method: &str, query: &str, headers: &[&str]) -> Result<Asked, Problem> {
        let mut request = http::Request::builder().method(method).uri(format!("/x?{query}"));
        for value in headers {
            request = request.header("if-match", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        Asked::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn options_are_read() {
        let query =
            "dry_run=true&if_version=3&effective_at=2027-01-31T09:00:00%2B01:00&reason=%20a";
        let asked = read("PATCH", query, &["W/\"3\""]).await.unwrap();
        assert!(asked.patch && asked.dry_run && asked.cleared.is_empty());
        assert_eq!(asked.version, Some(Expected::ByHeader(3)));
        assert_eq!(asked.effective_at.unwrap().to_string(), "2027-01-31T08:00:00.000Z");
        assert_eq!(asked.reason, "a");
        let asked = read("DELETE", "settings=autofix_enabled,%20max_total_attempts", &["*"]).await;
        let asked = asked.unwrap();
        assert_eq!(asked.settings(), ["autofix_enabled", "max_total_attempts"]);
        assert_eq!(asked.options(), pb::WriteOptions::default());
    }

    #[tokio::test]
    async fn every_bad_option_is_named_at_once() {
        let long = "x".repeat(501);
        let query = format!("dry_run=yes&if_version=-1&effective_at=tomorrow&reason={long}");
        let problem = read("PUT", &query, &["3"]).await.unwrap_err();
        let at: Vec<_> = problem.errors.iter().filter_map(|e| e.at.clone()).collect();
        let parameter = |name: &str| At::Parameter(name.to_owned());
        let expected = [
            parameter("dry_run"),
            parameter("if_version"),
            At::Header("If-Match"),
            parameter("effective_at"),
            parameter("reason"),
        ];
        assert_eq!(at, expected);
        for (entry, value) in problem.errors.iter().zip(["yes", "-1", "3", "tomorrow", "501"]) {
            assert!(entry.detail.contains(value), "{}", entry.detail);
            assert!(entry.detail.contains("expected"), "{}", entry.detail);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_meant_is_refused() {
        for (method, query, headers) in [
            ("PUT", "if_version=3", &["\"4\""][..]),
            ("PUT", "settings=autofix_enabled", &[]),
            ("DELETE", "settings=colour", &[]),
            ("DELETE", "settings=", &[]),
            ("PUT", "", &["\"3\"", "\"3\""]),
            ("PUT", "", &["\"3\", \"4\""]),
            ("PUT", "force=true", &[]),
            ("PUT", "dry_run=true&dry_run=true", &[]),
            ("PUT", "effective_at=2027-01-31", &[]),
        ] {
            let problem = read(method, query, headers).await.unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{query} {headers:?}");
        }
    }
}
