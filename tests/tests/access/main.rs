//! The wall around tenants, from outside: every hostile input of the table in `docs/ACCESS.md` that
//! is not tried where its subject lives, over a running `metabuilder up` or separate processes.

mod addresses;
mod credentials;
mod flags;
mod issuer;
mod matrix;
mod patches;
mod people;
mod record;
mod roles;
mod rpcs;
mod secrets;
mod streams;
mod tenants;
mod tokens;
