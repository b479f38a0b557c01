//! What leaves the house: the seed, the release script, workflows, deployment, clients, reports and
//! the commands of the documentation, each against the real thing.

mod clients;
mod deploy;
mod documents;
mod errors;
mod release;
mod reports;
mod seed;
mod shell;
mod workflows;
