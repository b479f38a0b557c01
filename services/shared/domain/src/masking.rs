//! Secrets in what programs print and in what is written: the one place that knows what they look
//! like. Whatever keeps, shows or sends text of a tenant's programs asks here.
//!
//! - [`Masker`]: output as it comes, with the values that are registered for a step ([`Needles`]);
//!   it leaves source code and messages of tools alone;
//! - [`mask_secrets`]: a line of a log that goes on elsewhere; it rather hides too much;
//! - [`found`]: what a change of code would make public; it rather finds too little;
//! - [`masked`]: a text that a model is shown.
//!
//! A net, not a wall: a step that wants to can write a secret in a form that nobody foresees.

mod code;
mod log;
mod needles;
mod stream;
mod tokens;

pub use code::{found, masked};
pub use log::mask_secrets;
pub use needles::{Needles, SECRET_BYTES_MIN};
pub use stream::{MASK, Masker, is_secret_name, secret_values};
