//! Who somebody is, as an issuer outside of this installation says: its signed tokens, and signing
//! in at it with a browser.
//!
//! Keys come from the configured address alone. What a token says of its own keys (`jku`, `x5u`,
//! `jwk`) is not read, and a key is only ever used for the one algorithm that it is for.

mod claims;
mod fetch;
mod issuer;
mod jwks;
mod oidc;
mod rules;
mod verify;

pub use claims::Claims;
pub use issuer::{Algorithm, Issuer};
pub use oidc::{Oidc, Provider, SignIn, Started};
pub use rules::Rules;
pub use verify::{Refused, Verifier, is_token};

#[cfg(test)]
mod tests;
