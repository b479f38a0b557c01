//! metabuilder
