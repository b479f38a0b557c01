//! What may not appear in an error: the credentials that a store was opened with.

use meta_domain::secrecy::{MASK, is_secret_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Shorter values are no secrets, and would hide half of every text.
const SECRET_BYTES_MIN: usize = 4;

/// The credentials of a store; shown as a count.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<[String]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// The values of variables with telling names, and what an address carries.
    pub(crate) fn of(vars: &BTreeMap<String, String>, url: Option<&url::Url>) -> Self {
        let tells = |name: &str| is_secret_name(name) || name.contains("SAS");
        let mut found: Vec<String> =
            vars.iter().filter(|(name, _)| tells(name)).map(|(_, value)| value.clone()).collect();
        if let Some(url) = url {
            found.extend(url.password().map(str::to_owned));
            found.extend(url.query().map(str::to_owned));
        }
        found.retain(|value| value.len() >= SECRET_BYTES_MIN);
        // the longest first: one may be a part of another
        found.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(found.into())
    }

    /// A text without them, and without what addresses in it carry after a question mark.
    pub(crate) fn hidden(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter() {
            text = text.replace(secret, MASK);
        }
        without_queries(&text)
    }
}

fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let end = rest[at..]
            .find(|c: char| c.is_whitespace() || "\"')>".contains(c))
            .map_or(rest.len(), |n| at + n);
        let address = &rest[..end];
        out.push_str(address.split_once('?').map_or(address, |(before, _)| before));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_queries_are_hidden() {
        let vars = BTreeMap::from([
            ("AWS_SECRET_ACCESS_KEY".to_owned(), "s3cret/value".to_owned()),
            ("AWS_REGION".to_owned(), "eu-west-1".to_owned()),
        ]);
        let secrets = Secrets::of(&vars, None);
        let text = "GET (https://h/b?sig=abc&x=1) in eu-west-1 with s3cret/value failed: why?";
        let expected = format!("GET (https://h/b) in eu-west-1 with {MASK} failed: why?");
        assert_eq!(secrets.hidden(text), expected);
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }
}
