//! What a request shows in its headers: one credential, of one form.

use crate::problem::Problem;
use http::{HeaderMap, header};

/// Characters of an API key.
const KEY_CHARS_MAX: usize = 512;
/// Characters of an issuer's token.
const TOKEN_CHARS_MAX: usize = 16 * 1024;

/// The bearer credential of a request: one header, one scheme, no stray characters.
///
/// # Errors
/// 401 for anything else.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let expected = "expected one header: Authorization: Bearer <API key>";
    let refuse = |what: &str| Problem::unauthenticated(&format!("{what} ({expected})"));
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let first = values.next().ok_or_else(|| refuse("there is no credential"))?;
    if values.next().is_some() {
        return Err(refuse("there are two Authorization headers"));
    }
    let text = first.to_str().map_err(|_| refuse("the credential is not readable"))?;
    let (scheme, key) =
        text.split_once(' ').ok_or_else(|| refuse("the credential has no scheme"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refuse("the credential is not a bearer key"));
    }
    if is_credential(key) {
        Ok(key)
    } else {
        Err(refuse("the credential does not have the form of a key"))
    }
}

/// The key of `X-API-Key`; `None` without that header.
///
/// # Errors
/// 401 for two credentials, and for what is no key.
pub(super) fn api_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("x-api-key").iter();
    let Some(first) = values.next() else { return Ok(None) };
    let refuse = |what: &str| Problem::unauthenticated(&format!("{what} (expected one API key)"));
    if values.next().is_some() || headers.contains_key(header::AUTHORIZATION) {
        return Err(refuse("there are two credentials"));
    }
    match first.to_str() {
        Ok(key) if is_credential(key) => Ok(Some(key)),
        Ok(_) | Err(_) => Err(refuse("X-API-Key does not have the form of a key")),
    }
}

fn is_credential(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    let most = if meta_tokens::is_token(text) { TOKEN_CHARS_MAX } else { KEY_CHARS_MAX };
    (1..=most).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(values: &[&str]) -> Result<String, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn only_one_plain_bearer_key_is_read() {
        assert_eq!(key_of(&["Bearer mb_1"]).unwrap(), "mb_1");
        assert_eq!(key_of(&["bearer mb_1"]).unwrap(), "mb_1");
        for bad in [
            vec![],
            vec!["Bearer a", "Bearer a"],
            vec!["mb_1"],
            vec!["Basic bWI="],
            vec!["Bearer "],
            vec!["Bearer  mb_1"],
            vec!["Bearer mb_1 "],
            vec!["Bearer mb_1,Bearer mb_2"],
        ] {
            assert_eq!(key_of(&bad).unwrap_err().status.as_u16(), 401, "{bad:?}");
        }
    }

    #[test]
    fn a_token_may_be_longer_than_a_key() {
        let long = "a".repeat(1_000);
        assert!(key_of(&[&format!("Bearer eyJ{long}.b.c")]).is_ok());
        assert!(key_of(&[&format!("Bearer mb_{long}")]).is_err());
        assert!(key_of(&[&format!("Bearer eyJ{}.b.c", long.repeat(20))]).is_err());
    }
}
