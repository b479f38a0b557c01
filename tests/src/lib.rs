//! What the tests of the whole product share.

pub mod processes;
pub mod stack;
