//! A setting by its name, and a value by its type.

use super::{BACKOFF_CAP_SECONDS, Overrides, PER_STEP_ATTEMPTS, Settings, TOTAL_ATTEMPTS};
use crate::fault::InvalidField;
use crate::status::words;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

words! {
    /// One of the four settings; also the key of its OpenFeature flag.
    Setting {
        /// See [`Settings::autofix_enabled`].
        AutofixEnabled = "autofix_enabled",
        /// See [`Settings::max_total_attempts`].
        MaxTotalAttempts = "max_total_attempts",
        /// See [`Settings::max_per_step_attempts`].
        MaxPerStepAttempts = "max_per_step_attempts",
        /// See [`Settings::backoff_cap_seconds`].
        BackoffCapSeconds = "backoff_cap_seconds",
    }
}

impl PartialOrd for Setting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Setting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

/// The value of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of `autofix_enabled`.
    Bool(bool),
    /// Of the others.
    Int(u32),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => v.fmt(f),
            Self::Int(v) => v.fmt(f),
        }
    }
}

impl Setting {
    /// The range of a whole number; `None` where the value is a boolean. A backoff cap of 0 is for
    /// tests and stands outside.
    pub fn range(self) -> Option<RangeInclusive<u32>> {
        match self {
            Self::AutofixEnabled => None,
            Self::MaxTotalAttempts => Some(TOTAL_ATTEMPTS),
            Self::MaxPerStepAttempts => Some(PER_STEP_ATTEMPTS),
            Self::BackoffCapSeconds => Some(BACKOFF_CAP_SECONDS),
        }
    }

    /// What its value has to be, for an error's text.
    pub fn expected(self) -> String {
        match self.range() {
            None => "true or false".to_owned(),
            Some(range) => format!("a whole number from {} to {}", range.start(), range.end()),
        }
    }

    /// Whether a value is of this setting's type and in its range.
    ///
    /// # Errors
    /// Names the setting, the value and what was expected.
    pub fn check(self, value: Value) -> Result<(), InvalidField> {
        match (self.range(), value) {
            (None, Value::Bool(_)) => Ok(()),
            (None, Value::Int(v)) => {
                Err(self.fault(format!("{v} is a number (expected a boolean)")))
            }
            (Some(_), Value::Int(0)) if self == Self::BackoffCapSeconds => Ok(()),
            (Some(range), Value::Int(v)) if range.contains(&v) => Ok(()),
            (Some(range), Value::Int(v)) => {
                let (low, high) = (range.start(), range.end());
                Err(self.fault(format!("{v} is out of range (expected {low} to {high})")))
            }
            (Some(_), Value::Bool(v)) => {
                Err(self.fault(format!("{v} is a boolean (expected {})", self.expected())))
            }
        }
    }

    fn fault(self, problem: String) -> InvalidField {
        InvalidField::new(self.as_str(), problem)
    }
}

impl Overrides {
    /// What this override says of a setting.
    pub fn get(&self, setting: Setting) -> Option<Value> {
        match setting {
            Setting::AutofixEnabled => self.autofix_enabled.map(Value::Bool),
            Setting::MaxTotalAttempts => self.max_total_attempts.map(Value::Int),
            Setting::MaxPerStepAttempts => self.max_per_step_attempts.map(Value::Int),
            Setting::BackoffCapSeconds => self.backoff_cap_seconds.map(Value::Int),
        }
    }

    /// This override with a setting set, or (`None`) left out. A value of the wrong type leaves
    /// the setting out; [`Setting::check`] refuses it before.
    #[must_use]
    pub fn with(mut self, setting: Setting, value: Option<Value>) -> Self {
        let flag = || match value {
            Some(Value::Bool(v)) => Some(v),
            Some(Value::Int(_)) | None => None,
        };
        let number = || match value {
            Some(Value::Int(v)) => Some(v),
            Some(Value::Bool(_)) | None => None,
        };
        match setting {
            Setting::AutofixEnabled => self.autofix_enabled = flag(),
            Setting::MaxTotalAttempts => self.max_total_attempts = number(),
            Setting::MaxPerStepAttempts => self.max_per_step_attempts = number(),
            Setting::BackoffCapSeconds => self.backoff_cap_seconds = number(),
        }
        self
    }

    /// What is set, in the order of [`Setting::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Setting, Value)> {
        let own = *self;
        Setting::ALL.iter().filter_map(move |s| Some((*s, own.get(*s)?)))
    }
}

impl FromIterator<(Setting, Value)> for Overrides {
    fn from_iter<I: IntoIterator<Item = (Setting, Value)>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), |over, (s, v)| over.with(s, Some(v)))
    }
}

impl Settings {
    /// The value of a setting.
    pub fn get(&self, setting: Setting) -> Value {
        match setting {
            Setting::AutofixEnabled => Value::Bool(self.autofix_enabled),
            Setting::MaxTotalAttempts => Value::Int(self.max_total_attempts),
            Setting::MaxPerStepAttempts => Value::Int(self.max_per_step_attempts),
            Setting::BackoffCapSeconds => Value::Int(self.backoff_cap_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_for_type_and_range() {
        use Setting::{AutofixEnabled, BackoffCapSeconds, MaxPerStepAttempts, MaxTotalAttempts};
        for (setting, value, part) in [
            (AutofixEnabled, Value::Bool(true), None),
            (AutofixEnabled, Value::Int(1), Some("expected a boolean")),
            (MaxTotalAttempts, Value::Int(20), None),
            (MaxTotalAttempts, Value::Int(0), Some("expected 1 to 20")),
            (MaxTotalAttempts, Value::Bool(true), Some("expected a whole number from 1 to 20")),
            (MaxPerStepAttempts, Value::Int(11), Some("expected 1 to 10")),
            (BackoffCapSeconds, Value::Int(0), None),
            (BackoffCapSeconds, Value::Int(9), Some("expected 10 to 300")),
        ] {
            let got = setting.check(value);
            match part {
                None => assert_eq!(got, Ok(()), "{setting}"),
                Some(part) => {
                    let fault = got.unwrap_err().to_string();
                    assert!(fault.contains(part) && fault.contains(setting.as_str()), "{fault}");
                }
            }
        }
    }

    #[test]
    fn an_override_is_the_sum_of_its_settings() {
        let over = Overrides {
            autofix_enabled: Some(false),
            backoff_cap_seconds: Some(30),
            ..Overrides::default()
        };
        assert_eq!(over.iter().collect::<Overrides>(), over);
        assert_eq!(over.with(Setting::AutofixEnabled, None).iter().count(), 1);
    }
}
