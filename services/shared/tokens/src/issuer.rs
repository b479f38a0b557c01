//! Whose tokens are believed, and how their claims are read.

use crate::fetch::checked_url;
use meta_domain::fault::InvalidField;
use meta_domain::id::TenantId;
use meta_domain::role::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// How a token may be signed: only by keys of which no more is known here than the public half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    RS256,
    /// ECDSA on P-256, SHA-256.
    ES256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDsa];

    /// The word in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The section `jwt`: an issuer whose tokens open the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to be, or to contain.
    pub audience: String,
    /// Where its public keys are: `https://`, or `http://` on loopback.
    pub jwks_url: Option<String>,
    /// Its public keys as a file, in place of an address.
    pub jwks_file: Option<PathBuf>,
    /// Signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the tenant: a name, or a JSON pointer such as `/metabuilder/tenant`.
    pub tenant_claim: String,
    /// The tenant of all its tokens; one that names another is refused.
    pub tenant: Option<TenantId>,
    /// The claim with the roles: a word, or a list of which the highest counts.
    pub roles_claim: String,
    /// Our role for each of its words, where they are not ours.
    pub roles: BTreeMap<String, Role>,
    /// Whether its tokens may say `platform_admin`.
    pub platform_admins: bool,
}

impl Default for Issuer {
    fn default() -> Self {
        let rules = Rules::default();
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            jwks_file: None,
            algorithms: Algorithm::ALL.to_vec(),
            tenant_claim: rules.tenant_claim,
            tenant: rules.tenant,
            roles_claim: rules.roles_claim,
            roles: rules.roles,
            platform_admins: rules.platform_admins,
        }
    }
}

/// How claims become a tenant and a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// The claim that names the tenant: a name, or a JSON pointer.
    pub tenant_claim: String,
    /// The tenant of all tokens.
    pub tenant: Option<TenantId>,
    /// The claim with the roles.
    pub roles_claim: String,
    /// Our role for each of the issuer's words.
    pub roles: BTreeMap<String, Role>,
    /// Whether tokens may say `platform_admin`.
    pub platform_admins: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            tenant_claim: "tenant".to_owned(),
            tenant: None,
            roles_claim: "roles".to_owned(),
            roles: BTreeMap::new(),
            platform_admins: false,
        }
    }
}

/// Where the public keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the network.
    Url(Url),
    /// On this machine.
    File(PathBuf),
}

impl Rules {
    /// What is wrong with them.
    pub(crate) fn check(&self) -> Vec<InvalidField> {
        let mut faults = Vec::new();
        for (name, claim) in
            [("tenant_claim", &self.tenant_claim), ("roles_claim", &self.roles_claim)]
        {
            if claim.is_empty() {
                faults.push(InvalidField::new(name, "is empty (expected the name of a claim)"));
            }
        }
        if self.roles.values().any(|role| *role == Role::Runner) {
            let problem = "gives the role runner (expected a role of people)";
            faults.push(InvalidField::new("roles", problem));
        }
        faults
    }
}

impl Issuer {
    /// How its claims are read.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            tenant_claim: self.tenant_claim.clone(),
            tenant: self.tenant,
            roles_claim: self.roles_claim.clone(),
            roles: self.roles.clone(),
            platform_admins: self.platform_admins,
        }
    }

    /// Where its keys are.
    ///
    /// # Errors
    /// When that is no address that keys may be read from.
    pub(crate) fn source(&self) -> Result<Source, InvalidField> {
        match (&self.jwks_url, &self.jwks_file) {
            (Some(url), None) => checked_url("jwks_url", url).map(Source::Url),
            (None, Some(path)) => Ok(Source::File(path.clone())),
            (None, None) => {
                let problem = "is missing (expected where the issuer's keys are, or jwks_file)";
                Err(InvalidField::new("jwks_url", problem))
            }
            (Some(_), Some(_)) => {
                let problem = "is there beside jwks_url (expected one of them)";
                Err(InvalidField::new("jwks_file", problem))
            }
        }
    }

    /// Everything that is wrong with it.
    ///
    /// # Errors
    /// Each fault by the name of its field.
    pub fn check(&self) -> Vec<InvalidField> {
        let mut faults = Vec::new();
        for (name, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.is_empty() {
                faults.push(InvalidField::new(name, "is missing (expected what tokens say)"));
            }
        }
        faults.extend(self.source().err());
        if self.algorithms.is_empty() {
            let problem = "names none (expected RS256, ES256, EdDSA)";
            faults.push(InvalidField::new("algorithms", problem));
        }
        faults.extend(self.rules().check());
        faults
    }
}
