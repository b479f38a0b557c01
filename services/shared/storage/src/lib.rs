//! meta-storage
