//! Texts that are secrets by their form: a patch may not add one, a model may not see one.

use meta_domain::secrecy::MASK;
use regex::{Regex, RegexSet};
use std::sync::LazyLock;

/// Secrets whose whole match is the secret.
const WHOLE: &[&str] = &[
    r"\b(AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{30,}",
    r"\bgithub_pat_[A-Za-z0-9_]{30,}",
    r"\bgl(pat|dt|rt|soat|ptt|ft|cbt)-[A-Za-z0-9_-]{18,}",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    r"\b[sr]k_(live|test)_[A-Za-z0-9]{16,}",
    r"\bwhsec_[A-Za-z0-9]{20,}",
    r"\bsk-[A-Za-z0-9_-]{20,}",
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bya29\.[0-9A-Za-z_-]{20,}",
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"\bpypi-[A-Za-z0-9_-]{40,}",
    r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"\bSK[0-9a-f]{32}\b",
    r"\bhf_[A-Za-z0-9]{30,}",
    r"\bdo[oprt]_v1_[a-f0-9]{60,}",
    r"\bshp(at|ca|pa|ss)_[a-fA-F0-9]{32}",
    r"\bdapi[a-f0-9]{32}\b",
    r"\blin_api_[A-Za-z0-9]{30,}",
    r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}",
    r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----",
    r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",
    r"(?i)\bAccountKey=[A-Za-z0-9+/=]{40,}",
];

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

static QUICK: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(WHOLE.iter().chain(BEHIND)).ok());
static EACH: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| WHOLE.iter().chain(BEHIND).map(|r| Regex::new(r).ok()).collect());
static LOGGED: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| PRINTED.iter().map(|r| Regex::new(r).ok()).collect());

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
