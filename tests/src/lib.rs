//! What the tests of the whole product share.

pub mod dashboard;
pub mod processes;
pub mod stack;
