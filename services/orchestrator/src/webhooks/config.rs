//! What an operator says of webhooks.

use crate::core::webhook::{Network, Policy, address};
use meta_domain::fault::InvalidField;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::str::FromStr;

/// The section `webhooks` of the orchestrator's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The signing key, at least 32 characters, the same for every orchestrator of an installation.
    /// Without one it is made and kept in the data folder.
    pub key: Option<String>,
    /// Whether messages may go over plain HTTP.
    pub allow_http: bool,
    /// Ports that may be called; a list, or a text with commas.
    #[serde(deserialize_with = "listed")]
    pub ports: Vec<u16>,
    /// Networks that may be called though they are not public, such as `10.1.0.0/16`; a list, or a
    /// text with commas.
    #[serde(deserialize_with = "listed")]
    pub networks: Vec<String>,
}

/// A list, or what a variable can hold: one value, or several between commas.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    List(Vec<Word>),
    One(Word),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u64),
    Text(String),
}

impl Word {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

fn listed<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    let texts: Vec<String> = match Listed::deserialize(from)? {
        Listed::List(words) => words.into_iter().map(Word::text).collect(),
        Listed::One(word) => word.text().split(',').map(|text| text.trim().to_owned()).collect(),
    };
    let value = |text: &String| {
        let bad = || D::Error::custom(format!("{text:?} does not belong into this list"));
        text.parse().map_err(|_| bad())
    };
    texts.iter().filter(|text| !text.is_empty()).map(value).collect()
}

impl Default for Config {
    fn default() -> Self {
        Self { key: None, allow_http: false, ports: address::PORTS.to_vec(), networks: Vec::new() }
    }
}

impl Config {
    /// Which addresses may be called.
    ///
    /// # Errors
    /// Names each network that is none.
    pub fn policy(&self) -> Result<Policy, Vec<InvalidField>> {
        let (mut networks, mut faults) = (Vec::new(), Vec::new());
        for (i, text) in self.networks.iter().enumerate() {
            match text.parse::<Network>() {
                Ok(network) => networks.push(network),
                Err(why) => {
                    faults.push(InvalidField::new(format!("webhooks.networks[{i}]"), why));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Policy { allow_http: self.allow_http, ports: self.ports.clone(), networks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_lists_or_what_a_variable_holds() {
        let read = |ports: serde_json::Value| {
            serde_json::from_value::<Config>(serde_json::json!({ "ports": ports }))
        };
        for (given, expected) in [
            (serde_json::json!([443, 8443]), vec![443, 8443]),
            (serde_json::json!("443, 8443"), vec![443, 8443]),
            (serde_json::json!(443), vec![443]),
            (serde_json::json!(""), vec![]),
        ] {
            assert_eq!(read(given).unwrap().ports, expected);
        }
        for bad in [serde_json::json!("x"), serde_json::json!([70_000]), serde_json::json!(true)] {
            assert!(read(bad).is_err());
        }
    }
}
