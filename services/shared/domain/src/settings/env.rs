//! The platform layer from environment variables.

use super::{
    BACKOFF_CAP_SECONDS, Environment, Overrides, PER_STEP_ATTEMPTS, Settings, TOTAL_ATTEMPTS,
};
use crate::fault::InvalidField;
use std::collections::BTreeMap;

/// The platform layer from the process's environment variables.
///
/// # Errors
/// Names every variable that does not parse, its value, and what was expected.
pub fn platform_from_env(
    vars: &BTreeMap<String, String>,
) -> Result<(Environment, Settings), Vec<InvalidField>> {
    let mut faults = Vec::new();
    let mut environment = Environment::Development;
    if let Some(text) = vars.get("META_BUILDER_ENV") {
        match text.parse() {
            Ok(v) => environment = v,
            Err(problem) => faults.push(InvalidField::new("META_BUILDER_ENV", problem)),
        }
    }
    let mut over = Overrides::default();
    if let Some(text) = vars.get("FEATURE_META_V3_AUTOFIX") {
        match parse_bool(text) {
            Ok(v) => over.autofix_enabled = Some(v),
            Err(problem) => faults.push(InvalidField::new("FEATURE_META_V3_AUTOFIX", problem)),
        }
    }
    let mut number = |name: &str, range: std::ops::RangeInclusive<u32>, zero: bool| {
        let text = vars.get(name)?;
        match text.trim().parse::<u32>() {
            Ok(v) if range.contains(&v) || (zero && v == 0) => Some(v),
            _ => {
                faults.push(InvalidField::new(
                    name,
                    format!(
                        "{text:?} is not valid (expected a whole number from {} to {})",
                        range.start(),
                        range.end()
                    ),
                ));
                None
            }
        }
    };
    over.max_total_attempts = number("META_V3_MAX_TOTAL_ATTEMPTS", TOTAL_ATTEMPTS, false);
    over.max_per_step_attempts = number("META_V3_MAX_PER_STEP_ATTEMPTS", PER_STEP_ATTEMPTS, false);
    over.backoff_cap_seconds = number("META_V3_BACKOFF_CAP_SECONDS", BACKOFF_CAP_SECONDS, true);
    if faults.is_empty() {
        Ok((environment, Settings::default_of(environment).with(&over)))
    } else {
        Err(faults)
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(format!("{text:?} is not a boolean (expected true or false)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn production_starts_with_auto_fix_off() {
        let (env, s) = platform_from_env(&vars(&[("META_BUILDER_ENV", "production")])).unwrap();
        assert_eq!(env, Environment::Production);
        assert_eq!(
            (s.autofix_enabled, s.max_total_attempts, s.max_per_step_attempts),
            (false, 6, 3)
        );
    }

    #[test]
    fn development_is_generous() {
        let (_, s) = platform_from_env(&vars(&[])).unwrap();
        assert_eq!(
            (s.autofix_enabled, s.max_total_attempts, s.max_per_step_attempts),
            (true, 10, 5)
        );
        assert_eq!(s.backoff_cap_seconds, 60);
    }

    #[test]
    fn variables_beat_the_environment_defaults() {
        let (_, s) = platform_from_env(&vars(&[
            ("META_BUILDER_ENV", "production"),
            ("FEATURE_META_V3_AUTOFIX", "true"),
            ("META_V3_BACKOFF_CAP_SECONDS", "0"),
        ]))
        .unwrap();
        assert!(s.autofix_enabled);
        assert_eq!(s.backoff_cap_seconds, 0);
    }

    #[test]
    fn every_bad_variable_is_named_at_once() {
        let faults = platform_from_env(&vars(&[
            ("META_BUILDER_ENV", "prod"),
            ("FEATURE_META_V3_AUTOFIX", "maybe"),
            ("META_V3_MAX_TOTAL_ATTEMPTS", "21"),
            ("META_V3_MAX_PER_STEP_ATTEMPTS", "-1"),
            ("META_V3_BACKOFF_CAP_SECONDS", "9"),
        ]))
        .unwrap_err();
        assert_eq!(faults.len(), 5);
        assert!(
            faults
                .iter()
                .any(|f| f.to_string().contains("\"21\"") && f.to_string().contains("1 to 20"))
        );
    }
}
