//! What may not be shown: values of variables with telling names, and credentials in addresses.

use std::collections::BTreeMap;

/// What stands in place of a secret.
pub const MASK: &str = "********";

/// Words in a variable's name that make its value a secret.
const TELLING: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "APIKEY", "API_KEY"];

/// Whether a variable of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    TELLING.iter().any(|word| upper.contains(word)) || upper.ends_with("_KEY") || upper == "KEY"
}

/// The variables as they may be shown.
pub fn shown_env(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    env.iter()
        .map(|(name, value)| {
            let value = if is_secret_name(name) { MASK } else { value };
            (name.clone(), value.to_owned())
        })
        .collect()
}

/// An address as it may be shown: without its user and password.
pub fn shown_address(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            match rest[..end].rfind('@') {
                Some(at) => format!("{scheme}://{MASK}@{}", &rest[at + 1..]),
                None => address.to_owned(),
            }
        }
        None => address.to_owned(),
    }
}

/// A JSON document as it may be shown: `env` objects and `url` texts are masked at any depth.
pub fn shown_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match (key.as_str(), &mut *value) {
                    ("env", serde_json::Value::Object(env)) => {
                        for (_, value) in env.iter_mut().filter(|(name, _)| is_secret_name(name)) {
                            *value = MASK.into();
                        }
                    }
                    ("url", serde_json::Value::String(url)) => *url = shown_address(url),
                    (_, other) => shown_json(other),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(shown_json),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_names_are_masked_and_others_are_not() {
        for name in ["GITHUB_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY", "STRIPE_API_KEY"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["CI", "RUST_LOG", "KEYBOARD", "PATH", "MONKEYS"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn addresses_lose_their_credentials() {
        assert_eq!(shown_address("https://me:pw@host/a@b"), format!("https://{MASK}@host/a@b"));
        assert_eq!(shown_address("https://host/a@b"), "https://host/a@b");
        assert_eq!(shown_address("git@host:a/b"), "git@host:a/b");
    }

    #[test]
    fn documents_are_masked_at_any_depth() {
        let mut value = serde_json::json!({"run": {"steps": [{"env": {"A_TOKEN": "x", "B": "y"}}],
            "source": {"url": "https://u:p@h/r"}}});
        shown_json(&mut value);
        let text = value.to_string();
        assert!(
            !text.contains("\"x\"") && !text.contains("u:p") && text.contains("\"y\""),
            "{text}"
        );
    }
}
