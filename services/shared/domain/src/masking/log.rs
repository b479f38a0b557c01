//! Hides secrets before a line is kept, shown or sent.

use super::tokens::TOKENS;
use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;

/// Beside the tokens that name their issuer. What stands in group `keep` stays readable; the rest of the match is hidden.
const SHAPES: &[&str] = &[
    r"hooks\.slack\.com/services/(?P<keep>)[A-Za-z0-9/_-]+",
    // Headers.
    r"(?i)(?P<keep>\b(?:authorization|proxy-authorization)['\x22]?\s*[:=]\s*['\x22]?(?:bearer|basic|token|digest)?\s*)[A-Za-z0-9+/=_.~-]{6,}",
    r"(?i)(?P<keep>\b(?:bearer|basic)\s+)[A-Za-z0-9+/=_.~-]{16,}",
    r"(?i)(?P<keep>\b(?:x-api-key|private-token|x-auth-token|set-cookie|cookie)\s*[:=]\s*)\S[^\s;'\x22]*",
    // Credentials in a URL.
    r"(?P<keep>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@'\x22]*:)[^\s/@'\x22]+@",
    r"(?P<keep>https?://)[A-Za-z0-9_-]{16,}@",
    // Assignments and options.
    r"(?i)(?P<keep>\b[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api_?-?key|access_?-?key|private_?-?key|credentials?)[a-z0-9_-]*['\x22]?\s*(?:=|:=|:|=>)\s*)(?:'[^']{3,}'|\x22[^\x22]{3,}\x22|[^\s'\x22,;&)]{3,})",
    r"(?i)(?P<keep>--(?:password|token|secret|api-key|auth-token)[= ])\S+",
    // Bodies of keys.
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
];
/// What stands in the place of a secret.
const MASK: &str = "***";
/// An unbroken line of base64 this long is taken for the body of a key.
const KEY_BODY_CHARS_MIN: usize = 60;

static COMPILED: LazyLock<Vec<Regex>> =
    LazyLock::new(|| shapes().filter_map(|shape| Regex::new(shape).ok()).collect());

fn shapes() -> impl Iterator<Item = &'static &'static str> {
    TOKENS.iter().chain(SHAPES)
}

/// Returns the line with every token, password and key replaced by `***`.
///
/// Errs on the side of hiding: what looks like the value of a secret's assignment is hidden.
pub fn mask_secrets(line: &str) -> Cow<'_, str> {
    if is_key_body(line.trim()) {
        return Cow::Borrowed(MASK);
    }
    let mut text = Cow::Borrowed(line);
    for shape in COMPILED.iter() {
        if !shape.is_match(&text) {
            continue;
        }
        let masked = shape.replace_all(&text, |found: &regex::Captures| {
            let keep = found.name("keep").map_or("", |kept| kept.as_str());
            let at = if found[0].ends_with('@') { "@" } else { "" };
            format!("{keep}{MASK}{at}")
        });
        text = Cow::Owned(masked.into_owned());
    }
    text
}

/// Mixed-case base64 and nothing else, as in the middle lines of a PEM block.
fn is_key_body(line: &str) -> bool {
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    line.len() >= KEY_BODY_CHARS_MIN
        && line.len() <= 76
        && line.bytes().all(base64)
        && line.bytes().any(|b| b.is_ascii_uppercase())
        && line.bytes().any(|b| b.is_ascii_lowercase())
        && line.bytes().any(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_compiles() {
        assert_eq!(COMPILED.len(), shapes().count());
    }

    /// The token is put together here so that no scanner takes this file for a leak.
    #[test]
    fn tokens_of_every_common_shape_are_hidden() {
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
        for secret in [
            format!("ghp_{long}"),
            format!("github_pat_{long}"),
            format!("glpat-{long}"),
            format!("npm_{long}"),
            format!("xoxb-{long}"),
            format!("sk_live_{long}"),
            format!("AKIA{}", "ABCDEFGHIJKLMNOP"),
            format!("eyJhbGciOiJIUzI1NiJ9.{long}.{long}"),
        ] {
            let masked = mask_secrets(&format!("got {secret} here")).into_owned();
            assert_eq!(masked, "got *** here", "{secret}");
        }
    }

    #[test]
    fn values_are_hidden_and_their_names_stay() {
        for (line, expected) in [
            ("DB_PASSWORD=hunter22 make", "DB_PASSWORD=*** make"),
            ("password: \"hunter 22\"", "password: ***"),
            ("export AWS_SECRET_ACCESS_KEY='abc/def'", "export AWS_SECRET_ACCESS_KEY=***"),
            ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
            ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"),
            ("https://me:pass@host/x.git", "https://me:***@host/x.git"),
            ("curl --token abc123", "curl --token ***"),
            ("-----BEGIN RSA PRIVATE KEY-----MIIE", "***"),
        ] {
            assert_eq!(mask_secrets(line), expected);
        }
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for line in [
            "error[E0425]: cannot find value `token` in this scope",
            "src/a.rs:1:2: unexpected token",
            "SyntaxError: Unexpected token } in JSON at position 4",
            "see https://example.org/docs:8080/x",
            "commit 1a2b3c4d5e6f",
        ] {
            assert!(matches!(mask_secrets(line), Cow::Borrowed(same) if same == line), "{line}");
        }
    }
}
