//! How far a rule can be trusted: learned from labelled logs, not guessed.
//!
//! Of every rule it is counted in how many labelled logs it decided and in how many of them it
//! was right. The confidence is the lower end of Wilson's interval for the share of right
//! verdicts, so a rule that was seen seldom is trusted less than one that was seen often. What all
//! rules of the same band of strength did stands in for what the rule itself was not seen to do.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The counts that ship with the product.
const SHIPPED: &str = include_str!("../../learned.toml");
/// How many verdicts of its band a rule is credited with beside its own.
const BORROWED: f64 = 12.0;
/// Standard deviations of Wilson's interval (90 % of the mass lies above its lower end).
const DEVIATIONS: f64 = 1.282;
/// Bands of strength: tens.
const BAND: u8 = 10;

/// In how many logs a rule decided, and in how many it was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Record {
    /// Right verdicts.
    pub right: u32,
    /// All verdicts.
    pub seen: u32,
}

/// The records of rules and of bands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// By the tens digit of the strength.
    #[serde(default)]
    pub band: BTreeMap<String, Record>,
    /// By the rule's id; rules that never decided are not in it.
    #[serde(default)]
    pub rule: BTreeMap<String, Record>,
}

impl Learned {
    /// What ships with the product.
    pub(crate) fn shipped() -> Result<Self, toml::de::Error> {
        toml::from_str(SHIPPED)
    }

    /// The confidence in a verdict of this rule, before what else speaks for or against it.
    pub(crate) fn confidence(&self, rule: &str, strength: u8) -> f64 {
        let band = self.band.get(&(strength / BAND).to_string()).copied().unwrap_or_default();
        let own = self.rule.get(rule).copied().unwrap_or_default();
        let share = if band.seen == 0 {
            f64::from(strength) / 100.0
        } else {
            f64::from(band.right) / f64::from(band.seen)
        };
        let right = f64::from(own.right) + BORROWED * share;
        wilson_lower(right, f64::from(own.seen) + BORROWED)
    }
}

/// The lower end of Wilson's interval for `right` of `seen`.
pub fn wilson_lower(right: f64, seen: f64) -> f64 {
    if seen <= 0.0 {
        return 0.0;
    }
    let (share, z2) = (right / seen, DEVIATIONS * DEVIATIONS);
    let centre = share + z2 / (2.0 * seen);
    let spread = DEVIATIONS * (share * (1.0 - share) / seen + z2 / (4.0 * seen * seen)).sqrt();
    ((centre - spread) / (1.0 + z2 / seen)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeing_more_of_the_same_raises_the_bound_and_errors_lower_it() {
        assert!(wilson_lower(100.0, 100.0) > wilson_lower(10.0, 10.0));
        assert!(wilson_lower(10.0, 10.0) > wilson_lower(9.0, 10.0));
        assert!((wilson_lower(90.0, 100.0) - 0.854).abs() < 0.01);
        assert!(wilson_lower(0.0, 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_rule_without_a_record_borrows_that_of_its_band() {
        let learned: Learned = toml::from_str(
            "[band]\n8 = { right = 90, seen = 100 }\n[rule]\n\"a\" = { right = 20, seen = 20 }\n\"b\" = { right = 1, seen = 4 }\n",
        )
        .expect("parses");
        let unseen = learned.confidence("c", 84);
        assert!(learned.confidence("a", 84) > unseen && learned.confidence("b", 84) < unseen);
    }

    #[test]
    fn what_ships_parses() {
        Learned::shipped().expect("parses");
    }
}
