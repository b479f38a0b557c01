//! The pure core: plans from sources, the run state machine, and what webhooks are told.

pub mod apply;
pub mod audit;
pub mod counted;
pub mod event;
pub mod evidence;
pub mod invariants;
pub mod plan;
pub mod queue;
pub mod quota;
pub mod ready;
pub mod run;
mod shared;
pub mod trace;
pub mod transition;
pub mod webhook;
pub mod work;
pub mod workspace;
