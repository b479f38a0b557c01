//! flag-resolver
