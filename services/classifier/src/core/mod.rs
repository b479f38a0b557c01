//! Pure classification: log bytes and exit status in, one `Signal` out.
//!
//! Rules are data ([`Rules`]), scanning collects what fired (`scan`), arbitration chooses
//! (`arbitrate`), and `report` writes the signal. Nothing here does I/O or asks the time.

mod arbitrate;
mod backoff;
pub mod check;
mod classify;
mod exit;
mod feed;
mod fingerprint;
mod hint;
mod history;
mod hits;
pub mod learned;
mod needles;
mod report;
mod rule;
mod rules;
mod scan;
mod sections;
mod text;
mod waiting;

pub use classify::{ClassifyInput, LogStream, classify};
pub use fingerprint::fingerprint;
pub use history::with_history;
pub use meta_domain::masking::mask_secrets;
pub use rule::{Action, RuleSpec, Scope};
pub use rules::{Error, Rules, Source};

#[cfg(test)]
mod tests;
