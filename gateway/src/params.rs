//! Path and query parameters: every one is known, given once, and named when it is wrong.

use crate::problem::{At, Problem, shown};
use axum::extract::Query;
use http::Uri;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::str::FromStr;

/// Resources on a page when the caller does not say.
pub(crate) const PER_PAGE_DEFAULT: u32 = 25;
/// Resources on a page at most.
pub(crate) const PER_PAGE_MAX: u32 = 100;

/// Reads an id from the path.
///
/// # Errors
/// 400 naming the parameter.
pub(crate) fn id<T>(name: &str, text: &str) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|e: T::Err| {
        Problem::bad("malformed_id", format!("{name}: {e}")).at(At::Parameter(name.to_owned()))
    })
}

/// The query of a request.
#[derive(Debug, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads a query in which only these names may stand, each once. JSON:API's families are
    /// understood too: `filter[status]` is `status`, `page[number]` is `page`, `page[size]` is
    /// `per_page`, `page[token]` is `page_token`.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(crate) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|e| Problem::bad("invalid_parameter", e.body_text()))?;
        let mut map = BTreeMap::new();
        for (given, value) in pairs {
            let name = plain(&given);
            if !known.contains(&name) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let detail = format!("{given:?} is not known here (expected: {known})");
                return Err(Problem::bad("unknown_parameter", detail).at(At::Parameter(given)));
            }
            if map.insert(name.to_owned(), value).is_some() {
                return Err(Problem::parameter(&given, "is given twice (expected once)"));
            }
        }
        Ok(Self(map))
    }

    /// Without the parameters that are empty, as forms send what nobody filled in.
    #[must_use]
    pub(crate) fn filled(mut self) -> Self {
        self.0.retain(|_, value| !value.is_empty());
        self
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter of a type with words or numbers of its own.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(crate) fn get<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(name)
            .map(|text| text.parse().map_err(|e: T::Err| Problem::parameter(name, e)))
            .transpose()
    }

    /// A yes or no; no when it is not given.
    ///
    /// # Errors
    /// 400 naming the parameter and its value.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(unfit(name, text, "true or false")),
        }
    }

    /// A parameter that is parsed, with words for what was expected.
    ///
    /// # Errors
    /// 400 naming the parameter, its value and what was expected.
    pub(crate) fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let parsed = |text: &str| text.parse().map_err(|_| unfit(name, text, expected));
        self.text(name).map(parsed).transpose()
    }

    /// A whole number within a range, or the default.
    ///
    /// # Errors
    /// 400 naming the parameter, its value and the range.
    pub(crate) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            let expected = format!("expected a whole number from {low} to {high}");
            Problem::parameter(name, format!("{text:?} is not valid ({expected})"))
        })
    }

    /// The same query with one parameter changed, as a link.
    pub(crate) fn link(&self, path: &str, name: &str, value: &str) -> String {
        let mut all = self.0.clone();
        all.insert(name.to_owned(), value.to_owned());
        let query: Vec<String> =
            all.iter().map(|(k, v)| format!("{k}={}", percent_encoded(v))).collect();
        format!("{}{path}?{}", crate::document::BASE, query.join("&"))
    }
}

fn unfit(name: &str, text: &str, expected: &str) -> Problem {
    Problem::parameter(name, format!("{} is not valid (expected {expected})", shown(text)))
}

fn plain(name: &str) -> &str {
    match name {
        "page[number]" => "page",
        "page[size]" => "per_page",
        "page[token]" => "page_token",
        _ => name.strip_prefix("filter[").and_then(|n| n.strip_suffix(']')).unwrap_or(name),
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            write!(out, "%{b:02X}").expect("a String takes all that is written");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Params, Problem> {
        Params::read(&format!("/runs?{query}").parse().unwrap(), &["status", "page", "per_page"])
    }

    #[test]
    fn families_are_plain_names() {
        let params = read("filter[status]=failed&page%5Bnumber%5D=2").unwrap();
        assert_eq!(params.text("status"), Some("failed"));
        assert_eq!(params.number("page", 1..=9, 1).unwrap(), 2);
    }

    #[test]
    fn unknown_doubled_and_bad_parameters_are_named() {
        for (query, name) in [("state=x", "state"), ("page=1&page=2", "page")] {
            let problem = read(query).unwrap_err();
            assert_eq!(problem.errors[0].at, Some(At::Parameter(name.into())), "{query}");
        }
        let problem = read("per_page=101").unwrap().number("per_page", 1..=100, 25).unwrap_err();
        assert!(problem.errors[0].detail.contains("101"));
    }

    #[test]
    fn links_keep_the_other_parameters() {
        let link = read("status=a%20b&page=1").unwrap().link("/runs", "page", "2");
        assert_eq!(link, "/api/meta/v2/runs?page=2&status=a%20b");
    }
}
