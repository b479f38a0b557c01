//! Tokens of another issuer: signed by a key of the issuer's set, for us, and in force.

use crate::claims::{Claims, Expected, NAME_CHARS_MAX, checked};
use crate::fetch;
use crate::issuer::{Algorithm, Issuer};
use crate::jwks::{self, KeySet};
use crate::rules::Rules;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::Validation;
use meta_domain::fault::InvalidField;
use meta_domain::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Bytes of a token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Claims of a token that are read at most.
const CLAIMS_MAX: usize = 200;

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is the token's fault; the text may be told to its bearer.
    #[error("the token {0}")]
    Token(&'static str),
    /// The issuer's keys cannot be had.
    #[error("the issuer's keys are not known at the moment")]
    Keys(#[source] jwks::Error),
}

/// The part of a token's header that counts.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Believes the tokens of one issuer.
pub struct Verifier {
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    rules: Rules,
    keys: KeySet,
}

/// Whether a credential has the form of a token: three parts, of which the first is a JSON object.
pub fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|b| *b == b'.').count() == 2
}

impl Verifier {
    /// For this issuer; its keys are read when the first token comes.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(issuer: &Issuer) -> Result<Self, Vec<InvalidField>> {
        let faults = issuer.check();
        if !faults.is_empty() {
            return Err(faults);
        }
        let source = issuer.source().map_err(|fault| vec![fault])?;
        let http = fetch::client();
        let http = http.map_err(|e| vec![InvalidField::new("issuer", e.to_string())])?;
        Ok(Self {
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            algorithms: issuer.algorithms.clone(),
            rules: issuer.into(),
            keys: KeySet::new(source, http),
        })
    }

    /// For the tokens that a provider gives to us when somebody signs in.
    pub(crate) fn of_provider(
        (issuer, client_id): (&str, &str),
        rules: Rules,
        keys: KeySet,
    ) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: client_id.to_owned(),
            algorithms: Algorithm::ALL.to_vec(),
            rules,
            keys,
        }
    }

    /// What a token says, when it is good.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refused> {
        let said = self.signed(token, now).await?;
        let (issuer, audience, rules) = (&self.issuer, &self.audience, &self.rules);
        checked(&Expected { issuer, audience, rules }, &said, now)
    }

    /// The claims, when the signature is the issuer's.
    pub(crate) async fn signed(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Map<String, Value>, Refused> {
        let header = header(token)?;
        if header.crit.is_some() {
            return Err(Refused::Token("has a header that has to be understood and is not"));
        }
        let algorithm = self.algorithms.iter().find(|a| a.as_str() == header.alg);
        let algorithm =
            algorithm.ok_or(Refused::Token("is signed in a way that is not allowed"))?;
        let kid = header.kid.filter(|kid| kid.chars().count() <= NAME_CHARS_MAX);
        let kid = kid.ok_or(Refused::Token("does not say which key it was signed with"))?;
        let key = self.keys.find(&kid, now).await.map_err(Refused::Keys)?;
        let key = key.ok_or(Refused::Token("names a key that its issuer does not have"))?;
        if format!("{:?}", key.algorithm) != algorithm.as_str() {
            return Err(Refused::Token("names a key of another kind"));
        }
        // Only the signature: times and names are checked by ourselves, with our own clock.
        let mut rules = Validation::new(key.algorithm);
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &rules);
        let said = decoded.map_err(|_| Refused::Token("is not signed by its issuer"))?.claims;
        if said.len() > CLAIMS_MAX {
            return Err(Refused::Token("says too much"));
        }
        Ok(said)
    }
}

/// The header of a token, of which nothing is believed yet.
fn header(token: &str) -> Result<Header, Refused> {
    let bad = Refused::Token("is not a signed JSON web token");
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refused::Token("is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad);
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(header).ok();
    bytes.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(bad)
}
