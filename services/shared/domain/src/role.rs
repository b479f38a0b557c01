//! Roles in a tenant, scopes of a credential, and who is calling.

use crate::id::TenantId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a caller may do. From viewer on, a later role may do all that an earlier one may; the two
/// before it are of their own kind, and below it so that no comparison takes them for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes work from the queue, whoever's it is; no credential of a tenant has it.
    Runner,
    /// Reads everything, the audit as well, and changes nothing.
    Auditor,
    /// Reads.
    Viewer,
    /// Also writes specs and plans.
    Member,
    /// Also runs, approvals and tenant settings.
    Admin,
    /// Also users.
    Owner,
    /// All of it, across tenants.
    PlatformAdmin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 7] = [
        Self::Runner,
        Self::Auditor,
        Self::Viewer,
        Self::Member,
        Self::Admin,
        Self::Owner,
        Self::PlatformAdmin,
    ];

    /// The roles that a tenant's credentials may have, weakest first.
    pub const OF_CALLERS: [Self; 6] =
        [Self::Auditor, Self::Viewer, Self::Member, Self::Admin, Self::Owner, Self::PlatformAdmin];

    /// The lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runner => "runner",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
            Self::PlatformAdmin => "platform_admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or_else(|| {
            format!(
                "{text:?} is not a role (expected viewer, member, admin, owner, auditor or \
                 platform_admin)"
            )
        })
    }
}

/// What a credential may be limited to, within its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Reading.
    Read,
    /// Specs, plans, classification.
    Specs,
    /// Runs.
    Runs,
    /// Approvals.
    Approvals,
    /// Settings.
    Settings,
    /// Users, keys, webhooks, tenants.
    Manage,
    /// The audit.
    Audit,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Specs,
        Self::Runs,
        Self::Approvals,
        Self::Settings,
        Self::Manage,
        Self::Audit,
    ];

    /// The lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Specs => "specs",
            Self::Runs => "runs",
            Self::Approvals => "approvals",
            Self::Settings => "settings",
            Self::Manage => "manage",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("{text:?} is not a scope (expected one of {known})")
        })
    }
}

/// What a credential is limited to; none at all means not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// These, each once.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut all: Vec<Scope> = scopes.into_iter().collect();
        all.sort();
        all.dedup();
        Self(all)
    }

    /// Whether a call that needs this scope is within them.
    pub fn allow(&self, needed: Scope) -> bool {
        self.0.is_empty() || self.0.contains(&needed)
    }

    /// Whether everything that these allow is allowed by `others` too.
    pub fn within(&self, others: &Self) -> bool {
        others.0.is_empty() || (!self.0.is_empty() && self.0.iter().all(|s| others.allow(*s)))
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }
}

impl fmt::Display for Scopes {
    /// The words with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(","))
    }
}

impl FromStr for Scopes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').filter(|word| !word.is_empty());
        Ok(Self::new(words.map(str::parse).collect::<Result<Vec<Scope>, _>>()?))
    }
}

/// Who is calling: taken from the credential and from nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The tenant of the credential.
    pub tenant: TenantId,
    /// What the caller may do there.
    pub role: Role,
    /// Name for the audit, such as `key:0197...` or an e-mail address.
    pub actor: String,
}

/// A caller with the credential that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Who it is, in the tenant where they act.
    pub principal: Principal,
    /// Which credential, such as `key:0197...`; empty for a service that acts by itself.
    pub credential: String,
    /// What the credential is limited to.
    pub scopes: Scopes,
    /// The credential's own tenant, where a platform administrator acts in another one.
    pub home: Option<TenantId>,
    /// When the credential ends by itself.
    pub expires: Option<Timestamp>,
}

impl From<Principal> for Identity {
    /// A caller whose credential is not limited, and has no name.
    fn from(principal: Principal) -> Self {
        Self {
            principal,
            credential: String::new(),
            scopes: Scopes::default(),
            home: None,
            expires: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_is_within_the_same_and_more_and_not_the_other_way() {
        let of = |text: &str| text.parse::<Scopes>().unwrap();
        for (inner, outer, within) in [
            ("", "", true),
            ("read", "", true),
            ("read", "read", true),
            ("read", "manage,read", true),
            ("", "read", false),
            ("manage,read", "read", false),
            ("runs", "read", false),
        ] {
            assert_eq!(of(inner).within(&of(outer)), within, "{inner:?} within {outer:?}");
        }
    }

    #[test]
    fn machine_roles_are_below_every_other() {
        for role in [Role::Viewer, Role::Member, Role::Admin, Role::Owner, Role::PlatformAdmin] {
            assert!(Role::Runner < role && Role::Auditor < role);
        }
    }

    #[test]
    fn no_scopes_are_no_limit_and_words_come_back() {
        let none = Scopes::default();
        assert!(Scope::ALL.into_iter().all(|s| none.allow(s)));
        let some: Scopes = "runs,read,read".parse().unwrap();
        assert_eq!(some.to_string(), "read,runs");
        assert!(some.allow(Scope::Read) && !some.allow(Scope::Manage));
        assert!("read,all".parse::<Scopes>().is_err());
    }
}
