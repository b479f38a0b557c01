//! The eleven failure types and what each allows by itself.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What kind of failure a step attempt died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureType {
    /// A network or remote service failed for the moment.
    Transient,
    /// The platform under the step failed.
    Infra,
    /// A remote said "too many".
    RateLimit,
    /// A test ran and its expectation failed.
    TestAssert,
    /// A style, format or static-style finding.
    Lint,
    /// A type checker or compiler type error.
    Typecheck,
    /// A crash, a missing module, a syntax or other compile error.
    Runtime,
    /// A migration tool stopped or refused.
    SchemaMigration,
    /// A vulnerability, a leaked secret, a refused credential.
    Security,
    /// Permission denied by a rule: branch protection, licence check, policy engine.
    Policy,
    /// Nothing above matched.
    Unknown,
}

/// How grave a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Dull; nobody needs to look.
    Low,
    /// Somebody should look when it does not heal.
    Medium,
    /// A person has to look.
    High,
    /// A person has to look now.
    Critical,
}

/// What a failure type allows by itself (BEHAVIOUR.md section 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailurePolicy {
    /// Severity when the evidence says nothing stronger.
    pub severity: Severity,
    /// Whether running the step again unchanged can help.
    pub can_retry: bool,
    /// How many plain retries this type gets at most.
    pub retries_max: u32,
    /// Backoff multiplier for those retries.
    pub backoff_multiplier: f64,
}

impl FailureType {
    /// All types, in the order of the tie-break when several hold for the same event.
    pub const ALL: [Self; 11] = [
        Self::RateLimit,
        Self::Infra,
        Self::SchemaMigration,
        Self::Security,
        Self::Policy,
        Self::Transient,
        Self::TestAssert,
        Self::Typecheck,
        Self::Lint,
        Self::Runtime,
        Self::Unknown,
    ];

    /// The lower-case word used in REST, on the command line and in rule files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Infra => "infra",
            Self::RateLimit => "rate_limit",
            Self::TestAssert => "test_assert",
            Self::Lint => "lint",
            Self::Typecheck => "typecheck",
            Self::Runtime => "runtime",
            Self::SchemaMigration => "schema_migration",
            Self::Security => "security",
            Self::Policy => "policy",
            Self::Unknown => "unknown",
        }
    }

    /// What this type allows by itself.
    pub fn policy(self) -> FailurePolicy {
        let (severity, retries_max, backoff_multiplier) = match self {
            Self::Transient | Self::RateLimit => (Severity::Low, 3, 2.0),
            Self::Infra | Self::Unknown => (Severity::Medium, 2, 1.5),
            Self::Runtime => (Severity::Medium, 1, 1.0),
            Self::TestAssert | Self::Typecheck => (Severity::Medium, 0, 1.0),
            Self::Lint => (Severity::Low, 0, 1.0),
            Self::SchemaMigration | Self::Security | Self::Policy => (Severity::High, 0, 1.0),
        };
        FailurePolicy { severity, can_retry: retries_max > 0, retries_max, backoff_multiplier }
    }
}

impl fmt::Display for FailureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FailureType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|t| t.as_str()).collect();
            format!("{text:?} is not a failure type (expected one of {})", all.join(", "))
        })
    }
}

impl Severity {
    /// The lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
