//! Texts that are secrets by their form: a patch may not add one, a model may not see one.

use super::tokens::TOKENS;
use crate::secrecy::MASK;
use regex::{Regex, RegexSet};
use std::sync::LazyLock;

/// Secrets whose whole match is the secret, beside the tokens that name their issuer.
const WHOLE: &[&str] =
    &[r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----", r"(?i)\bAccountKey=[A-Za-z0-9+/=]{40,}"];

/// Secrets that stand behind something: group 1 is the secret.
const BEHIND: &[&str] = &[
    r"[a-z][a-z0-9+.-]*://[^/\s:@]*:([^/\s:@$\{<]{6,})@",
    r#"(?i)\b\w*(?:password|passwd|secret|api_?key|access_?key|auth_?token|private_?key|client_?secret|_token)["']?\s*(?:[:=]|=>|:=)\s*["']([^"'\s$\{<]{12,})["']"#,
    r#"(?i)\bauthorization["']?\s*[:=]\s*["']?(?:bearer|basic|token)\s+([A-Za-z0-9._~+/=-]{16,})"#,
    r"(?i)_authToken\s*=\s*([^\s$]{12,})",
    r#"(?i)"auth"\s*:\s*"([A-Za-z0-9+/]{16,}={0,2})""#,
];

/// Assignments as a log or an environment dump prints them: group 1 is the secret.
const PRINTED: &[&str] = &[
    r"(?i)\b[A-Z0-9_]*(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIALS?)\s*[=:]\s*([^\s'\x22]{6,})",
];

static QUICK: LazyLock<Option<RegexSet>> = LazyLock::new(|| RegexSet::new(forms()).ok());
static EACH: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| forms().map(|r| Regex::new(r).ok()).collect());
static LOGGED: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| PRINTED.iter().map(|r| Regex::new(r).ok()).collect());

fn forms() -> impl Iterator<Item = &'static &'static str> {
    TOKENS.iter().chain(WHOLE).chain(BEHIND)
}

/// The secrets in a line; the line itself when the patterns are broken (fails closed).
pub fn found(line: &str) -> Vec<&str> {
    let Some(quick) = QUICK.as_ref() else { return vec![line] };
    let mut all = Vec::new();
    for index in quick.matches(line) {
        match EACH.get(index).and_then(Option::as_ref) {
            Some(regex) => all.extend(matches(regex, line)),
            None => return vec![line],
        }
    }
    all
}

fn matches<'a>(regex: &Regex, line: &'a str) -> Vec<&'a str> {
    let secret = |c: regex::Captures<'a>| {
        let whole = c.get(0).map_or("", |m| m.as_str());
        let behind = regex.as_str().contains("([^") || regex.as_str().contains("([A-Za-z0-9");
        if behind { c.get(1).map_or(whole, |m| m.as_str()) } else { whole }
    };
    regex.captures_iter(line).map(secret).collect()
}

/// A text without its secrets, line for line; the bodies of private keys go too.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |b| (b, "\n"));
        if body.contains("PRIVATE KEY-----") || body.contains("PRIVATE KEY BLOCK-----") {
            in_key = body.contains("-----BEGIN");
            out.push_str(MASK);
        } else if in_key {
            out.push_str(MASK);
        } else {
            out.push_str(&masked_line(body));
        }
        out.push_str(end);
    }
    out
}

fn masked_line(line: &str) -> String {
    let mut secrets: Vec<&str> = found(line);
    for regex in LOGGED.iter() {
        match regex {
            Some(regex) => secrets.extend(matches(regex, line)),
            None => return MASK.to_owned(),
        }
    }
    secrets.retain(|s| !s.is_empty() && *s != MASK);
    secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
    secrets.iter().fold(line.to_owned(), |line, secret| line.replace(secret, MASK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(QUICK.is_some());
        assert!(EACH.iter().chain(LOGGED.iter()).all(Option::is_some));
    }

    #[test]
    fn secrets_are_found_by_form_and_by_name() {
        let key = format!("AKIA{}", "ABCDEFGHIJKLMNOP");
        assert_eq!(found(&format!("k = '{key}'")), [key.as_str()]);
        assert_eq!(found("url = 'postgres://me:hunter2hunter@db/x'"), ["hunter2hunter"]);
        assert_eq!(found("db_password: \"correct-horse-battery\""), ["correct-horse-battery"]);
        assert!(found("password = os.environ['DB_PASSWORD']").is_empty());
        assert!(found("token = tokenizer.next()").is_empty());
    }

    #[test]
    fn masking_takes_the_secret_and_leaves_the_line() {
        let text = "a\nDEPLOY_TOKEN=abcdef123456 ok\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb";
        let shown = masked(text);
        assert_eq!(shown, format!("a\nDEPLOY_TOKEN={MASK} ok\n{MASK}\n{MASK}\n{MASK}\nb"));
        assert_eq!(masked("curl https://u:s3cretpw@h/"), format!("curl https://u:{MASK}@h/"));
    }
}
