//! The contracts of Meta-Builder: generated protobuf code, the conversions between it and the
//! domain, and the mapping of faults to gRPC statuses. The only generated code of the project.

pub mod convert;
pub mod status;

#[expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    reason = "generated; the documentation is in the .proto files"
)]
mod generated {
    pub mod common {
        pub mod v1 {
            tonic::include_proto!("metabuilder.common.v1");
        }
    }
    pub mod classifier {
        pub mod v1 {
            tonic::include_proto!("metabuilder.classifier.v1");
        }
    }
    pub mod flags {
        pub mod v1 {
            tonic::include_proto!("metabuilder.flags.v1");
        }
    }
    pub mod flagd {
        pub mod evaluation {
            pub mod v1 {
                tonic::include_proto!("flagd.evaluation.v1");
            }
            pub mod v2 {
                tonic::include_proto!("flagd.evaluation.v2");
            }
        }
        pub mod sync {
            pub mod v1 {
                tonic::include_proto!("flagd.sync.v1");
            }
        }
    }
    pub mod autofixer {
        pub mod v1 {
            tonic::include_proto!("metabuilder.autofixer.v1");
        }
    }
    pub mod runner {
        pub mod v1 {
            tonic::include_proto!("metabuilder.runner.v1");
        }
    }
    pub mod orchestrator {
        pub mod v1 {
            tonic::include_proto!("metabuilder.orchestrator.v1");
        }
    }
}

pub use generated::autofixer::v1 as autofixer;
pub use generated::classifier::v1 as classifier;
pub use generated::common::v1 as common;
pub use generated::flagd;
pub use generated::flags::v1 as flags;
pub use generated::orchestrator::v1 as orchestrator;
pub use generated::runner::v1 as runner;

/// Descriptors of every contract, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/metabuilder.binpb"));
