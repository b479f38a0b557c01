//! meta-proto
