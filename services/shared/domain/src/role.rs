//! Roles in a tenant, and who is calling.

use crate::id::TenantId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a caller may do; a later role may do all that an earlier one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
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
    pub const ALL: [Self; 5] =
        [Self::Viewer, Self::Member, Self::Admin, Self::Owner, Self::PlatformAdmin];

    /// The lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
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
                "{text:?} is not a role (expected viewer, member, admin, owner or platform_admin)"
            )
        })
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
