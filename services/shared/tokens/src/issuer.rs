//! Whose tokens are believed.

use crate::fetch::checked_url;
use crate::rules::{Rules, with_rules};
use meta_domain::fault::InvalidField;
use serde::{Deserialize, Serialize};
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

with_rules! {
    /// The section `jwt`: an issuer whose tokens open the API.
    #[derive(Debug)]
    pub struct Issuer {
        /// What `iss` has to be.
        pub issuer: String = String::new(),
        /// What `aud` has to be, or to contain.
        pub audience: String = String::new(),
        /// Where its public keys are: `https://`, or `http://` on loopback.
        pub jwks_url: Option<String> = None,
        /// Its public keys as a file, in place of an address.
        pub jwks_file: Option<PathBuf> = None,
        /// Signatures that are accepted.
        pub algorithms: Vec<Algorithm> = Algorithm::ALL.to_vec(),
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

impl Issuer {
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
        faults.extend(Rules::from(self).check());
        faults
    }
}
