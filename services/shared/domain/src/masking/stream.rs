//! Hides secrets in output: known values, and shapes that only secrets have.
//!
//! A net, not a wall: it works on lines, and a secret that a step cuts in two lines, or writes in a form
//! that nobody knows, passes. The wall is that steps are given none.

use super::needles::Needles;
use super::tokens::TOKENS;
use regex::bytes::{Captures, Regex};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What stands in place of a secret.
pub const MASK: &[u8] = b"***";

/// A credential after the word that announces it; the group before it stays.
const BEARER: &str = r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/-]{16,}=*";
/// The password in an address.
const ADDRESS: &str = r"([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@'\x22]*:)[^/\s@'\x22]+(@)";
/// `name=value` where the name says that the value is secret.
const ASSIGNED: &str = concat!(
    r"(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key",
    r"|credentials?)[A-Za-z0-9_-]*[\x22']?\s?[:=]\s?[\x22']?)([^\s\x22'&,;]{6,})"
);
const KEY_BLOCK: &str = r"-----(BEGIN|END) [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----";

/// Masks secrets line by line; remembers whether it is inside of a private key.
#[derive(Debug)]
pub struct Masker {
    values: Needles,
    looks: &'static Looks,
}

/// What looks like a secret.
#[derive(Debug)]
struct Looks {
    shapes: Regex,
    bearer: Regex,
    address: Regex,
    assigned: Regex,
    key_block: Regex,
}

/// Made once: that takes longer than many a step.
static LOOKS: LazyLock<Looks> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("the patterns are constants");
    Looks {
        shapes: pattern(&TOKENS.join("|")),
        bearer: pattern(BEARER),
        address: pattern(ADDRESS),
        assigned: pattern(ASSIGNED),
        key_block: pattern(KEY_BLOCK),
    }
});

impl Masker {
    /// Masks these values wherever they stand, and what looks like a secret.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self { values: Needles::new(values), looks: &LOOKS }
    }

    /// Where to cut a long line of which more is to come, at `wanted` or before, so that no known
    /// secret is cut in two; 0 when it cannot be cut yet.
    pub fn cut(&self, line: &[u8], wanted: usize) -> usize {
        self.values.cut(line, wanted)
    }

    /// How much of a text that ends with a line can be masked by itself, because no secret that was
    /// wrapped into lines of base64 goes on behind it; the rest waits for what follows.
    pub fn settled(&self, text: &[u8]) -> usize {
        self.values.settled(text)
    }

    /// Whether text after `text` is inside of a private key.
    pub fn in_key_after(&self, in_key: bool, text: &[u8]) -> bool {
        if !text.contains(&b'-') {
            return in_key;
        }
        let last = self.looks.key_block.captures_iter(text).last();
        last.map_or(in_key, |found| &found[1] == b"BEGIN")
    }

    /// The text without its secrets. `in_key` says whether it starts inside of a private key, and
    /// afterwards whether it ends inside of one.
    pub fn mask<'t>(&self, text: &'t [u8], in_key: &mut bool) -> Cow<'t, [u8]> {
        if *in_key || (text.contains(&b'-') && self.looks.key_block.is_match(text)) {
            return Cow::Owned(self.without_keys(text, in_key));
        }
        self.without_tokens(text)
    }

    fn without_keys(&self, text: &[u8], in_key: &mut bool) -> Vec<u8> {
        let mut kept = Vec::with_capacity(text.len());
        for line in text.split_inclusive(|b| *b == b'\n') {
            let before = *in_key;
            *in_key = self.in_key_after(before, line);
            if before || *in_key || self.looks.key_block.is_match(line) {
                if !before {
                    kept.extend_from_slice(MASK);
                    kept.push(b'\n');
                }
            } else {
                kept.extend_from_slice(&self.without_tokens(line));
            }
        }
        kept
    }

    fn without_tokens<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let mut text = self.values.mask(text, MASK);
        replace(&mut text, &self.looks.shapes, |_| MASK.to_vec());
        replace(&mut text, &self.looks.bearer, |c| [&c[1], MASK].concat());
        replace(&mut text, &self.looks.address, |c| [&c[1], MASK, &c[2]].concat());
        replace(&mut text, &self.looks.assigned, |c| {
            let (name, value) = (&c[1], &c[2]);
            if announces_secret(name, value) { [name, MASK].concat() } else { c[0].to_vec() }
        });
        text
    }
}

/// `token: expected` in a compiler's message is no secret; `password=hunter2x` is one.
fn announces_secret(name: &[u8], value: &[u8]) -> bool {
    let mixed = value.iter().any(u8::is_ascii_digit) && value.iter().any(u8::is_ascii_alphabetic);
    let tight = name.ends_with(b"=") || name.ends_with(b"=\"") || name.ends_with(b"='");
    let word = |w: &[u8]| name.to_ascii_lowercase().windows(w.len()).any(|n| n == w);
    let code = value.iter().any(|b| matches!(b, b'(' | b')' | b'<' | b'{' | b'}' | b'`' | b'$'));
    let plain_name = word(b"pass") || word(b"secret") || word(b"key");
    !code && (mixed || (tight && plain_name))
}

fn replace(text: &mut Cow<'_, [u8]>, what: &Regex, by: impl Fn(&Captures<'_>) -> Vec<u8>) {
    if let Cow::Owned(changed) = what.replace_all(text, by) {
        *text = Cow::Owned(changed);
    }
}

/// The values of variables whose names say that they are secret.
pub fn secret_values(vars: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    vars.iter().filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.as_str())
}

/// Whether a variable's name says that its value is secret.
pub fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
    ];
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        let masker = Masker::new(["s3cr3t-value"]);
        let mut in_key = false;
        let got = masker.mask(input.as_bytes(), &mut in_key);
        assert_eq!(String::from_utf8_lossy(&got), expected, "{input}");
    }

    #[test]
    fn secrets_of_known_shapes_are_masked() {
        check("push ghp_0123456789abcdefghijABCDEFGHIJ012345 done", "push *** done");
        check("id AKIAIOSFODNN7EXAMPLE.", "id ***.");
        check("Authorization: Bearer abcdefghijklmnop.qrst", "Authorization: Bearer ***");
        check("x eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK y", "x *** y");
        check("postgres://app:hunter22@db/x", "postgres://app:***@db/x");
        check("PASSWORD=hunter2x next", "PASSWORD=*** next");
        check("{\"api_key\": \"a1b2c3d4\"}", "{\"api_key\": \"***\"}");
        check("printed s3cr3t-value here", "printed *** here");
    }

    #[test]
    fn ordinary_output_is_left_alone() {
        for text in [
            "error: unexpected token: expected identifier",
            "token = parser.next_token()",
            "src/lib.rs:14:5: secret: String",
            "GET https://example.org/a?b=1 200",
            "test password_is_hashed ... ok",
            "--- a/x\n+++ b/x\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn a_private_key_is_hidden_over_many_lines() {
        let masker = Masker::new([]);
        let mut in_key = false;
        let first = b"a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n";
        assert_eq!(&*masker.mask(first, &mut in_key), b"a\n***\n");
        assert!(in_key);
        let rest = b"abcd\n-----END RSA PRIVATE KEY-----\nb\n";
        assert_eq!(&*masker.mask(rest, &mut in_key), b"b\n");
        assert!(!in_key);
    }

    #[test]
    fn names_that_announce_secrets_are_known() {
        assert!(is_secret_name("NPM_TOKEN") && is_secret_name("db_password"));
        assert!(!is_secret_name("PATH") && !is_secret_name("KEYBOARD"));
    }
}
