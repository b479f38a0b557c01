//! meta-runtime
