//! meta-tests
