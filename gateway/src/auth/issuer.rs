//! Whose tokens are believed, and how their claims are read.

use meta_domain::fault::InvalidField;
use meta_domain::id::TenantId;
use meta_domain::role::Role;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Issuers that may be configured.
const ISSUERS_MAX: usize = 20;

/// How a token may be signed: only by keys of which we know no more than the public half.
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
    const ALL: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDsa];

    /// The word in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// An issuer of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Issuer {
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to be, or to contain.
    pub audience: String,
    /// Its public keys: an `https://` URL (`http://` only on loopback), or the path of a file.
    pub jwks: String,
    /// Signatures that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the tenant: a name, or a JSON pointer such as `/metabuilder/tenant`.
    pub tenant_claim: String,
    /// The tenant of all its tokens, where they name none.
    pub tenant: Option<TenantId>,
    /// The claim with the role: a word, or a list of which the highest counts.
    pub role_claim: String,
    /// The roles of its words, where they are not ours.
    pub roles: BTreeMap<String, Role>,
    /// Whether its tokens may say `platform_admin`.
    pub platform_admins: bool,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks: String::new(),
            algorithms: Algorithm::ALL.to_vec(),
            tenant_claim: "tenant".to_owned(),
            tenant: None,
            role_claim: "role".to_owned(),
            roles: BTreeMap::new(),
            platform_admins: false,
        }
    }
}

/// Where the public keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// On the network.
    Url(reqwest::Url),
    /// On this machine.
    File(PathBuf),
}

impl Issuer {
    /// Where its keys are.
    ///
    /// # Errors
    /// When that is no address that keys may be read from.
    pub(super) fn source(&self) -> Result<Source, InvalidField> {
        let bad = |problem: &str| {
            let expected = "expected an https:// URL, http:// on loopback, or a file's path";
            InvalidField::new("jwks", format!("{:?} {problem} ({expected})", self.jwks))
        };
        if !self.jwks.contains("://") {
            let path = PathBuf::from(&self.jwks);
            return if self.jwks.is_empty() {
                Err(bad("is empty"))
            } else {
                Ok(Source::File(path))
            };
        }
        let url: reqwest::Url = self.jwks.parse().map_err(|_| bad("is not a URL"))?;
        let loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => Ok(Source::Url(url)),
            "http" if loopback => Ok(Source::Url(url)),
            _ => Err(bad("is not safe")),
        }
    }

    fn check(&self) -> Vec<InvalidField> {
        let mut faults = Vec::new();
        for (name, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.is_empty() {
                faults.push(InvalidField::new(name, "is missing (expected what tokens say)"));
            }
        }
        faults.extend(self.source().err());
        if self.algorithms.is_empty() {
            faults
                .push(InvalidField::new("algorithms", "names none (expected RS256, ES256, EdDSA)"));
        }
        if self.roles.values().any(|role| *role == Role::Runner) {
            let problem = "gives the role runner (expected a role of people)";
            faults.push(InvalidField::new("roles", problem));
        }
        faults
    }
}

/// Everything that is wrong with a list of issuers.
pub(crate) fn check(issuers: &[Issuer]) -> Vec<InvalidField> {
    let mut faults = Vec::new();
    if issuers.len() > ISSUERS_MAX {
        let problem = format!("{} of them (expected at most {ISSUERS_MAX})", issuers.len());
        faults.push(InvalidField::new("issuers", problem));
    }
    for (at, issuer) in issuers.iter().enumerate() {
        let within = format!("issuers[{at}]");
        faults.extend(issuer.check().into_iter().map(|f| f.within(&within)));
        if issuers.iter().take(at).any(|earlier| earlier.issuer == issuer.issuer) {
            let problem = format!("{:?} is there twice", issuer.issuer);
            faults.push(InvalidField::new(format!("{within}.issuer"), problem));
        }
    }
    faults
}
