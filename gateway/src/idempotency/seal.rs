//! Answers that hold a secret are kept encrypted under the credential they were asked with, which
//! is stored nowhere: a copy of the database tells no API key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

/// Bytes of a nonce, which stands before what is encrypted.
const NONCE_BYTES: usize = 12;

/// What closes and opens answers of one key of one credential.
pub(super) struct Seal([u8; 32]);

impl Seal {
    /// Of the credential in these headers.
    pub(super) fn of(headers: &HeaderMap, slot: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"metabuilder answer seal\0");
        hash.update(slot);
        for name in [header::AUTHORIZATION, header::COOKIE] {
            let value = headers.get(&name).map(HeaderValue::as_bytes).unwrap_or_default();
            hash.update(u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(value);
        }
        Self(hash.finalize().into())
    }

    /// Encrypted; `None` when the system has no randomness.
    pub(super) fn close(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).ok()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut sealed);
        Some(whole)
    }

    /// Back again; `None` under another credential.
    pub(super) fn open(&self, whole: Vec<u8>) -> Option<Vec<u8>> {
        let (nonce, sealed) = whole.split_at_checked(NONCE_BYTES)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.0).ok()?;
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str, slot: &[u8]) -> Seal {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, key.parse().unwrap());
        Seal::of(&headers, slot)
    }

    #[test]
    fn only_the_same_credential_opens_what_it_closed() {
        let closed = seal("Bearer a", b"1").close(b"api_key").unwrap();
        assert!(!closed.windows(7).any(|w| w == b"api_key"));
        assert_eq!(seal("Bearer a", b"1").open(closed.clone()).unwrap(), b"api_key");
        assert_eq!(seal("Bearer b", b"1").open(closed.clone()), None);
        assert_eq!(seal("Bearer a", b"2").open(closed.clone()), None);
        assert_eq!(seal("Bearer a", b"1").open(closed[..8].to_vec()), None);
        assert_ne!(seal("Bearer a", b"1").close(b"api_key").unwrap(), closed);
    }
}
