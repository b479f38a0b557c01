//! The pure core: plans from sources, and the run state machine.

pub mod apply;
pub mod event;
pub mod evidence;
pub mod invariants;
pub mod plan;
pub mod queue;
pub mod ready;
pub mod run;
pub mod transition;
pub mod work;
