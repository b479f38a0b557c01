//! Signatures in the manner of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`.
//!
//! No webhook's secret is stored. Each is derived from the installation's signing key and the
//! webhook's id; a database that gets into wrong hands signs nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use meta_domain::id::WebhookId;
use meta_domain::time::Timestamp;
use sha2::Sha256;
use std::fmt;

/// Header with the message's id.
pub const ID_HEADER: &str = "webhook-id";
/// Header with the time of sending, in seconds.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// How old or how far ahead a message may be, in seconds.
pub const TOLERANCE_SECONDS: i64 = 300;
/// Bytes of a signing key at least.
const KEY_BYTES_MIN: usize = 32;
/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// The installation's key, from which secrets are derived.
#[derive(Clone)]
pub struct SigningKey(Vec<u8>);

/// A webhook's secret: shown to whoever creates it, once.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl SigningKey {
    /// A key of at least 32 characters.
    ///
    /// # Errors
    /// When it is shorter; the key is not in the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.trim().as_bytes();
        if bytes.len() < KEY_BYTES_MIN {
            return Err(format!(
                "has {} characters (expected at least {KEY_BYTES_MIN})",
                bytes.len()
            ));
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The secret of a webhook.
    pub fn secret_of(&self, webhook: WebhookId) -> Secret {
        Secret(mac(&self.0, &[b"metabuilder webhook ", webhook.0.as_bytes()]))
    }
}

impl Secret {
    /// As the receiver keeps it.
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// From the form that the receiver keeps.
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text.strip_prefix(PREFIX)?).ok().map(Self)
    }
}

/// The value of the signature header.
pub fn sign(secret: &Secret, id: &str, at_seconds: i64, body: &[u8]) -> String {
    let at = at_seconds.to_string();
    let tag = mac(&secret.0, &[id.as_bytes(), b".", at.as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(tag))
}

/// Whether a message came from whoever has the secret, and not long ago. What a receiver does.
pub fn verify(
    secret: &Secret,
    (id, at_seconds, signatures): (&str, i64, &str),
    body: &[u8],
    now: Timestamp,
) -> bool {
    let age = now.0.div_euclid(1000).saturating_sub(at_seconds);
    if age.abs() > TOLERANCE_SECONDS {
        return false;
    }
    let at = at_seconds.to_string();
    let parts: [&[u8]; 5] = [id.as_bytes(), b".", at.as_bytes(), b".", body];
    signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|one| {
        let tag = STANDARD.decode(one).unwrap_or_default();
        keyed(&secret.0, &parts).verify_slice(&tag).is_ok()
    })
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
    for part in parts {
        mac.update(part);
    }
    mac
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    keyed(key, parts).finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp(1_614_265_330_000);

    #[test]
    fn the_published_example_of_the_scheme_comes_out() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&secret, id, at, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let header = format!("v1,AAAA {signature} v2,else");
        assert!(verify(&secret, (id, at, &header), body, NOW));
    }

    #[test]
    fn what_is_old_changed_or_signed_by_another_is_refused() {
        let key = SigningKey::parse(&"k".repeat(32)).unwrap();
        let secret = key.secret_of(WebhookId(Uuid::from_u128(1)));
        let other = key.secret_of(WebhookId(Uuid::from_u128(2)));
        assert_ne!(secret, other);
        let at = NOW.0 / 1000;
        let signature = sign(&secret, "id", at, b"body");
        let message = ("id", at, signature.as_str());
        assert!(verify(&secret, message, b"body", NOW));
        assert!(!verify(&other, message, b"body", NOW));
        assert!(!verify(&secret, message, b"Body", NOW));
        assert!(!verify(&secret, ("ID", at, &signature), b"body", NOW));
        assert!(!verify(&secret, ("id", at + 1, &signature), b"body", NOW));
        assert!(!verify(&secret, message, b"body", NOW.plus_ms(301_000)));
        assert!(!verify(&secret, message, b"body", NOW.plus_ms(-301_000)));
        assert!(!verify(&secret, ("id", at, ""), b"body", NOW));
        assert_eq!(Secret::parse(&secret.text()), Some(secret));
    }

    #[test]
    fn a_short_key_is_refused_without_showing_it() {
        let error = SigningKey::parse("hunter2").unwrap_err();
        assert!(error.contains('7') && !error.contains("hunter"), "{error}");
    }
}
